package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"time"
)

type totals struct {
	Tasks     int `json:"tasks"`
	Uploads   int `json:"uploads"`
	Completed int `json:"completed"`
	Failed    int `json:"failed"`
	Cancelled int `json:"cancelled"`
}

func (c *totals) count(status string) {
	switch status {
	case "completed":
		c.Completed++
	case "failed":
		c.Failed++
	case "cancelled":
		c.Cancelled++
	}
}

// entry is one paid task. The caller of its maker holds the lock.
type entry struct {
	ID              string         `json:"id"`
	Workflow        string         `json:"workflow"`
	WorkflowID      string         `json:"workflow_id"`
	Version         int            `json:"version"`
	Parameters      map[string]any `json:"parameters"`
	Status          string         `json:"status"`
	CreatedAt       string         `json:"created_at"`
	CompletedAt     *string        `json:"completed_at"` // of any end
	CancelledAt     *string        `json:"cancelled_at"`
	CancelRequested bool           `json:"cancel_requested"` // false: cancelled from the other side
	Key             string         `json:"key"`
}

func (s *standin) entry(t *task) entry {
	_, here := t.at(s.now())
	e := entry{ID: t.id, Workflow: t.flow.Slug, WorkflowID: t.flow.ID, Version: t.flow.Version, Parameters: t.given, Status: here.status,
		CreatedAt: stamp(t.created), CancelRequested: !t.cancelled.IsZero(), Key: t.key}
	if terminal(here.status) {
		end := stamp(t.created.Add(here.at))
		e.CompletedAt = &end
		if here.status == "cancelled" {
			e.CancelledAt = &end
		}
	}
	return e
}

// note writes a line of the journal. The caller holds the lock.
func (s *standin) note(event string, t *task) {
	s.line(map[string]any{"event": event, "at": stamp(s.now()), "task": s.entry(t)})
}

func (s *standin) line(what any) {
	line, err := json.Marshal(what)
	if err == nil {
		s.journal.Write(append(line, '\n')) // the ledger in memory is what counts
	}
}

func (s *standin) controlRoutes() {
	s.control.HandleFunc("GET /_/health", func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusOK, map[string]any{"ok": true})
	})
	s.control.HandleFunc("GET /_/ledger", s.showLedger)
	s.control.HandleFunc("POST /_/reset", func(w http.ResponseWriter, r *http.Request) {
		s.reset(r.URL.Query().Get("keep"))
		reply(w, http.StatusOK, map[string]any{"success": true})
	})
	s.control.HandleFunc("GET /_/faults", s.showFaults)
	s.control.HandleFunc("POST /_/faults", s.addFaults)
	s.control.HandleFunc("DELETE /_/faults", s.clearFaults)
	s.control.HandleFunc("POST /_/keys", s.setKeys)
	s.control.HandleFunc("POST /_/strangers", s.addStrangers)
	s.control.HandleFunc("POST /_/webhook", s.setWebhook)
	s.control.HandleFunc("GET /_/webhooks", s.showWebhooks)
}

func (s *standin) showLedger(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	tasks := make([]entry, 0, len(s.order))
	for _, t := range s.order {
		tasks = append(tasks, s.entry(t))
	}
	uploads := append([]*upload{}, s.uploaded...)
	requests := make(map[string]int, len(s.requests))
	for route, n := range s.requests {
		requests[route] = n
	}
	calls := maps.Clone(s.containerCalls)
	counts := s.totals
	s.mu.Unlock()
	reply(w, http.StatusOK, map[string]any{"at": s.now().UTC().Format(time.RFC3339Nano), "counts": counts,
		"tasks": tasks, "uploads": uploads, "requests": requests, "container_calls": calls})
}

// setKeys replaces the keys that are let in: a rotation, or a revocation.
func (s *standin) setKeys(w http.ResponseWriter, r *http.Request) {
	var body struct{ Keys []string }
	if err := decode(r, &body); err != nil || body.Keys == nil {
		fail(w, http.StatusBadRequest, "invalid_json", `send {"keys": ["…"]}`)
		return
	}
	s.mu.Lock()
	s.keys = map[string]bool{}
	for _, k := range body.Keys {
		s.keys[k] = true
	}
	s.mu.Unlock()
	reply(w, http.StatusOK, map[string]any{"success": true})
}

// maxStrangers bounds how many tasks one call starts.
const maxStrangers = 1000

// addStrangers starts tasks as somebody else with the same team does: no fault
// meets them, and the ledger says whose they are.
func (s *standin) addStrangers(w http.ResponseWriter, r *http.Request) {
	body := struct {
		Workflow   string
		Parameters map[string]any
		Count      int
	}{Count: 1}
	if err := decode(r, &body); err != nil || body.Count < 1 || body.Count > maxStrangers {
		fail(w, http.StatusBadRequest, "invalid_json", fmt.Sprintf(`send {"workflow", "parameters", "count"}; at most %d`, maxStrangers))
		return
	}
	flow := s.find(body.Workflow)
	if flow == nil {
		fail(w, http.StatusNotFound, "workflow_not_found", "no such workflow")
		return
	}
	params, faults := flow.check(body.Parameters, s.file)
	if len(faults) > 0 {
		fail(w, http.StatusUnprocessableEntity, "invalid_parameters", "the parameters are wrong", faults...)
		return
	}
	ids := []string{}
	for range body.Count {
		ids = append(ids, s.start(flow, body.Parameters, params, "stranger", nil).id)
	}
	reply(w, http.StatusCreated, map[string]any{"ids": ids})
}
