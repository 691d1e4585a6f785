package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	basePath = "/api/v1"

	// maxBody bounds an API request: parameters are text, 1 MiB is four times
	// what a relay's request may hold.
	maxBody = 1 << 20

	// The documented page sizes.
	defaultPerPage, maxPerPage = 20, 100
)

// standin is the whole service: its state in memory, one lock around it.
type standin struct {
	now      func() time.Time
	speed    float64
	secret   []byte // signs URLs; new in each process, as nothing outlives it
	ctx      context.Context
	journal  io.Writer
	api      *http.ServeMux
	control  *http.ServeMux
	flows    []*workflow
	services []*container
	first    []string // the keys given at the start, which a reset brings back
	sender   *sender
	cache    *blobCache

	mu             sync.Mutex
	keys           map[string]bool
	tasks          map[string]*task
	order          []*task // by age, oldest first
	files          map[string]*upload
	uploaded       []*upload // those whose PUT came, oldest first
	presigns       []*upload
	rules          []*rule
	ruleIDs        int
	epoch          int // URLs of an earlier epoch have run out (expire_now)
	requests       map[string]int
	containerCalls map[string]int // by slug: those that reached the container
	totals         totals
}

func newStandin(ctx context.Context, o options, journal io.Writer, now func() time.Time) *standin {
	s := &standin{now: now, speed: o.speed, ctx: ctx, journal: journal, first: o.keys, flows: workflows(), services: containers(), cache: &blobCache{}}
	s.secret = make([]byte, 32)
	rand.Read(s.secret) // never fails, by its documentation
	s.sender = &sender{ctx: ctx, speed: o.speed, now: now, client: webhookClient(), target: o.webhook}
	s.clear()
	s.routes()
	return s
}

// clear forgets everything but the flags. The caller holds the lock, or is alone.
func (s *standin) clear() {
	s.keys = map[string]bool{}
	for _, k := range s.first {
		s.keys[k] = true
	}
	s.tasks, s.order = map[string]*task{}, nil
	s.files, s.uploaded, s.presigns = map[string]*upload{}, nil, nil
	s.rules, s.requests, s.totals = nil, map[string]int{}, totals{}
	s.containerCalls = map[string]int{}
	s.epoch++
}

// reset forgets everything but the task of that id, if there is one: it goes on.
func (s *standin) reset(keep string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.tasks[keep]
	for _, t := range s.order {
		if t != kept {
			t.timer.Stop()
		}
	}
	s.clear()
	if kept != nil {
		s.tasks[keep], s.order = kept, []*task{kept}
		s.totals.Tasks++
		_, here := kept.at(s.now())
		s.totals.count(here.status)
	}
	s.sender.forget()
	s.cache.forget()
}

func (s *standin) routes() {
	s.api = http.NewServeMux()
	keyed := map[string]http.HandlerFunc{
		"GET /r/workflows":                  s.listWorkflows,
		"GET /r/workflows/{id}":             s.getWorkflow,
		"GET /r/workflows/slug/{slug}":      s.getWorkflow,
		"POST /r/workflows/{id}/run":        s.runWorkflow,
		"POST /r/workflows/slug/{slug}/run": s.runWorkflow,
		"GET /r/tasks":                      s.listTasks,
		"GET /r/tasks/{task}":               s.getTask,
		"POST /r/tasks/{task}/cancel":       s.cancelTask,
		"GET /r/tasks/{task}/result":        s.getResult,
		"GET /r/tasks/{task}/events":        s.streamEvents,
		"POST /r/files/presign":             s.presign,
		"GET /r/containers":                 s.listContainers,
		"GET /r/containers/{slug}":          s.getContainer,
	}
	for pattern, handler := range keyed {
		method, path, _ := strings.Cut(pattern, " ")
		s.api.HandleFunc(method+" "+basePath+path, s.withKey(handler))
	}
	s.api.HandleFunc("GET /bucket/outputs/{task}/{path...}", s.download)
	s.api.HandleFunc("PUT /bucket/inputs/{path...}", s.receive)
	s.api.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "not_found", "no such route: "+r.Method+" "+r.URL.Path)
	})
	s.control = http.NewServeMux()
	s.controlRoutes()
}

