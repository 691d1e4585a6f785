package handler

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/aws/aws-lambda-go/events"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// defaultLimit is how many services a page has if nobody asks for another number.
const defaultLimit = 50

// list pages through the services that the key can call. Cyberun pages by
// number: the cursor is the number of the next page, good for the same limit.
func (h *Handler) list(ctx context.Context, e events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
	page, err := parsePage(e.RawQueryString)
	if err != nil {
		return events.APIGatewayV2HTTPResponse{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	found, err := h.Cyberun.Containers(ctx, page)
	if err != nil {
		return events.APIGatewayV2HTTPResponse{}, remoteError("list the container services", err)
	}
	answer := struct {
		Containers []cyberun.Container `json:"containers"`
		NextCursor string              `json:"next_cursor,omitempty"`
	}{Containers: found.Containers}
	if answer.Containers == nil {
		answer.Containers = []cyberun.Container{}
	}
	if len(found.Containers) > 0 && page.Number*page.Size < found.Page.TotalCount {
		answer.NextCursor = strconv.Itoa(page.Number + 1)
	}
	return jsonResponse(answer)
}

// parsePage tells everything that is wrong with a list's query at once.
func parsePage(query string) (cyberun.Page, error) {
	q, err := url.ParseQuery(query)
	if err != nil {
		return cyberun.Page{}, named.Violations{{Parameter: "query", Message: "cannot be read"}}.Err()
	}
	var faults named.Violations
	page := cyberun.Page{Number: 1, Size: defaultLimit}
	if value := q.Get("limit"); value != "" {
		if page.Size, err = strconv.Atoi(value); err != nil || page.Size < 1 || page.Size > cyberun.MaxPageSize {
			faults.Add("limit", "must be a whole number from 1 to %d", cyberun.MaxPageSize)
		}
	}
	if value := q.Get("cursor"); value != "" {
		if page.Number, err = strconv.Atoi(value); err != nil || page.Number < 1 {
			faults.Add("cursor", "is not the next_cursor of an earlier answer")
		}
	}
	return page, faults.Err()
}

// show tells one service.
func (h *Handler) show(ctx context.Context, slug string) (events.APIGatewayV2HTTPResponse, error) {
	if !cyberun.IsContainerSlug(slug) {
		return events.APIGatewayV2HTTPResponse{}, notFound(slug)
	}
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	found, err := h.Cyberun.Container(ctx, slug)
	if err != nil {
		return events.APIGatewayV2HTTPResponse{}, lookUpError(slug, err)
	}
	return jsonResponse(found)
}

func notFound(slug string) error {
	return named.Errorf(named.ContainerNotFound, "Cyberun has no container service %q for this key", named.Quote(slug))
}

// lookUpError names what the detail of a service came back with.
func lookUpError(slug string, err error) error {
	if cyberun.IsNotFound(err) {
		return notFound(slug)
	}
	return remoteError("look up the container service "+slug, err)
}

func jsonResponse(v any) (events.APIGatewayV2HTTPResponse, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return events.APIGatewayV2HTTPResponse{}, err
	}
	return events.APIGatewayV2HTTPResponse{StatusCode: http.StatusOK, Body: string(body) + "\n",
		Headers: map[string]string{"content-type": "application/json", "cache-control": "no-store"}}, nil
}
