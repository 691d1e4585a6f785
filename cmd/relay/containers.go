package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
)

type containersCmd struct {
	Slug string `arg:"" optional:"" help:"Show this one: how it is and how it is called."`
}

// Run lists the container services, or shows one.
func (c *containersCmd) Run(ctx context.Context, s *session) error {
	if c.Slug != "" && !cyberun.IsContainerSlug(c.Slug) {
		return noContainer(c.Slug)
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
	if s.JSON {
		s.printJSON(raw)
		return nil
	}
	s.printContainer(found)
	return nil
}

func noContainer(slug string) *failure {
	return &failure{code: codeUsage, what: strconv.Quote(slug) + " is no container's slug: those are 3 to 100 small letters, digits and hyphens", hint: "relay containers"}
}

func (s *session) listContainers(ctx context.Context, api *client) error {
	all := containerPage{Containers: []json.RawMessage{}}
	for range maxPages {
		page, err := api.containers(ctx, all.NextCursor)
		if err != nil {
			return err
		}
		all.Containers, all.NextCursor = append(all.Containers, page.Containers...), page.NextCursor
		if page.NextCursor == "" {
			break
		}
	}
	if s.JSON {
		return s.printDocument(all)
	}
	if len(all.Containers) == 0 {
		s.say("the stack's Cyberun key can call no container service")
		return nil
	}
	rows := [][]string{{"CONTAINER", "STATUS", "TYPE", "NAME"}}
	for _, raw := range all.Containers {
		var found cyberun.Container
		if err := json.Unmarshal(raw, &found); err != nil {
			return notOurs("the API's list holds a row that is not a container service")
		}
		rows = append(rows, []string{found.Slug, string(found.Status), found.Type, found.DisplayName})
	}
	table(s.stdout, rows)
	s.say("relay containers CONTAINER shows how one is called, relay call CONTAINER PATH calls it")
	return nil
}

func (s *session) printContainer(found cyberun.Container) {
	rows := [][]string{{"container", found.Slug}, {"status", string(found.Status)}}
	for _, row := range [][]string{{"type", found.Type}, {"name", found.DisplayName}, {"about", found.Description}, {"usage", found.UsagePrompt}, {"openapi", found.OpenAPIURL}} {
		if row[1] != "" {
			rows = append(rows, row)
		}
	}
	table(s.stdout, rows)
	if found.Status == cyberun.ContainerRunning {
		s.say("\nrelay call %s PATH", shellWord(found.Slug))
	}
}

type containerPage struct {
	Containers []json.RawMessage `json:"containers"`
	NextCursor string            `json:"next_cursor,omitempty"`
}

func (c *client) containers(ctx context.Context, cursor string) (containerPage, error) {
	query := url.Values{"limit": {strconv.Itoa(maxPage)}}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	var page containerPage
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/containers", query: query}, &page)
	return page, err
}

func (c *client) container(ctx context.Context, slug string) (cyberun.Container, json.RawMessage, error) {
	var found cyberun.Container
	raw, err := c.do(ctx, call{method: http.MethodGet, path: "/containers/" + url.PathEscape(slug)}, &found)
	return found, raw, err
}
