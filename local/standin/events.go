package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// keepAlive is how often a quiet stream sends a comment, as proxies need.
const keepAlive = 15 * time.Second

// hugeEvent is more than any parser should take at once.
const hugeEvent = 4 << 20

// stream is one subscriber's.
type stream struct {
	s      *standin
	w      http.ResponseWriter
	r      *http.Request
	t      *task
	sent   int // events
	faults faultList
}

// streamEvents tells a task's life from now on, the present state first, and ends after the terminal event.
func (s *standin) streamEvents(w http.ResponseWriter, r *http.Request) {
	t := s.lookup(w, r)
	if t == nil {
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	http.NewResponseController(w).Flush()
	one := &stream{s: s, w: w, r: r, t: t, faults: faultsOf(r)}
	s.mu.Lock()
	i, here := t.at(s.now())
	s.mu.Unlock()
	here.progress = nil // the state; the next tick says how far
	for one.send(here) && !terminal(here.status) {
		i++
		var ok bool
		if here, ok = one.next(i); !ok {
			return
		}
	}
}

// next waits for the plan's moment i, or for a cancel. False: the subscriber or the program is gone.
func (e *stream) next(i int) (moment, bool) {
	var due <-chan time.Time
	if i < len(e.t.plan) {
		due = time.After(e.t.created.Add(e.t.plan[i].at).Sub(e.s.now()))
	}
	quiet := time.NewTicker(keepAlive)
	defer quiet.Stop()
	for {
		select {
		case <-e.r.Context().Done():
			return moment{}, false
		case <-e.t.stopped:
			return moment{status: "cancelled"}, true
		case <-due:
			return e.t.plan[i], true
		case <-quiet.C:
			fmt.Fprint(e.w, ": keep-alive\n\n")
			http.NewResponseController(e.w).Flush()
		}
	}
}

// send writes one event, or plays the stream's fault in its place. False: the stream is over.
func (e *stream) send(m moment) bool {
	if a, ok := e.faults.find("stream_break"); ok && e.sent >= a.AfterEvents {
		cut(e.w, true)
		return false
	}
	if a, ok := e.faults.find("stream_close_early"); ok && e.sent >= a.AfterEvents {
		return false
	}
	if a, ok := e.faults.find("stream_silent"); ok && e.sent >= a.AfterEvents {
		<-e.r.Context().Done()
		return false
	}
	if a, ok := e.faults.find("stream_error_event"); ok && e.sent == a.AfterEvents {
		e.write("error", map[string]any{"task_id": e.t.id, "error": "could not read the task's status"})
	}
	if a, ok := e.faults.find("stream_garbage"); ok && e.sent == a.AfterEvents {
		e.garbage(a)
	}
	event, data := e.s.event(e.t, m)
	e.sent++
	return e.write(event, data)
}

func (s *standin) event(t *task, m moment) (string, map[string]any) {
	data := map[string]any{"task_id": t.id}
	switch {
	case m.status == "completed":
		data["status"], data["output"] = m.status, s.taskOutput(t)
		return "completed", data
	case m.status == "failed":
		data["status"], data["error"] = m.status, m.message
		return "failed", data
	case m.status == "cancelled":
		data["status"] = m.status
		return "cancelled", data
	case m.progress == nil:
		data["status"], data["timestamp"] = m.status, stamp(s.now())
		return "status", data
	}
	p := m.progress
	data["progress"], data["current_node"], data["timestamp"] = p.Part, p.Node, stamp(s.now())
	data["step_current"], data["step_total"] = p.Current, p.Total // null where none
	if p.Stage != "" {
		data["stage"], data["message"] = p.Stage, p.Message
	}
	return "progress", data
}

func (e *stream) write(event string, data any) bool {
	text, err := json.Marshal(data)
	if err != nil {
		return false
	}
	fmt.Fprintf(e.w, "event: %s\ndata: %s\n\n", event, text)
	return http.NewResponseController(e.w).Flush() == nil
}

// garbage is what a stream may bring that no page documents.
func (e *stream) garbage(a action) {
	size := hugeEvent
	if a.Bytes > 0 {
		size = int(min(a.Bytes, 64<<20))
	}
	fmt.Fprint(e.w, ":\n\nevent: telemetry\ndata: {\"gpu\": 71}\n\n"+
		"event: progress\ndata: {not json\n\n"+
		"event: status\ndata: null\n\n"+
		"event: completed\ndata: {\"task_id\": \"00000000-0000-4000-8000-000000000000\", \"status\": \"completed\"}\n\n"+
		"event: progress\ndata: {\"progress\": \"half\", \"step_current\": -1}\n\n"+
		"id: \x00\nretry: soon\ndata\n\ngarbage without a colon\n\n")
	fmt.Fprintf(e.w, "event: log\ndata: %s\n\n", strings.Repeat("x", size))
	http.NewResponseController(e.w).Flush()
}
