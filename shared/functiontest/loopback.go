package functiontest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
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
	l.server = httptest.NewServer(l.routes())
	t.Cleanup(l.server.Close)
	return l
}

const root = "/api/v1"

// Client returns the relay's own client of the service.
func (l *Loopback) Client() *cyberun.Client {
	return &cyberun.Client{BaseURL: l.server.URL + root, Keys: cyberun.StaticKey("sk-loopback"), HTTP: l.server.Client()}
}

// routes has what the service does at each path.
func (l *Loopback) routes() http.Handler {
	mux := http.NewServeMux()
	on := func(path, call string, serve func(c *Cyberun, r *http.Request) (any, error)) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { l.answer(w, r, call, serve) })
	}
	on(root+"/r/files/presign", "presign", func(c *Cyberun, r *http.Request) (any, error) {
		p, err := c.Presign(r.Context(), cyberun.PresignRequest{FileName: "file"})
		return map[string]any{"file_key": p.FileKey, "upload_url": l.server.URL + "/put/" + p.FileKey}, err
	})
	on("/put/{key}", "upload", func(c *Cyberun, r *http.Request) (any, error) {
		return nil, c.Upload(r.Context(), cyberun.Presigned{FileKey: r.PathValue("key")}, r.Body, r.ContentLength)
	})
	on(root+"/r/workflows/slug/{ref}", "workflow", func(c *Cyberun, r *http.Request) (any, error) {
		return c.Workflow(r.Context(), r.PathValue("ref"))
	})
	on(root+"/r/workflows/{id}", "workflow", func(c *Cyberun, r *http.Request) (any, error) {
		return c.WorkflowByID(r.Context(), r.PathValue("id"))
	})
	on(root+"/r/workflows/slug/{ref}/run", "start", func(c *Cyberun, r *http.Request) (any, error) {
		var body struct{ Parameters map[string]any }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			return nil, err
		}
		return map[string]any{"task_id": c.Start(body.Parameters)}, nil
	})
	on(root+"/r/tasks", "list", func(c *Cyberun, r *http.Request) (any, error) {
		number, _ := strconv.Atoi(r.URL.Query().Get("current_page"))
		size, _ := strconv.Atoi(r.URL.Query().Get("per_page"))
		list, err := c.Tasks(r.Context(), cyberun.Page{Number: number, Size: size})
		return map[string]any{"task_list": append([]cyberun.Task{}, list.Tasks...), "page_meta": list.Page}, err
	})
	on(root+"/r/tasks/{id}", "task", func(c *Cyberun, r *http.Request) (any, error) {
		return c.Task(r.Context(), r.PathValue("id"))
	})
	on(root+"/r/tasks/{id}/events", "events", func(*Cyberun, *http.Request) (any, error) { return nil, nil })
	on(root+"/r/tasks/{id}/result", "result", func(c *Cyberun, r *http.Request) (any, error) {
		result, err := c.Result(r.Context(), r.PathValue("id"))
		return map[string]any{"id": result.ID, "task_status": result.Status, "download_url": string(result.DownloadURL)}, err
	})
	on(root+"/r/tasks/{id}/cancel", "cancel", func(c *Cyberun, r *http.Request) (any, error) {
		return map[string]any{"success": true}, c.end(r.PathValue("id"))
	})
	return mux
}

func (l *Loopback) answer(w http.ResponseWriter, r *http.Request, call string, serve func(*Cyberun, *http.Request) (any, error)) {
	w.Header().Set("Date", l.World.Cyberun.Clock().UTC().Format(http.TimeFormat))
	status, work := 0, true
	if l.HTMLPage != nil {
		status, work = l.HTMLPage(call)
	}
	var answer any
	var err error
	if status == 0 || work {
		answer, err = serve(l.World.Cyberun, r)
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
