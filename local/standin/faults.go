package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// rule says which requests meet with which fault.
type rule struct {
	ID            int     `json:"id"`
	Name          string  `json:"name,omitempty"`
	Match         match   `json:"match"`
	Times         int     `json:"times"`          // 0: always
	PeriodSeconds float64 `json:"period_seconds"` // 0: until cleared
	Action        action  `json:"action"`
	Seen          int     `json:"seen"`  // requests that fit the match
	Fired         int     `json:"fired"` // those that met the fault

	until time.Time
	path  *regexp.Regexp
}

type match struct {
	Method       string `json:"method,omitempty"`
	PathRegexp   string `json:"path_regexp,omitempty"`
	Workflow     string `json:"workflow,omitempty"` // slug, of the run, the task, the download or the list's rows
	BodyContains string `json:"body_contains,omitempty"`
	Nth          int    `json:"nth,omitempty"`   // only the nth that fits
	Every        int    `json:"every,omitempty"` // each nth
}

type action struct {
	Type           string            `json:"type"`
	Status         int               `json:"status,omitempty"`
	Headers        map[string]string `json:"headers,omitempty"`
	Body           string            `json:"body,omitempty"`
	AfterBytes     int64             `json:"after_bytes,omitempty"`
	Bytes          int64             `json:"bytes,omitempty"`
	BytesPerSecond int64             `json:"bytes_per_second,omitempty"`
	Seconds        float64           `json:"seconds,omitempty"`
	AfterEvents    int               `json:"after_events,omitempty"`
	Message        string            `json:"message,omitempty"`
	State          string            `json:"state,omitempty"`
	Order          string            `json:"order,omitempty"`
	URL            string            `json:"url,omitempty"`

	rows string // of a fault of the task list: the workflow whose rows it concerns; empty: all
}

func (a action) wait() time.Duration { return time.Duration(a.Seconds * float64(time.Second)) }

// actionTypes is the whole list; the README says what each does.
var actionTypes = []string{
	"status", "reset", "accept_then_reset", "accept_then_status", "accept_then_delay", "delay", "redirect",
	"reset_mid_body", "truncate", "longer", "slow", "stall", "drop_after_headers",
	"ignore_range", "wrong_content_range", "change_etag", "no_etag", "weak_etag", "gzip", "no_length", "expire_now", "url_lifetime",
	"stream_break", "stream_silent", "stream_close_early", "stream_error_event", "stream_garbage",
	"task_fail", "task_cancel", "task_state", "stay_waiting", "no_outputs", "old_output",
	"list_order", "list_lag", "list_ignores_filter", "list_cached", "list_live_only", "list_snapshot_ids", "list_local_time",
}

// wholeList are the faults of the task list that have no rows of their own.
var wholeList = []string{"list_order", "list_ignores_filter", "list_cached"}

// ofList tells a fault of the task list, which is met by requests for it alone.
func (a action) ofList() bool { return strings.HasPrefix(a.Type, "list_") }

// check says everything that is wrong with a rule and fills in what has a usual value.
func (r *rule) check() error {
	var wrong []string
	a := &r.Action
	if !slices.Contains(actionTypes, a.Type) {
		wrong = append(wrong, fmt.Sprintf("unknown action %q, there are %s", a.Type, strings.Join(actionTypes, ", ")))
	}
	path, err := regexp.Compile(r.Match.PathRegexp)
	if err != nil {
		wrong = append(wrong, err.Error())
	}
	r.path = path
	needs := map[string]bool{"redirect": a.URL != "", "slow": a.BytesPerSecond > 0, "task_state": a.State != "",
		"list_order": a.Order == "asc" || a.Order == "desc", "list_lag": a.Seconds > 0, "list_cached": a.Seconds >= 1, "list_local_time": a.Seconds != 0, "accept_then_delay": a.Seconds > 0,
		"delay": a.Seconds > 0, "url_lifetime": a.Seconds >= 1, "longer": a.Bytes > 0, "stall": a.Seconds > 0}
	if good, named := needs[a.Type]; named && !good {
		wrong = append(wrong, a.Type+" lacks its setting: see the table in the README")
	}
	if r.Match.Workflow != "" && slices.Contains(wholeList, a.Type) {
		wrong = append(wrong, a.Type+" concerns the whole list: it takes no workflow")
	}
	usual := map[string]int{"status": 503, "accept_then_status": 500, "redirect": 307, "old_output": 404}
	if a.Status == 0 {
		a.Status = usual[a.Type]
	}
	if usual[a.Type] != 0 && (a.Status < 200 || a.Status > 599) {
		wrong = append(wrong, "status must be from 200 to 599")
	}
	if a.Type == "task_fail" && a.Message == "" {
		a.Message = "CUDA out of memory"
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%s", strings.Join(wrong, "; "))
	}
	return nil
}