// ServeHTTP takes every request: the control routes at once, all others through the
// faults that they meet (withFaults) to answerAPI. What every call shall do belongs
// here.
func (s *standin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/_/") {
		s.control.ServeHTTP(w, r)
		return
	}
	most := int64(maxBody)
	_, route := s.api.Handler(r)
	if _, _, ok := containerCall(r); ok {
		route, most = containerRoute, maxContainerBody
	}
	s.mu.Lock()
	s.requests[route]++
	s.mu.Unlock()
	var body []byte
	if strings.HasPrefix(r.URL.Path, basePath) {
		// Read first, so that a fault may let the caller go and still do the work.
		var err error
		body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, most))
		var tooLarge *http.MaxBytesError
		switch {
		case errors.As(err, &tooLarge):
			fail(w, http.StatusRequestEntityTooLarge, "body_too_large", fmt.Sprintf("at most %d bytes", most))
			return
		case err != nil:
			fail(w, http.StatusBadRequest, "unreadable_body", "the request's body broke off")
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	s.withFaults(w, r, s.matching(r, body))
}

// answerAPI plays the API: the catch-all route takes paths that no mux would
// leave as they are.
func (s *standin) answerAPI(w http.ResponseWriter, r *http.Request) {
	if _, _, ok := containerCall(r); ok {
		s.withKey(s.callContainer)(w, r)
		return
	}
	s.api.ServeHTTP(w, r)
}

// withKey lets the known keys in. X-Team-ID is ignored for keys, as documented.
func (s *standin) withKey(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		s.mu.Lock()
		known := strings.EqualFold(scheme, "Bearer") && s.keys[key]
		s.mu.Unlock()
		if !known {
			w.Header().Set("WWW-Authenticate", "Bearer")
			fail(w, http.StatusUnauthorized, "invalid_credential", "the credential is missing, unknown or revoked")
			return
		}
		next(w, r)
	}
}

// keyLabel names a key without showing it: enough to see a rotation in the ledger.
func keyLabel(r *http.Request) string {
	_, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return "…" + key[max(0, len(key)-4):]
}

type paramFault struct {
	Parameter string `json:"parameter"`
	Message   string `json:"message"`
}

func fail(w http.ResponseWriter, status int, code, message string, details ...paramFault) {
	answer := map[string]any{"error": http.StatusText(status), "code": code, "message": message}
	if len(details) > 0 {
		answer["details"] = details
	}
	reply(w, status, answer)
}

func reply(w http.ResponseWriter, status int, answer any) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // a URL stays one that can be copied
	if err := encoder.Encode(answer); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	w.Write(body.Bytes())
}

type pageMeta struct {
	CurrentPage int `json:"current_page"`
	PerPage     int `json:"per_page"`
	TotalCount  int `json:"total_count"`
}

// paging cuts a page out of all; more than 100 a page is answered with 100.
func paging[T any](r *http.Request, all []T) ([]T, pageMeta, error) {
	page, err := positive(r, "current_page", 1)
	if err != nil {
		return nil, pageMeta{}, err
	}
	size, err := positive(r, "per_page", defaultPerPage)
	if err != nil {
		return nil, pageMeta{}, err
	}
	size = min(size, maxPerPage)
	from := len(all)
	if page-1 <= len(all)/size {
		from = min((page-1)*size, len(all))
	}
	rows := append([]T{}, all[from:min(from+size, len(all))]...) // never null
	return rows, pageMeta{CurrentPage: page, PerPage: size, TotalCount: len(all)}, nil
}

func positive(r *http.Request, name string, otherwise int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%s must be a whole number from 1", name)
	}
	return n, nil
}
