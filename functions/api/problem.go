package main

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// problem is an answer of RFC 9457. Its title is the named error.
type problem struct {
	status     int
	title      string
	detail     string
	faults     run.Faults
	retryAfter int // seconds; 0: no header
}

func (p *problem) Error() string { return p.title + ": " + p.detail }

// retryAfterOutage is what a caller is told to wait while Cyberun is down.
const retryAfterOutage = 30 // seconds

// statuses are what the named errors mean over HTTP. What is not here is a fault
// of a remote: 503.
var statuses = map[string]int{
	run.InvalidRequest:     http.StatusBadRequest,
	run.WorkflowDisabled:   http.StatusBadRequest,
	run.RunRejected:        http.StatusBadRequest,
	run.WorkflowNotFound:   http.StatusNotFound,
	run.Unauthorized:       http.StatusBadGateway,
	run.FeatureNotLicensed: http.StatusBadGateway,
	run.TaskTaken:          http.StatusConflict,
}

func problemFor(err error) *problem {
	if p, ok := err.(*problem); ok {
		return p
	}
	e, ok := run.AsError(err)
	if !ok {
		e = run.Errorf(run.Unavailable, "%w", err)
	}
	p := &problem{
		status: cmp.Or(statuses[e.Name], http.StatusServiceUnavailable),
		title:  e.Name, detail: e.Cause, faults: e.Faults,
	}
	if e.Hint != "" {
		p.detail += ". " + e.Hint
	}
	if p.status == http.StatusServiceUnavailable {
		p.retryAfter = retryAfterOutage
	}
	return p
}

func (p *problem) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/problem+json")
	if p.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	w.WriteHeader(p.status)
	body := struct {
		Type   string     `json:"type"`
		Title  string     `json:"title"`
		Status int        `json:"status"`
		Detail string     `json:"detail"`
		Errors run.Faults `json:"errors,omitempty"`
	}{"urn:cyberun-relay:error:" + p.title, p.title, p.status, p.detail, p.faults}
	_ = json.NewEncoder(w).Encode(body) // the writer is memory: it cannot fail
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
	return nil
}
