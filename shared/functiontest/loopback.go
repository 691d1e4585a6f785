package functiontest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
)

// meaningful are the statuses of which some call makes more than an outage.
var meaningful = []int{400, 401, 402, 403, 404, 405, 410, 413, 415, 422, 429}

// Statuses returns every status from 400 to 599; under the race detector the
// meaningful ones and some others.
func Statuses() (all []int) {
	for status := http.StatusBadRequest; status <= 599; status++ {
		if status%stride == 0 || slices.Contains(meaningful, status) {
			all = append(all, status)
		}
	}
	return all
}

// Loopback is a server that serves a world's Cyberun over HTTP, for tests of what
// stands between the relay and the service. It outlives the worlds put into it.
type Loopback struct {
	World *World
	// HTMLPage answers a call in the service's place, with a page of a status; 0 lets
	// it through. With work the service does what it was asked for first. Calls are
	// named workflow, presign, upload, start, task, list, events, result and cancel.
	HTMLPage func(call string) (status int, work bool)

	server *httptest.Server
}

// NewLoopback starts the server; it ends with the test.
func NewLoopback(t testing.TB) *Loopback {
	l := &Loopback{}
	l.server = httptest.NewServer(l)
	t.Cleanup(l.server.Close)
	return l
}

// Client returns the relay's own client of the service.
func (l *Loopback) Client() *cyberun.Client {
	return &cyberun.Client{BaseURL: l.server.URL + "/api/v1", Keys: cyberun.StaticKey("sk-loopback"), HTTP: l.server.Client()}
}

// callOf names a request.
func callOf(r *http.Request) string {
	elements := elementsOf(r)
	switch last := elements[len(elements)-1]; {
	case strings.HasPrefix(r.URL.Path, "/put/"):
		return "upload"
	case last == "tasks":
		return "list"
	case last == "run":
		return "start"
	case last == "presign", last == "events", last == "result", last == "cancel":
		return last
	case elements[0] == "tasks":
		return "task"
	}
	return "workflow"
}

func elementsOf(r *http.Request) []string {
	return strings.Split(strings.TrimPrefix(r.URL.Path, "/api/v1/r/"), "/")
}

func (l *Loopback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", l.World.Cyberun.Clock().UTC().Format(http.TimeFormat))
	call := callOf(r)
	status, work := 0, true
	if l.HTMLPage != nil {
		status, work = l.HTMLPage(call)
	}
	var answer any
	var err error
	if status == 0 || work {
		answer, err = l.serve(call, r)
	}
	switch refused, _ := err.(*cyberun.APIError); {
	case status != 0:
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "<html><body><h1>"+strconv.Itoa(status)+"</h1></body></html>")
	case refused != nil:
		w.WriteHeader(refused.Status)
		_, _ = io.WriteString(w, `{"message":"`+refused.Message+`"}`)
	case err != nil:
		w.WriteHeader(http.StatusInternalServerError)
	case call == "events":
		w.Header().Set("Content-Type", "text/event-stream")
	default:
		if call == "start" {
			w.WriteHeader(http.StatusAccepted)
		}
		_ = json.NewEncoder(w).Encode(answer)
	}
}

// serve does what the service does.
func (l *Loopback) serve(call string, r *http.Request) (any, error) {
	c, ctx := l.World.Cyberun, r.Context()
	elements := elementsOf(r)
	second := elements[min(1, len(elements)-1)]
	switch call {
	case "presign":
		p, err := c.Presign(ctx, cyberun.PresignRequest{FileName: "file"})
		return map[string]any{"file_key": p.FileKey, "upload_url": l.server.URL + "/put/" + p.FileKey}, err
	case "upload":
		return nil, c.Upload(ctx, cyberun.Presigned{FileKey: second}, r.Body, r.ContentLength)
	case "start":
		var body struct{ Parameters map[string]any }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			return nil, err
		}
		return map[string]any{"task_id": c.Start(body.Parameters)}, nil
	case "task":
		return c.Task(ctx, second)
	case "list":
		query := r.URL.Query()
		number, _ := strconv.Atoi(query.Get("current_page"))
		size, _ := strconv.Atoi(query.Get("per_page"))
		list, err := c.Tasks(ctx, cyberun.Page{Number: number, Size: size})
		return map[string]any{"task_list": append([]cyberun.Task{}, list.Tasks...), "page_meta": list.Page}, err
	case "result":
		result, err := c.Result(ctx, second)
		return map[string]any{"id": result.ID, "task_status": result.Status, "download_url": string(result.DownloadURL)}, err
	case "cancel":
		return map[string]any{"success": true}, c.end(second)
	case "events":
		return nil, nil
	}
	if second == "slug" {
		return c.Workflow(ctx, elements[2])
	}
	return c.WorkflowByID(ctx, second)
}
