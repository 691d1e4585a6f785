package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// container is a long-running service on an agent of the team.
type container struct {
	Slug        string  `json:"slug"`
	DisplayName string  `json:"display_name"`
	Status      string  `json:"status"`
	Type        string  `json:"type"`
	UsagePrompt string  `json:"usage_prompt"`
	OpenAPIURL  *string `json:"openapi_url"`

	serve func(s *standin, w http.ResponseWriter, r *http.Request)
}

const (
	containersPath = basePath + "/r/containers/"
	// maxContainerBody is more than a caller can send through any gateway of AWS.
	maxContainerBody = 16 << 20
	// largeAnswer is over the 6 MB that a Lambda function can return.
	largeAnswer = 7_000_000
	// slowAnswer is over the 30 s that an HTTP API waits; ?seconds= asks for another.
	slowAnswer = 40 * time.Second
	// maxEchoed is the largest body that the echo repeats in its JSON.
	maxEchoed = 64 << 10
	// maxMade bounds what /bytes/N of files makes.
	maxMade = 64 << 20
)

// containers are the services that every stand-in has.
func containers() []*container {
	openapi := "https://containers.example/vllm/openapi.json"
	return []*container{
		{"echo", "Echo", "running", "deployed", "Any method and path; the answer is what arrived, as JSON.", nil, (*standin).echo},
		{"files", "Files", "running", "external", "GET /file, /gzip, /headers, /bytes/N, /status/N; POST /body answers with the body.", nil, (*standin).serveFiles},
		{"vllm", "Model server", "running", "deployed", "Speaks OpenAI's protocol: GET /v1/models, POST /v1/chat/completions.", &openapi, (*standin).serveModel},
		{"slow", "Slow", "running", "deployed", "Answers after 40 s, or ?seconds=N.", nil, (*standin).serveSlowly},
		{"failing", "Failing", "running", "deployed", "Answers /N with that status, /reset with none.", nil, (*standin).serveFailing},
		{"html", "Pages", "running", "deployed", "HTML pages.", nil, (*standin).serveHTML},
		{"large", "Large", "running", "deployed", "Answers 7 MB.", nil, (*standin).serveLarge},
		{"stopped", "Stopped", "stopped", "deployed", "Start it first.", nil, nil},
		{"deploying", "Deploying", "deploying", "deployed", "It is on its way.", nil, nil},
	}
}

func (s *standin) service(slug string) *container {
	for _, one := range s.services {
		if one.Slug == slug {
			return one
		}
	}
	return nil
}

func (s *standin) listContainers(w http.ResponseWriter, r *http.Request) {
	rows, meta, err := paging(r, s.services)
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, "invalid_query", err.Error())
		return
	}
	reply(w, http.StatusOK, map[string]any{"container_list": rows, "page_meta": meta})
}

func (s *standin) getContainer(w http.ResponseWriter, r *http.Request) {
	found := s.service(r.PathValue("slug"))
	if found == nil {
		fail(w, http.StatusNotFound, "container_not_found", "no such container")
		return
	}
	reply(w, http.StatusOK, found)
}

// containerCall splits the target of a catch-all call as it came over the wire:
// the slug and the path behind it. No part of it is decoded or cleaned.
func containerCall(r *http.Request) (slug, path string, ok bool) {
	target, _, _ := strings.Cut(r.RequestURI, "?")
	rest, below := strings.CutPrefix(target, containersPath)
	slug, path, deeper := strings.Cut(rest, "/")
	return slug, "/" + path, below && deeper
}

// rawPath is the path behind the slug.
func rawPath(r *http.Request) string {
	_, path, _ := containerCall(r)
	return path
}

// containerRoute is what the ledger counts catch-all calls under.
const containerRoute = "ANY " + containersPath + "{slug}/*"

// callContainer is the documented catch-all: the path goes to the container as
// it is, and what is between two neighbours only is taken out.
func (s *standin) callContainer(w http.ResponseWriter, r *http.Request) {
	slug, _, _ := containerCall(r)
	found := s.service(slug)
	switch {
	case found == nil:
		fail(w, http.StatusNotFound, "container_not_found", "no such container")
		return
	case found.Status != "running":
		fail(w, http.StatusServiceUnavailable, "container_not_running", "the container is "+found.Status)
		return
	}
	for _, name := range []string{"Authorization", "Host", "Content-Length", "Connection", "Keep-Alive", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		r.Header.Del(name)
	}
	s.mu.Lock()
	s.containerCalls[slug]++
	s.mu.Unlock()
	found.serve(s, w, r)
}

// arrived is what the echo saw of a call.
type arrived struct {
	Method     string              `json:"method"`
	Path       string              `json:"path"`  // as it came over the wire, behind the slug
	Query      string              `json:"query"` // as it came over the wire
	Headers    map[string][]string `json:"headers"`
	BodyBase64 string              `json:"body_base64,omitempty"` // of a body of at most 64 KiB
	BodyBytes  int                 `json:"body_bytes"`
	BodySHA256 string              `json:"body_sha256"`
}

func (s *standin) echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // it is in memory
	_, query, _ := strings.Cut(r.RequestURI, "?")
	sum := sha256.Sum256(body)
	seen := arrived{Method: r.Method, Path: rawPath(r), Query: query, Headers: r.Header, BodyBytes: len(body), BodySHA256: hex.EncodeToString(sum[:])}
	if len(body) <= maxEchoed {
		seen.BodyBase64 = base64.StdEncoding.EncodeToString(body)
	}
	reply(w, http.StatusOK, seen)
}

