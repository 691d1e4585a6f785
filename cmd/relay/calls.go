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
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// decisionBody is the body of POST /runs/{id}/outcome: a person's decision.
type decisionBody struct {
	TaskID     string `json:"task_id,omitempty"`
	NotStarted bool   `json:"not_started,omitempty"`
}

// view is a run as the API answered it.
type view struct {
	api.Run
	raw json.RawMessage
}

// request makes a call and reads its answer, which it also returns as it came.
func request[T any](ctx context.Context, c *client, k call) (T, json.RawMessage, error) {
	var answer T
	raw, err := c.do(ctx, k, &answer)
	return answer, raw, err
}

func get[T any](ctx context.Context, c *client, path string) (T, json.RawMessage, error) {
	return request[T](ctx, c, call{method: http.MethodGet, path: path})
}

func runPath(runID string) string { return "/runs/" + url.PathEscape(runID) }

func (c *client) start(ctx context.Context, r run.Request, key string) (api.Started, json.RawMessage, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return api.Started{}, nil, err
	}
	s, raw, err := request[api.Started](ctx, c, call{method: http.MethodPost, path: "/runs", body: body, key: key})
	if err == nil && s.RunID == "" {
		err = notRelayAPI("the API accepted the run but named no run_id")
	}
	return s, raw, err
}

func (c *client) cancel(ctx context.Context, runID string) (api.Stopped, json.RawMessage, error) {
	return request[api.Stopped](ctx, c, call{method: http.MethodDelete, path: runPath(runID)})
}

func (c *client) decide(ctx context.Context, runID string, decision decisionBody) (json.RawMessage, error) {
	body, err := json.Marshal(decision)
	if err != nil {
		return nil, err
	}
	return c.do(ctx, call{method: http.MethodPost, path: runPath(runID) + "/outcome", body: body}, new(api.Started))
}

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
	k := call{method: http.MethodGet, path: runPath(runID), patience: patience}
	if wait > 0 {
		k.path += "?wait=" + strconv.Itoa(int(wait/time.Second))
	}
	v, raw, err := request[view](ctx, c, k)
	if err == nil && (v.RunID == "" || v.Status == "") {
		err = notRelayAPI("the API's answer names no run")
	}
	v.raw = raw
	return v, err
}

func (c *client) workflow(ctx context.Context, ref string) (cyberun.Workflow, json.RawMessage, error) {
	return get[cyberun.Workflow](ctx, c, "/workflows/"+url.PathEscape(ref))
}

func (c *client) container(ctx context.Context, slug string) (cyberun.Container, json.RawMessage, error) {
	return get[cyberun.Container](ctx, c, "/containers/"+url.PathEscape(slug))
}

// listing holds what the API lists of a kind: runs, workflows or containers. The rows
// are kept as they came.
type listing struct {
	kind string
	rows []json.RawMessage
	next string // the cursor after them, if there are more
}

// MarshalJSON writes a listing as the API writes a page of it.
func (l listing) MarshalJSON() ([]byte, error) {
	rows, err := json.Marshal(append([]json.RawMessage{}, l.rows...))
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
func (c *client) list(ctx context.Context, kind string, query url.Values, limit int) (listing, error) {
	all := listing{kind: kind, next: query.Get("cursor")}
	for first := true; len(all.rows) < limit && (first || all.next != ""); first = false {
		query.Set("limit", strconv.Itoa(min(limit-len(all.rows), maxPage)))
		if all.next != "" {
			query.Set("cursor", all.next)
		}
		var page map[string]json.RawMessage
		if _, err := c.do(ctx, call{method: http.MethodGet, path: "/" + kind + "?" + query.Encode()}, &page); err != nil {
			return all, err
		}
		var rows []json.RawMessage
		next := ""
		if json.Unmarshal(page[kind], &rows) != nil || page["next_cursor"] != nil && json.Unmarshal(page["next_cursor"], &next) != nil {
			return all, notRelayAPI("the API's answer is no list of %s", kind)
		}
		if next != "" && next == all.next {
			return all, notRelayAPI("the API's list of %s does not end", kind)
		}
		all.rows, all.next = append(all.rows, rows...), next
	}
	return all, nil
}

// decodeRows reads a listing's rows.
func decodeRows[T any](l listing) ([]T, error) {
	rows := make([]T, len(l.rows))
	for i, raw := range l.rows {
		if err := json.Unmarshal(raw, &rows[i]); err != nil {
			return nil, notRelayAPI("the API's list of %s has a row of another form", l.kind)
		}
	}
	return rows, nil
}
