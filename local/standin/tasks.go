package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// maxTasks bounds what is remembered: the oldest is forgotten, the ledger's counts go on.
const maxTasks = 20000

type task struct {
	id        string
	flow      *workflow
	given     map[string]any // as asked for
	params    map[string]any // with the defaults
	key       string
	created   time.Time
	plan      []moment
	faults    []action
	timer     *time.Timer   // announces the end
	stopped   chan struct{} // closed by a cancel
	cancelled time.Time     // under the stand-in's lock; zero: never
}

// at is the last moment that has come, and its index in the plan. The caller holds the lock.
func (t *task) at(now time.Time) (int, moment) {
	until := now.Sub(t.created)
	if !t.cancelled.IsZero() && !now.Before(t.cancelled) {
		return len(t.plan), moment{at: t.cancelled.Sub(t.created), status: "cancelled"}
	}
	i := len(t.plan) - 1
	for i > 0 && t.plan[i].at > until {
		i--
	}
	return i, t.plan[i]
}

func (t *task) fault(kind string) (action, bool) {
	i := slices.IndexFunc(t.faults, func(a action) bool { return a.Type == kind })
	if i < 0 {
		return action{}, false
	}
	return t.faults[i], true
}

func uuid() string {
	b := make([]byte, 16)
	rand.Read(b) // never fails, by its documentation
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (s *standin) runWorkflow(w http.ResponseWriter, r *http.Request) {
	flow := s.named(r)
	if flow == nil {
		fail(w, http.StatusNotFound, "workflow_not_found", "no such workflow")
		return
	}
	if flow.Status != "active" {
		fail(w, http.StatusUnprocessableEntity, "workflow_disabled", flow.Slug+" is disabled and takes no new tasks")
		return
	}
	var body struct {
		Parameters map[string]any `json:"parameters"`
	}
	if err := decode(r, &body); err != nil {
		fail(w, http.StatusBadRequest, "invalid_json", err.Error())
		return
	}
	params, faults := flow.check(body.Parameters, s.file)
	if len(faults) > 0 {
		fail(w, http.StatusUnprocessableEntity, "invalid_parameters", fmt.Sprintf("%d of the parameters are wrong", len(faults)), faults...)
		return
	}
	t := s.start(flow, body.Parameters, params, keyLabel(r), faultsOf(r))
	reply(w, http.StatusAccepted, map[string]any{"task_id": t.id})
}

// decode keeps numbers as they were written: a seed has more digits than a float64.
func decode(r *http.Request, into any) error {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return fmt.Errorf("something follows the JSON value")
	}
	return nil
}

// start is where a task is paid for.
func (s *standin) start(flow *workflow, given, params map[string]any, key string, faults []action) *task {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &task{id: uuid(), flow: flow, given: given, params: params, key: key, created: s.now(),
		plan: plan(flow, params, faults, s.speed), faults: faults, stopped: make(chan struct{})}
	s.tasks[t.id] = t
	s.order = append(s.order, t)
	if len(s.order) > maxTasks {
		s.order[0].timer.Stop()
		delete(s.tasks, s.order[0].id)
		s.order = s.order[1:]
	}
	s.totals.Tasks++
	s.note("task_started", t)
	last := t.plan[len(t.plan)-1]
	t.timer = time.AfterFunc(last.at, func() { s.ended(t, last) })
	if !terminal(last.status) {
		t.timer.Stop()
	}
	return t
}

// ended runs once a task has come to its planned end.
func (s *standin) ended(t *task, last moment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tasks[t.id] != t || !t.cancelled.IsZero() {
		return // forgotten, or cancelled while this waited for the lock
	}
	s.totals.count(last.status)
	s.note("task_"+last.status, t)
	if last.status != "cancelled" { // never announced, as documented
		s.sender.announce(t, last, s.taskOutput(t))
	}
}

func (s *standin) lookup(w http.ResponseWriter, r *http.Request) *task {
	s.mu.Lock()
	t := s.tasks[r.PathValue("task")]
	s.mu.Unlock()
	if t == nil {
		fail(w, http.StatusNotFound, "task_not_found", "no such task")
	}
	return t
}

