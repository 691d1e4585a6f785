package cyberun

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func collect(seq func(func(TaskEvent, error) bool)) (events []TaskEvent, err error) {
	for e, failure := range seq {
		if failure != nil {
			return events, failure
		}
		events = append(events, e)
	}
	return events, nil
}

var stream = "\xef\xbb\xbf: hello\n\n" +
	"event: status\ndata: {\"task_id\":\"t-1\",\"status\":\"running\",\"timestamp\":\"2026-11-23T10:00:00Z\"}\n\n" +
	": keep-alive\n\nretry: 5\n\nid: 7\n" +
	"event: progress\r\ndata: {\"task_id\":\"t-1\",\"progress\":0.25,\"current_node\":\"KSampler\",\r\ndata: \"step_current\":5,\"step_total\":null,\"timestamp\":\"2026-11-23T10:00:01Z\"}\r\n\r\n" +
	"event: progress\ndata: {\"progress\":2,\"stage\":\"train\",\"message\":\"epoch 1\",\"step_current\":1e99,\"step_total\":\"20\"}\n\n" +
	"event: progress\ndata: {\"progress\n\n" + // malformed
	"event: progress\ndata: [1]\n\n" +
	"event: error\ndata: {\"error\":{\"message\":\"no status\"}}\n\n" +
	"event: celebrate\ndata: {\"message\":\"hooray\"}\n\n" +
	"data: {\"status\":\"queued\"}\n\n" +
	"event: failed\ndata: {\"status\":\"failed\",\"error\":\"out of memory\"}\n\n" +
	"event: completed\ndata: oops\n\n" +
	"event: cancelled\n\n" +
	"event: completed\ndata: {\"output\":\"" + strings.Repeat("x", 200<<10) + "\"}\n\n" +
	"event: status\ndata: {\"status\":\"never dispatched\"}\n"

var streamed = []TaskEvent{
	{Type: "status", Status: StatusRunning},
	{Type: EventProgress, Progress: 0.25, CurrentNode: "KSampler", StepCurrent: ptr(5)},
	{Type: EventProgress, Progress: 1, Stage: "train", Message: "epoch 1", StepTotal: ptr(20)},
	{Type: "error", Error: "no status"},
	{Type: "celebrate", Message: "hooray"},
	{Type: "message", Status: StatusQueued},
	{Type: "failed", Status: StatusFailed, Error: "out of memory"},
	{Type: "completed", Status: StatusCompleted},
	{Type: "cancelled", Status: StatusCancelled},
	{Type: "completed", Status: StatusCompleted},
}

func TestEvents(t *testing.T) {
	s, c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "text/event-stream" {
			t.Errorf("Accept: %q", r.Header.Get("Accept"))
		}
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("Accept-Encoding: %q", got)
		}
		io.WriteString(w, stream)
	})
	got, err := collect(c.TaskEvents(context.Background(), "t/1"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(streamed, got); diff != "" {
		t.Error(diff)
	}
	if s.asked[0] != "GET /api/v1/r/tasks/t%2F1/events" || len(s.asked) != 1 {
		t.Error(s.asked)
	}
}

// The time-out of a client that is meant for calls does not end a stream.
func TestEventsOutlastTheClient(t *testing.T) {
	_, c := serve(t, raw(200, stream))
	c.HTTP.Timeout = 1
	if _, err := c.Task(context.Background(), "t-1"); err == nil {
		t.Error("the time-out does not hold for a call")
	}
	if got, err := collect(c.TaskEvents(context.Background(), "t-1")); err != nil || len(got) != len(streamed) {
		t.Error(len(got), err)
	}
}

// An event arrives when its blank line does, not with the next one.
func TestEventsArriveAtOnce(t *testing.T) {
	seen := make(chan struct{})
	_, c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			fmt.Fprintf(w, "event: progress\ndata: {\"progress\":0.%d}\n\n", i)
			w.(http.Flusher).Flush()
			select {
			case <-seen:
			case <-r.Context().Done():
			}
		}
	})
	n := 0
	for e, err := range c.TaskEvents(context.Background(), "t-1") {
		if err != nil || e.Progress != float64(n)/10 {
			t.Fatal(e, err)
		}
		n++
		seen <- struct{}{}
	}
	if n != 3 {
		t.Error(n)
	}
}

func TestEventsThatBreak(t *testing.T) {
	big := strings.Repeat("x", maxEvent+1)
	for name, tt := range map[string]struct {
		serve  func(w *wire, c *net.TCPConn, r *bufio.Reader)
		events int
		says   string
	}{
		"one too large": {func(w *wire, c *net.TCPConn, r *bufio.Reader) {
			w.newRequest(r)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n\r\ndata: {}\n\ndata: {\"m\":\"%s\"}\n\n", big)
		}, 1, "too long"},
		"one line without an end": {func(w *wire, c *net.TCPConn, r *bufio.Reader) {
			w.newRequest(r)
			io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\ndata: {}\n\n")
			for {
				if _, err := io.WriteString(c, big); err != nil {
					return
				}
			}
		}, 1, "too long"},
		"cut off between chunks": {func(w *wire, c *net.TCPConn, r *bufio.Reader) {
			w.newRequest(r)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\ndata: {}\n\n\r\n")
		}, 1, "EOF"},
		"502": {func(w *wire, c *net.TCPConn, r *bufio.Reader) { w.newRequest(r); reply(c, "502 Bad Gateway", "<html>") }, 0, "answered 502 to GET /r/tasks/t-1/events"},
	} {
		t.Run(name, func(t *testing.T) {
			_, c := listen(t, tt.serve)
			events, err := collect(c.TaskEvents(context.Background(), "t-1"))
			if err == nil || !strings.Contains(err.Error(), tt.says) || len(events) != tt.events {
				t.Errorf("%d events, %v", len(events), err)
			}
		})
	}
}

func TestEventsCancelled(t *testing.T) {
	gone := make(chan struct{})
	_, c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "data: {}\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		gone <- struct{}{}
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events, errs := 0, 0
	for _, err := range c.TaskEvents(ctx, "t-1") {
		if err != nil {
			errs++
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			continue
		}
		events++
		cancel()
	}
	<-gone // the server sees it too: the connection is not left hanging
	if events != 1 || errs != 1 {
		t.Error(events, errs)
	}
	for range c.TaskEvents(context.Background(), "t-1") {
		break // a caller that has seen enough
	}
	<-gone
	if _, err := collect(c.TaskEvents(ctx, "t-1")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := collect(c.TaskEvents(context.Background(), "..")); err == nil {
		t.Error("no error for a task that is none")
	}
}
