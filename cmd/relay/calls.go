package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// started answers POST /runs and DELETE /runs/{id}.
type started struct {
	RunID  string     `json:"run_id"`
	Status run.Status `json:"status"`
}

// stopped answers DELETE /runs/{id}.
type stopped struct {
	started
	Task string `json:"task"` // cancelled, cancelling, left, none
}

// outcome is the body of POST /runs/{id}/outcome: a person's word.
type outcome struct {
	TaskID     string `json:"task_id,omitempty"`
	NotStarted bool   `json:"not_started,omitempty"`
}

// view is a run as the API tells it.
type view struct {
	RunID       string          `json:"run_id"`
	Status      run.Status      `json:"status"`
	Workflow    string          `json:"workflow"`
	TaskID      string          `json:"task_id"`
	TaskStatus  string          `json:"task_status"`
	Adopted     bool            `json:"adopted"`
	StartedAt   time.Time       `json:"started_at"`
	EndedAt     time.Time       `json:"ended_at"`
	Progress    *run.Progress   `json:"progress"`
	Bucket      string          `json:"bucket"`
	ManifestKey string          `json:"manifest_key"`
	Outputs     []output        `json:"outputs"`
	OutputsNext string          `json:"outputs_next"`
	Candidates  []run.Candidate `json:"candidates"`
	Submission  *run.Submission `json:"submission"`
	Error       *named.Error    `json:"error"`

	raw json.RawMessage // the API's answer
}

// output is one file, where it is, and an address to fetch it from for a while.
type output struct {
	run.Output
	S3URI string `json:"s3_uri"`
	URL   string `json:"url"` // signed: it is printed under --json only
}

func (c *client) start(ctx context.Context, request run.Request, key string) (started, json.RawMessage, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return started{}, nil, err
	}
	var s started
	raw, err := c.do(ctx, call{method: http.MethodPost, path: "/runs", body: body, key: key}, &s)
	if err == nil && s.RunID == "" {
		err = notOurs("the API accepted the run but named no run_id")
	}
	return s, raw, err
}

func (c *client) cancel(ctx context.Context, runID string) (stopped, json.RawMessage, error) {
	var s stopped
	raw, err := c.do(ctx, call{method: http.MethodDelete, path: "/runs/" + url.PathEscape(runID)}, &s)
	return s, raw, err
}

func (c *client) decide(ctx context.Context, runID string, word outcome) (started, json.RawMessage, error) {
	body, err := json.Marshal(word)
	if err != nil {
		return started{}, nil, err
	}
	var s started
	raw, err := c.do(ctx, call{method: http.MethodPost, path: "/runs/" + url.PathEscape(runID) + "/outcome", body: body}, &s)
	return s, raw, err
}

// moreOutputs asks for the outputs of a run after the one named.
func (c *client) moreOutputs(ctx context.Context, runID, after string) (view, error) {
	var v view
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/runs/" + url.PathEscape(runID), query: url.Values{"outputs_after": {after}}}, &v)
	return v, err
}

// run asks how a run is; with a wait the answer comes when it has ended, or
// when the wait is over.
func (c *client) run(ctx context.Context, runID string, wait, patience time.Duration) (view, error) {
	k := call{method: http.MethodGet, path: "/runs/" + url.PathEscape(runID), patience: patience}
	if wait > 0 {
		k.query = url.Values{"wait": {strconv.Itoa(int(wait / time.Second))}}
	}
	var v view
	raw, err := c.do(ctx, k, &v)
	if err == nil && (v.RunID == "" || v.Status == "") {
		err = notOurs("the API's answer names no run")
	}
	v.raw = raw
	return v, err
}

// runPage is one page of GET /runs; the rows are kept as they came too.
type runPage struct {
	Runs       []json.RawMessage `json:"runs"`
	NextCursor string            `json:"next_cursor,omitempty"`
}

func (c *client) runs(ctx context.Context, status, cursor string, limit int) (runPage, error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	if status != "" {
		query.Set("status", status)
	}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	var page runPage
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/runs", query: query}, &page)
	return page, err
}

type workflowPage struct {
	Workflows  []json.RawMessage `json:"workflows"`
	NextCursor string            `json:"next_cursor,omitempty"`
}

func (c *client) workflows(ctx context.Context, cursor string) (workflowPage, error) {
	query := url.Values{"limit": {strconv.Itoa(maxPage)}}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	var page workflowPage
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/workflows", query: query}, &page)
	return page, err
}

func (c *client) workflow(ctx context.Context, ref string) (cyberun.Workflow, json.RawMessage, error) {
	var w cyberun.Workflow
	raw, err := c.do(ctx, call{method: http.MethodGet, path: "/workflows/" + url.PathEscape(ref)}, &w)
	return w, raw, err
}

// maxPage is the API's own limit for a page.
const maxPage = 100
