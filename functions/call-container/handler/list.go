package handler

import (
	"context"
	"net/http"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/httpapi"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// usualLimit is how many services a page has, if the query has no limit.
const usualLimit = 50

// list pages through the container services that the stack's key can call.
func (h *Handler) list(ctx context.Context, r httpapi.Request) (none httpapi.Response, err error) {
	page, number, err := httpapi.NumberedPage(r, usualLimit)
	if err != nil {
		return none, err
	}
	ctx, cancel := context.WithTimeout(ctx, cyberun.CallTime)
	defer cancel()
	found, err := h.Cyberun.Containers(ctx, cyberun.Page{Number: number, Size: page.Limit})
	if err != nil {
		return none, cyberun.RemoteError("list the container services", err)
	}
	return httpapi.JSON(http.StatusOK, struct {
		Containers []cyberun.Container `json:"containers"`
		NextCursor string              `json:"next_cursor,omitempty"`
	}{append([]cyberun.Container{}, found.Containers...), page.NextNumber(number, len(found.Containers), found.Page.TotalCount)})
}

// show describes one service.
func (h *Handler) show(ctx context.Context, slug string) (none httpapi.Response, err error) {
	if !cyberun.IsContainerSlug(slug) {
		return none, notFound(slug)
	}
	ctx, cancel := context.WithTimeout(ctx, cyberun.CallTime)
	defer cancel()
	found, err := h.Cyberun.Container(ctx, slug)
	if err != nil {
		return none, detailError(slug, err)
	}
	return httpapi.JSON(http.StatusOK, found)
}

func notFound(slug string) error {
	return named.Errorf(named.ContainerNotFound, "Cyberun has no container service %q for this key", named.Quote(slug))
}

// detailError names the error that Cyberun's detail of a service came back with.
func detailError(slug string, err error) error {
	if cyberun.IsNotFound(err) {
		return notFound(slug)
	}
	return cyberun.RemoteError("look up the container service "+slug, err)
}
