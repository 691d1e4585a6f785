package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
)

type workflowsCmd struct {
	Slug string `arg:"" optional:"" help:"Show this one: slug, or slug@version."`
}

// Run lists the workflows, or shows one.
func (c *workflowsCmd) Run(ctx context.Context, s *session, relay *client) error {
	if c.Slug == "" {
		all, err := list[cyberun.Workflow](ctx, relay, "workflows", url.Values{}, maxListed)
		if err != nil {
			return err
		}
		return showList(s, all, []string{"WORKFLOW", "VERSION", "STATUS", "NAME"}, func(w cyberun.Workflow) []string {
			return []string{w.Slug, strconv.Itoa(w.Version), string(w.Status), w.DisplayName}
		}, "the stack's Cyberun key can run no workflow", "relay workflows WORKFLOW shows what it takes")
	}
	w, raw, err := relay.workflow(ctx, c.Slug)
	if err != nil {
		return err
	}
	return s.show(raw, func() { s.console.workflow(w, c.Slug) })
}

// workflow prints what a workflow takes, and an example that runs what ref names.
func (c *console) workflow(w cyberun.Workflow, ref string) {
	c.resultf("%s@%d  %s (%s)", w.Slug, w.Version, oneLine(w.DisplayName), w.Status)
	if w.Description != "" {
		c.resultf("%s", oneLine(w.Description))
	}
	if w.TaskTimeout > 0 {
		c.resultf("Its tasks end after %d s at the latest.", w.TaskTimeout)
	}
	c.resultf("")
	if len(w.Parameters) == 0 {
		c.resultf("It takes no parameters.")
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
	c.table(rows)
	c.notef("\n%s --watch", example)
}

// described returns a parameter's description, else its label unless that only repeats
// the key.
func described(p cyberun.Parameter) string {
	if p.Description != "" || strings.EqualFold(p.Label, p.Key) {
		return p.Description
	}
	return p.Label
}

// allowed says which values a parameter takes, beyond its type.
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
const maxDefault = 40 // columns

func valueText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case float64:
		return number(v)
	}
	return clip(oneLine(fmt.Sprint(v)), maxDefault)
}

// exampleValue returns a value that can be typed into a shell as it stands.
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