// row is a task as the API shows it at a moment. The caller holds the lock.
func (t *task) row(now time.Time) map[string]any {
	_, here := t.at(now)
	row := map[string]any{"id": t.id, "workflow_id": t.flow.ID, "task_status": here.status, "task_error": nil, "retry_count": 0,
		"created_at": stamp(t.created), "started_at": nil, "completed_at": nil, "agent_id": nil, "gpu_type": nil,
		"dispatch_target": t.flow.Target, "tool_type": t.flow.ToolType}
	for _, m := range t.plan {
		if m.status == "running" && m.at <= here.at {
			row["started_at"], row["gpu_type"] = stamp(t.created.Add(m.at)), "RTX 4090"
			if t.flow.Target == "agent" {
				row["agent_id"] = "agent-local-1"
			}
			break
		}
	}
	if terminal(here.status) {
		row["completed_at"] = stamp(t.created.Add(here.at))
	}
	if here.status == "failed" {
		row["task_error"] = here.message
	}
	return row
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func (s *standin) getTask(w http.ResponseWriter, r *http.Request) {
	if t := s.lookup(w, r); t != nil {
		s.mu.Lock()
		row := t.row(s.now())
		s.mu.Unlock()
		reply(w, http.StatusOK, row)
	}
}

// listTasks answers newest first unless a fault turns it round.
func (s *standin) listTasks(w http.ResponseWriter, r *http.Request) {
	now := s.now()
	if a, ok := faultsOf(r).find("list_cached"); ok {
		now = now.Add(-a.wait())
		a.age(w.Header(), now)
	}
	rows, meta, err := s.taskPage(r, now)
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, "invalid_query", err.Error())
		return
	}
	reply(w, http.StatusOK, map[string]any{"task_list": rows, "page_meta": meta})
}

// age gives an answer the headers of one that a cache has kept since a moment;
// the fault's own headers go before them, and an empty one takes its header away:
// without Age the Date alone is old, without Date the Age alone tells.
func (a action) age(h http.Header, since time.Time) {
	h.Set("Age", strconv.Itoa(int(a.Seconds)))
	h.Set("Date", since.UTC().Format(http.TimeFormat))
	for name, value := range a.Headers {
		if h.Set(name, value); value == "" {
			h.Del(name)
		}
	}
}

// taskPage is a page of the task list as it was at a moment.
func (s *standin) taskPage(r *http.Request, now time.Time) ([]map[string]any, pageMeta, error) {
	query, faults := r.URL.Query(), faultsOf(r)
	order, _ := faults.find("list_order")
	_, blind := faults.find("list_ignores_filter")
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*task
	for _, t := range slices.Backward(s.order) {
		lag, _ := faults.ofRow("list_lag", t.flow.Slug)
		if now.Sub(t.created) < lag.wait() {
			continue
		}
		_, here := t.at(now)
		if _, live := faults.ofRow("list_live_only", t.flow.Slug); live && terminal(here.status) {
			continue
		}
		if !blind && (query.Get("status") != "" && query.Get("status") != here.status ||
			query.Get("workflow_id") != "" && query.Get("workflow_id") != t.flow.ID) {
			continue
		}
		found = append(found, t)
	}
	if order.Order == "asc" {
		slices.Reverse(found)
	}
	page, meta, err := paging(r, found)
	rows := []map[string]any{} // never null
	for _, t := range page {
		row := t.row(now)
		if _, ok := faults.ofRow("list_snapshot_ids", t.flow.Slug); ok {
			row["workflow_id"] = fmt.Sprintf("%s-snapshot-%d", t.flow.ID, t.flow.Version)
		}
		if a, ok := faults.ofRow("list_local_time", t.flow.Slug); ok {
			a.localTimes(row)
		}
		rows = append(rows, row)
	}
	return rows, meta, err
}

// localTimes turns a row's times into those of a clock so far ahead of UTC, and
// does not say so: they have no zone.
func (a action) localTimes(row map[string]any) {
	for _, name := range []string{"created_at", "started_at", "completed_at"} {
		text, _ := row[name].(string)
		if at, err := time.Parse(time.RFC3339, text); err == nil {
			row[name] = at.Add(a.wait()).Format("2006-01-02T15:04:05.000")
		}
	}
}

func (s *standin) cancelTask(w http.ResponseWriter, r *http.Request) {
	t := s.lookup(w, r)
	if t == nil {
		return
	}
	s.mu.Lock()
	if _, here := t.at(s.now()); !terminal(here.status) {
		t.cancelled = s.now()
		t.timer.Stop()
		close(t.stopped)
		s.totals.count("cancelled")
		s.note("task_cancelled", t)
	}
	s.mu.Unlock()
	reply(w, http.StatusOK, map[string]any{"success": true})
}