// made are bytes that are no text, the same for the same number.
func made(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

var fileTime = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func (s *standin) serveFiles(w http.ResponseWriter, r *http.Request) {
	what, number, _ := strings.Cut(strings.TrimPrefix(rawPath(r), "/"), "/")
	n, _ := strconv.Atoi(number)
	switch {
	case what == "file":
		w.Header().Set("ETag", `"a-file"`)
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", fileTime, bytes.NewReader(made(10_000)))
	case what == "gzip":
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		z := gzip.NewWriter(w)
		io.WriteString(z, strings.Repeat("compressed ", 1000))
		z.Close()
	case what == "headers":
		h := w.Header()
		h["X-Twice"] = []string{"one", "two"}
		h["Set-Cookie"] = []string{"a=1; Path=/", "b=2; Expires=Wed, 21 Oct 2026 07:28:00 GMT"}
		h.Set("X-Empty", "")
		h.Set("Relay-Error", "ContainerNotFound") // a container cannot speak for the relay
		h.Set("Connection", "X-Hop")
		h.Set("X-Hop", "between neighbours")
		h.Set("Keep-Alive", "timeout=5")
		w.WriteHeader(http.StatusCreated)
	case what == "body":
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		io.Copy(w, r.Body)
	case what == "redirect":
		w.Header().Set("Location", "https://elsewhere.example/next?page=2")
		w.WriteHeader(http.StatusFound)
	case what == "bytes" && n >= 0 && n <= maxMade:
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Write(made(n))
	case what == "status" && n >= 200 && n < 600:
		w.WriteHeader(n)
	case what == "options":
		w.Header().Set("Allow", "GET, OPTIONS")
		w.WriteHeader(http.StatusNoContent)
	default:
		http.NotFound(w, r)
	}
}

const modelName = "local-7b"

type chatRequest struct {
	Model    string
	Stream   bool
	Messages []struct {
		Role    string
		Content any
	}
}

// serveModel speaks as much of OpenAI's protocol as a client needs to get a
// completion: the last message, turned around.
func (s *standin) serveModel(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, format string, args ...any) {
		reply(w, status, map[string]any{"error": map[string]any{"message": fmt.Sprintf(format, args...), "type": "invalid_request_error", "param": nil, "code": nil}})
	}
	switch r.Method + " " + rawPath(r) {
	case "GET /v1/models":
		reply(w, http.StatusOK, map[string]any{"object": "list", "data": []any{
			map[string]any{"id": modelName, "object": "model", "created": fileTime.Unix(), "owned_by": "local"}}})
	case "POST /v1/chat/completions":
		var asked chatRequest
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || len(asked.Messages) == 0 {
			refuse(http.StatusBadRequest, "send a JSON object with messages")
			return
		}
		if asked.Model != modelName {
			refuse(http.StatusNotFound, "the model %s does not exist; there is %s", asked.Model, modelName)
			return
		}
		text := fmt.Sprint("You said: ", asked.Messages[len(asked.Messages)-1].Content)
		if asked.Stream {
			s.streamCompletion(w, text)
			return
		}
		answer := completion("chat.completion", map[string]any{"message": map[string]any{"role": "assistant", "content": text}}, "stop")
		answer["usage"] = map[string]any{"prompt_tokens": len(asked.Messages), "completion_tokens": len(strings.Fields(text)), "total_tokens": len(asked.Messages) + len(strings.Fields(text))}
		reply(w, http.StatusOK, answer)
	default:
		refuse(http.StatusNotFound, "no %s %s", r.Method, rawPath(r))
	}
}

func completion(object string, choice map[string]any, finish any) map[string]any {
	choice["index"], choice["finish_reason"] = 0, finish
	return map[string]any{"id": "chatcmpl-local", "object": object, "created": fileTime.Unix(), "model": modelName, "choices": []any{choice}}
}

func (s *standin) streamCompletion(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/event-stream")
	send := func(delta map[string]any, finish any) {
		chunk, _ := json.Marshal(completion("chat.completion.chunk", map[string]any{"delta": delta}, finish)) // maps of strings
		fmt.Fprintf(w, "data: %s\n\n", chunk)
		http.NewResponseController(w).Flush()
	}
	send(map[string]any{"role": "assistant", "content": ""}, nil)
	for word := range strings.SplitAfterSeq(text, " ") {
		send(map[string]any{"content": word}, nil)
	}
	send(map[string]any{}, "stop")
	io.WriteString(w, "data: [DONE]\n\n")
}

func (s *standin) serveSlowly(w http.ResponseWriter, r *http.Request) {
	wait := slowAnswer
	if n, err := strconv.ParseFloat(r.URL.Query().Get("seconds"), 64); err == nil {
		wait = time.Duration(n * float64(time.Second))
	}
	s.pause(wait) // though the caller may have gone: the work goes on
	reply(w, http.StatusOK, map[string]any{"waited_seconds": wait.Seconds()})
}

func (s *standin) serveFailing(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(rawPath(r), "/")
	if path == "reset" {
		cut(w, true)
		return
	}
	status, err := strconv.Atoi(path)
	if err != nil || status < 400 || status > 599 {
		status = http.StatusInternalServerError
	}
	reply(w, status, map[string]any{"error": "the container's own"})
}

func (s *standin) serveHTML(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if rawPath(r) != "/" && rawPath(r) != "/index.html" {
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, "<!doctype html><title>Not found</title><p>Grüße from a container.")
		return
	}
	io.WriteString(w, "<!doctype html><title>A page</title><p>Grüße from a container.")
}

func (s *standin) serveLarge(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Write(made(largeAnswer))
}
