package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/api"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
)

// view is a run as the API answered it.
type view struct {
	api.Run
	raw json.RawMessage
}

func get[T any](ctx context.Context, c *client, path string) (T, json.RawMessage, error) {
	return do[T](ctx, c, apiCall{method: http.MethodGet, path: path})
}

func runPath(runID string) string { return "/runs/" + url.PathEscape(runID) }

// outputs asks for the outputs of a run that has succeeded, from behind the one named
// on; empty: from the first.
func (c *client) outputs(ctx context.Context, runID, after string) (view, error) {
	path := runPath(runID)
	if after != "" {
		path += "?" + url.Values{"outputs_after": {after}}.Encode()
	}
	v, _, err := get[view](ctx, c, path)
	return v, err
}

// run asks how a run is; with a wait the answer comes when it has ended, or when the
// wait is over.
func (c *client) run(ctx context.Context, runID string, wait, patience time.Duration) (view, error) {
	k := apiCall{method: http.MethodGet, path: runPath(runID), patience: patience}
	if wait > 0 {
		k.path += "?wait=" + strconv.Itoa(int(wait/time.Second))
	}
	v, raw, err := do[view](ctx, c, k)
	if err == nil && (v.RunID == "" || v.Status == "") {
		err = notRelayAPI("the API's answer names no run")
	}
	v.raw = raw
	return v, err
}

func (c *client) workflow(ctx context.Context, ref string) (cyberun.Workflow, json.RawMessage, error) {
	return get[cyberun.Workflow](ctx, c, "/workflows/"+url.PathEscape(ref))
}

// listing holds what the API lists of a kind: runs, workflows or containers.
type listing[T any] struct {
	kind string
	rows []T
	raw  []json.RawMessage // the rows as they came
	next string            // the cursor after them, if there are more
}

// MarshalJSON writes a listing as the API writes a page of it.
func (l listing[T]) MarshalJSON() ([]byte, error) {
	rows, err := json.Marshal(append([]json.RawMessage{}, l.raw...))
	next, _ := json.Marshal(l.next) // a string: it cannot fail
	if l.next == "" {
		return fmt.Appendf(nil, "{%q:%s}", l.kind, rows), err
	}
	return fmt.Appendf(nil, "{%q:%s,\"next_cursor\":%s}", l.kind, rows, next), err
}

const (
	// maxPage is the API's own limit for a page.
	maxPage = 100
	// maxListed keeps a typo in --limit from reading the records of 90 days.
	maxListed = 10000
)

// list reads pages until it has limit rows or there are no more. A page of a filtered
// list may be shorter than asked for though there are more.
func list[T any](ctx context.Context, c *client, kind string, query url.Values, limit int) (listing[T], error) {
	all := listing[T]{kind: kind, next: query.Get("cursor")}
	for first := true; len(all.rows) < limit && (first || all.next != ""); first = false {
		query.Set("limit", strconv.Itoa(min(limit-len(all.rows), maxPage)))
		if all.next != "" {
			query.Set("cursor", all.next)
		}
		page, _, err := get[map[string]json.RawMessage](ctx, c, "/"+kind+"?"+query.Encode())
		if err != nil {
			return all, err
		}
		var raw []json.RawMessage
		next := ""
		if json.Unmarshal(page[kind], &raw) != nil || page["next_cursor"] != nil && json.Unmarshal(page["next_cursor"], &next) != nil {
			return all, notRelayAPI("the API's answer is no list of %s", kind)
		}
		var rows []T
		if json.Unmarshal(page[kind], &rows) != nil {
			return all, notRelayAPI("the API's list of %s has a row of another form", kind)
		}
		if next != "" && next == all.next {
			return all, notRelayAPI("the API's list of %s does not end", kind)
		}
		all.rows, all.raw, all.next = append(all.rows, rows...), append(all.raw, raw...), next
	}
	return all, nil
}