// fits says whether a request, which is about the workflow flow, meets the rule.
func (r *rule) fits(request *http.Request, body []byte, flow string) bool {
	m := r.Match
	if r.Action.ofList() { // the request is about all workflows, the fault about the rows of one
		if request.URL.Path != basePath+"/r/tasks" {
			return false
		}
		flow = m.Workflow
	}
	return (m.Method == "" || strings.EqualFold(m.Method, request.Method)) && r.path.MatchString(request.URL.Path) &&
		(m.Workflow == "" || m.Workflow == flow) && bytes.Contains(body, []byte(m.BodyContains))
}

// matching finds the faults that this request meets, in the order of their rules, and counts them.
func (s *standin) matching(r *http.Request, body []byte) faultList {
	s.mu.Lock()
	defer s.mu.Unlock()
	flow := s.flowOf(r.URL.Path)
	var found faultList
	for _, one := range s.rules {
		if !one.until.IsZero() && s.now().After(one.until) || one.Times > 0 && one.Fired >= one.Times ||
			!one.fits(r, body, flow) {
			continue
		}
		one.Seen++
		if one.Match.Nth > 0 && one.Seen != one.Match.Nth || one.Match.Every > 0 && one.Seen%one.Match.Every != 0 {
			continue
		}
		one.Fired++
		met := one.Action
		if met.ofList() {
			met.rows = one.Match.Workflow
		}
		found = append(found, met)
	}
	return found
}

// flowOf is the slug that a path is about. The caller holds the lock.
func (s *standin) flowOf(path string) string {
	for _, part := range strings.Split(path, "/") {
		if t := s.tasks[part]; t != nil {
			return t.flow.Slug
		}
		if flow := s.find(part); flow != nil {
			return flow.Slug
		}
	}
	return ""
}

type faultList []action

func (l faultList) find(kind string) (action, bool) {
	i := slices.IndexFunc(l, func(a action) bool { return a.Type == kind })
	if i < 0 {
		return action{}, false
	}
	return l[i], true
}

// ofRow finds a fault of the task list that concerns the rows of a workflow.
func (l faultList) ofRow(kind, slug string) (action, bool) {
	i := slices.IndexFunc(l, func(a action) bool { return a.Type == kind && (a.rows == "" || a.rows == slug) })
	if i < 0 {
		return action{}, false
	}
	return l[i], true
}

type faultKey struct{}

// faultsOf are the faults that the handler itself has to play.
func faultsOf(r *http.Request) faultList {
	l, _ := r.Context().Value(faultKey{}).(faultList)
	return l
}

func withFaultList(r *http.Request, l faultList) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), faultKey{}, l))
}

// maxRules bounds what every request is compared with.
const maxRules = 1000

func (s *standin) addFaults(w http.ResponseWriter, r *http.Request) {
	var raw json.RawMessage
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	if err := decoder.Decode(&raw); err != nil {
		fail(w, http.StatusBadRequest, "invalid_json", err.Error())
		return
	}
	if !bytes.HasPrefix(raw, []byte("[")) {
		raw = slices.Concat([]byte("["), raw, []byte("]"))
	}
	var rules []*rule
	strict := json.NewDecoder(bytes.NewReader(raw))
	strict.DisallowUnknownFields() // a mistyped match would hit every request
	err := strict.Decode(&rules)
	for i := 0; err == nil && i < len(rules); i++ {
		if rules[i] == nil {
			err = fmt.Errorf("rule %d is null", i)
		} else if wrong := rules[i].check(); wrong != nil {
			err = fmt.Errorf("rule %d: %w", i, wrong)
		}
	}
	var ids []int
	if err == nil {
		ids, err = s.add(rules)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "invalid_fault", err.Error())
		return
	}
	reply(w, http.StatusCreated, map[string]any{"ids": ids})
}

func (s *standin) add(rules []*rule) ([]int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rules)+len(rules) > maxRules {
		return nil, fmt.Errorf("more than %d rules", maxRules)
	}
	ids := []int{}
	for _, one := range rules {
		s.ruleIDs++
		one.ID, one.Seen, one.Fired = s.ruleIDs, 0, 0
		if one.PeriodSeconds > 0 {
			one.until = s.now().Add(time.Duration(one.PeriodSeconds * float64(time.Second)))
		}
		s.rules = append(s.rules, one)
		ids = append(ids, one.ID)
	}
	return ids, nil
}

func (s *standin) showFaults(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	rules := make([]rule, 0, len(s.rules))
	for _, one := range s.rules {
		rules = append(rules, *one)
	}
	s.mu.Unlock()
	reply(w, http.StatusOK, map[string]any{"faults": rules})
}

// clearFaults ends the rules of a name, or all there are.
func (s *standin) clearFaults(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("name")
	s.mu.Lock()
	s.rules = slices.DeleteFunc(s.rules, func(one *rule) bool { return name == "" || one.Name == name })
	s.mu.Unlock()
	reply(w, http.StatusOK, map[string]any{"success": true})
}
