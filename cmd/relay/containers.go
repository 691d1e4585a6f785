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

// Validate refuses what can be no container's slug.
func (c *containersCmd) Validate() error {
	if c.Slug != "" && !cyberun.IsContainerSlug(c.Slug) {
		return notContainerSlug(c.Slug)
	}
	return nil
}

func notContainerSlug(slug string) *failure {
	return &failure{code: codeUsage, what: strconv.Quote(slug) + " is no container's slug: those are 3 to 100 small letters, digits and hyphens", hint: "relay containers"}
}

// Run lists the container services, or shows one.
func (c *containersCmd) Run(ctx context.Context, s *session, relay *client) error {
	if c.Slug == "" {
		all, err := list[cyberun.Container](ctx, relay, "containers", url.Values{}, maxListed)
		if err != nil {
			return err
		}
		return showList(s, all, []string{"CONTAINER", "STATUS", "TYPE", "NAME"}, func(c cyberun.Container) []string {
			return []string{c.Slug, string(c.Status), c.Type, c.DisplayName}
		}, "the stack's Cyberun key can call no container service", "relay containers CONTAINER shows how one is called, relay call CONTAINER PATH calls it")
	}
	found, raw, err := get[cyberun.Container](ctx, relay, "/containers/"+c.Slug)
	if err != nil {
		return err
	}
	return s.show(raw, func() { s.console.container(found) })
}

func (c *console) container(found cyberun.Container) {
	c.facts([][]string{
		{"container", found.Slug}, {"status", string(found.Status)}, {"type", found.Type}, {"name", found.DisplayName},
		{"about", found.Description}, {"usage", found.UsagePrompt}, {"openapi", found.OpenAPIURL},
	})
	if found.Status == cyberun.ContainerRunning {
		c.notef("\nrelay call %s PATH", shellWord(found.Slug))
	}
}
