package main

import (
	"context"
	"net/url"
	"strconv"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
)

type containersCmd struct {
	Slug string `arg:"" optional:"" help:"Show this one: its status and how it is called."`
}

// Run lists the container services, or shows one.
func (c *containersCmd) Run(ctx context.Context, s *session) error {
	if c.Slug != "" && !cyberun.IsContainerSlug(c.Slug) {
		return notContainerSlug(c.Slug)
	}
	api, err := s.client(ctx)
	if err != nil {
		return err
	}
	if c.Slug == "" {
		return s.listContainers(ctx, api)
	}
	found, raw, err := api.container(ctx, c.Slug)
	if err != nil {
		return err
	}
	return s.show(raw, func() { s.console.container(found) })
}

func notContainerSlug(slug string) *failure {
	return &failure{code: codeUsage, what: strconv.Quote(slug) + " is no container's slug: those are 3 to 100 small letters, digits and hyphens", hint: "relay containers"}
}

func (s *session) listContainers(ctx context.Context, api *client) error {
	all, err := api.list(ctx, "containers", url.Values{}, maxListed)
	if err != nil {
		return err
	}
	containers, err := decodeRows[cyberun.Container](all)
	if err != nil {
		return err
	}
	rows := [][]string{{"CONTAINER", "STATUS", "TYPE", "NAME"}}
	for _, c := range containers {
		rows = append(rows, []string{c.Slug, string(c.Status), c.Type, c.DisplayName})
	}
	return s.showList(all, rows, "the stack's Cyberun key can call no container service", "relay containers CONTAINER shows how one is called, relay call CONTAINER PATH calls it")
}

func (c *console) container(found cyberun.Container) {
	rows := [][]string{{"container", found.Slug}, {"status", string(found.Status)}}
	for _, row := range [][]string{{"type", found.Type}, {"name", found.DisplayName}, {"about", found.Description}, {"usage", found.UsagePrompt}, {"openapi", found.OpenAPIURL}} {
		if row[1] != "" {
			rows = append(rows, row)
		}
	}
	c.table(rows)
	if found.Status == cyberun.ContainerRunning {
		c.notef("\nrelay call %s PATH", shellWord(found.Slug))
	}
}
