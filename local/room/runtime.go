package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// runtimeAPI is Lambda's, for one event: the function asks for it, and answers.
type runtimeAPI struct {
	address string
	event   []byte

	server *http.Server
	done   chan answer

	mu       sync.Mutex
	asked    time.Time // when the function was ready
	given    time.Time // when it got the event
	answered time.Time
	wasAsked bool
	again    chan struct{} // closed when it asks for a second event: it has the first behind it
}

type answer struct {
	body   string
	failed bool
}

// invocation is in the path of the answer.
const invocation = "00000000-0000-4000-8000-000000000001"

// maxAnswer is what Lambda takes of a synchronous call's answer: 6 MB.
const maxAnswer = 6 << 20

// timeLimit is told to the function as its deadline; a call here takes seconds.
const timeLimit = 5 * time.Minute

func newRuntimeAPI(event []byte) (*runtimeAPI, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a := &runtimeAPI{address: listener.Addr().String(), event: event, done: make(chan answer, 1), again: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", a.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", func(w http.ResponseWriter, r *http.Request) { a.take(w, r, false) })
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", func(w http.ResponseWriter, r *http.Request) { a.take(w, r, true) })
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", func(w http.ResponseWriter, r *http.Request) { a.take(w, r, true) })
	a.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = a.server.Serve(listener) }()
	return a, nil
}

func (a *runtimeAPI) next(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	first := !a.wasAsked
	if first {
		a.wasAsked, a.asked = true, time.Now()
	} else {
		close(a.again)
	}
	a.mu.Unlock()
	if !first {
		<-r.Context().Done() // frozen, as between two calls
		return
	}
	w.Header().Set("Lambda-Runtime-Aws-Request-Id", invocation)
	w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(timeLimit).UnixMilli(), 10))
	w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:000000000000:function:room")
	w.Header().Set("Content-Type", "application/json")
	a.mu.Lock()
	a.given = time.Now()
	a.mu.Unlock()
	_, _ = w.Write(a.event)
}

func (a *runtimeAPI) take(w http.ResponseWriter, r *http.Request, failed bool) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer+1))
	a.mu.Lock()
	a.answered = time.Now()
	a.mu.Unlock()
	got := answer{string(body), failed || err != nil}
	if len(body) > maxAnswer {
		got = answer{fmt.Sprintf("more than the %d bytes that Lambda takes", maxAnswer), true}
	}
	w.WriteHeader(http.StatusAccepted)
	select {
	case a.done <- got:
	default:
	}
}

// wait returns the answer, once the function has also asked for its next event: its
// memory is what it was at most.
func (a *runtimeAPI) wait(ctx context.Context, ended <-chan struct{}, patience time.Duration) (answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("it did not answer within its Timeout"))
	defer cancel()
	select {
	case got := <-a.done:
		select {
		case <-a.again:
		case <-ended:
		case <-ctx.Done():
		}
		return got, nil
	case <-ended:
		return answer{}, errors.New("it ended")
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	}
}

func (a *runtimeAPI) close() { _ = a.server.Close() }

// signedWebhook is one of Cyberun, of a task that no run knows, signed with the
// stack's own secret.
func (w *world) signedWebhook() ([]byte, error) {
	const body = `{"event_type":"task.completed","task_id":"0b8f8a52-6f0e-4a3d-9d5c-2f7f6f1f7a11","task_status":"completed"}`
	mac := hmac.New(sha256.New, []byte(w.told.WebhookSecret))
	mac.Write([]byte(body))
	return json.Marshal(map[string]any{
		"version": "2.0", "routeKey": "POST /webhooks/cyberun", "rawPath": "/webhooks/cyberun", "body": body,
		"headers":        map[string]string{"x-webhook-signature-256": "sha256=" + hex.EncodeToString(mac.Sum(nil))},
		"requestContext": map[string]any{"http": map[string]string{"method": "POST", "path": "/webhooks/cyberun"}},
	})
}
