package cyberun

import (
	"context"
	"errors"
	"net/http"
	"regexp"
)

// ContainerStatus is how a container service stands. The set is open. The documented
// ones beside running are created, deploying, stopping, stopped and failed.
type ContainerStatus string

// ContainerRunning is the only status with which a service is known to answer calls.
const ContainerRunning ContainerStatus = "running"

// Container is a long-running service on the team's agents. In a [ContainerList] it
// may lack its description, usage prompt and address of routes.
type Container struct {
	Slug        string          `json:"slug"`
	DisplayName string          `json:"display_name,omitempty"`
	Status      ContainerStatus `json:"status"`
	Type        string          `json:"type,omitempty"` // deployed, external
	Description string          `json:"description,omitempty"`
	UsagePrompt string          `json:"usage_prompt,omitempty"` // how to call it, in words
	OpenAPIURL  string          `json:"openapi_url,omitempty"`  // where its routes are described
}

// UnmarshalJSON reads a service, of which only the slug has to be there.
func (s *Container) UnmarshalJSON(b []byte) error {
	o, ok := parseLooseJSON(b)
	if !ok {
		return errors.New("but a container that is not an object")
	}
	*s = Container{
		Slug: o.id("slug", "container_slug"), DisplayName: firstText(o, "display_name", "name"),
		Status: ContainerStatus(firstText(o, "status", "container_status")), Type: firstText(o, "type", "container_type"),
		Description: o.text("description"), UsagePrompt: o.text("usage_prompt"), OpenAPIURL: o.text("openapi_url"),
	}
	if s.Slug == "" {
		return errors.New("but without a container's slug")
	}
	return nil
}

// ContainerList is one page of the container services that the key can call.
type ContainerList struct {
	Containers []Container
	Page       PageMeta
}

// containerLists are the names that the list may have in the answer: the page
// that documents the route shows none, and container_list is as all others are.
var containerLists = []string{"container_list", "containers", "container_service_list"}

// Containers lists one page of the container services that the key can call.
func (c *Client) Containers(ctx context.Context, page Page) (ContainerList, error) {
	containers, meta, _, err := list[Container](ctx, c, "/r/containers", page, containerLists...)
	if err != nil {
		return ContainerList{}, err
	}
	return ContainerList{Containers: containers, Page: meta}, nil
}

// Container reads one service by its slug. [IsNotFound] reports whether the error says
// that there is none.
func (c *Client) Container(ctx context.Context, slug string) (Container, error) {
	escaped, err := escapeSegment("container", slug)
	if err != nil {
		return Container{}, err
	}
	s, _, err := read[Container](ctx, c, request{method: http.MethodGet, path: "/r/containers/" + escaped})
	if err != nil {
		return Container{}, err
	}
	return s, nil
}

// IsContainerSlug reports whether a container service can have this slug: 3 to 100
// lower-case letters, digits and hyphens, with no hyphen at either end, as documented.
func IsContainerSlug(slug string) bool { return containerSlug.MatchString(slug) }

var containerSlug = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,98}[a-z0-9]$`)
