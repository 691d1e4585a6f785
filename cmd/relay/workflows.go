package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
)

type workflowsCmd struct {
	Slug string `arg:"" optional:"" help:"Show this one: slug, or slug@version."`
}

// Run lists the workflows, or shows one.
func (c *workflowsCmd) Run(ctx context.Context, s *session) error {
	api, err := s.client(ctx)
	if err != nil {
		return err
	}
	if c.Slug == "" {
		return s.listWorkflows(ctx, api)
	}
	w, raw, err := api.workflow(ctx, c.Slug)
	if err != nil {
		return err
	}
	if s.JSON {
		s.printJSON(raw)
		return nil
	}
	s.printWorkflow(w, c.Slug)
	return nil
}

// maxPages is 10,000 workflows: a list that goes on beyond is one that turns in
// circles.
const maxPages = 100

func (s *session) listWorkflows(ctx context.Context, api *client) error {
	all := workflowPage{Workflows: []json.RawMessage{}}
	for range maxPages {
		page, err := api.workflows(ctx, all.NextCursor)
		if err != nil {
			return err
		}
		all.Workflows, all.NextCursor = append(all.Workflows, page.Workflows...), page.NextCursor
		if page.NextCursor == "" {
			break
		}
	}
	if s.JSON {
		return s.printDocument(all)
	}
	if len(all.Workflows) == 0 {
		s.say("the stack's Cyberun key can run no workflow")
		return nil
	}
	rows := [][]string{{"WORKFLOW", "VERSION", "STATUS", "NAME"}}
	for _, raw := range all.Workflows {
		var w cyberun.Workflow
		if err := json.Unmarshal(raw, &w); err != nil {
			return notOurs("the API's list holds a row that is not a workflow")
		}
		rows = append(rows, []string{w.Slug, strconv.Itoa(w.Version), string(w.Status), w.DisplayName})
	}
	table(s.stdout, rows)
	s.say("relay workflows WORKFLOW shows what it takes")
	return nil
}

func (s *session) printWorkflow(w cyberun.Workflow, ref string) {
	s.print("%s@%d  %s (%s)", oneLine(w.Slug), w.Version, oneLine(w.DisplayName), w.Status)
	if w.Description != "" {
		s.print("%s", oneLine(w.Description))
	}
	if w.TaskTimeout > 0 {
		s.print("Its tasks end after %d s at the latest.", w.TaskTimeout)
	}
	s.print("")
	if len(w.Parameters) == 0 {
		s.print("It takes no parameters.")
		return
	}
	rows := [][]string{{"PARAMETER", "TYPE", "REQUIRED", "DEFAULT", "ALLOWED", "DESCRIPTION"}}
	example := "relay run " + shellWord(ref)
	for _, p := range w.Parameters {
		required := "no"
		if p.Required {
			required = "yes"
			example += " -p " + p.Key + "=" + exampleValue(p)
		}
		rows = append(rows, []string{p.Key, string(p.Type), required, valueText(p.Default), allowed(p), described(p)})
	}
	table(s.stdout, rows)
	s.say("\n%s --watch", example)
}

// described prefers the description; a label that only repeats the key says nothing.
func described(p cyberun.Parameter) string {
	if p.Description != "" || strings.EqualFold(p.Label, p.Key) {
		return p.Description
	}
	return p.Label
}

// allowed is what a value has to be, beyond its type.
func allowed(p cyberun.Parameter) string {
	switch {
	case len(p.Options) > 0:
		names := make([]string, len(p.Options))
		for i, o := range p.Options {
			names[i] = valueText(o.Value)
		}
		return strings.Join(names, ", ")
	case len(p.Accept) > 0:
		return strings.Join(p.Accept, ", ")
	case p.Min != nil && p.Max != nil:
		return number(*p.Min) + " to " + number(*p.Max)
	case p.Min != nil:
		return "from " + number(*p.Min)
	case p.Max != nil:
		return "up to " + number(*p.Max)
	}
	return ""
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// maxDefault keeps a long default prompt from pushing the table apart.
const maxDefault = 40 // characters

func valueText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case float64:
		return number(v)
	case string:
		return clip(oneLine(v), maxDefault)
	}
	return clip(oneLine(fmt.Sprint(v)), maxDefault)
}

// exampleValue can be typed into a shell as it stands.
func exampleValue(p cyberun.Parameter) string {
	switch {
	case p.Type == cyberun.TypeFile:
		return "@FILE"
	case len(p.Options) > 0:
		return shellWord(valueText(p.Options[0].Value))
	case p.Type == cyberun.TypeBoolean:
		return "true"
	case p.Type == cyberun.TypeNumber || p.Type == cyberun.TypeInteger:
		if p.Min != nil {
			return number(*p.Min)
		}
		return "1"
	}
	return `"…"`
}
