package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// withFaults answers a request as its faults say. What happens on the wire is
// played here; what belongs to a task, a list or a stream, by the handler.
func (s *standin) withFaults(w http.ResponseWriter, r *http.Request, faults faultList) {
	if len(faults) == 0 {
		s.answerAPI(w, r)
		return
	}
	r = withFaultList(r, faults)
	for _, a := range faults {
		switch a.Type {
		case "delay":
			s.pause(a.wait()) // though the caller may have gone: the work is still done
		case "expire_now":
			s.mu.Lock()
			s.epoch++
			s.mu.Unlock()
		case "status":
			s.pause(a.wait())
			a.answer(w)
			return
		case "redirect":
			w.Header().Set("Location", a.URL)
			w.WriteHeader(a.Status)
			return
		case "reset":
			s.pause(a.wait())
			cut(w, true)
			return
		case "accept_then_reset", "accept_then_status", "accept_then_delay":
			s.accept(w, r, a)
			return
		case "ignore_range":
			r.Header.Del("Range")
		default:
			w = tampered(s, w, a)
		}
	}
	s.answerAPI(w, r)
	if t, ok := w.(*tamper); ok {
		t.finish()
	}
}

// pause is not ended by the caller's going, only by the program's.
func (s *standin) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.ctx.Done():
	}
}

func (a action) answer(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	if strings.HasPrefix(strings.TrimSpace(a.Body), "<") {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
	}
	for name, value := range a.Headers {
		w.Header().Set(name, value)
	}
	if a.Body == "" {
		fail(w, a.Status, "injected", "a fault on demand")
		return
	}
	w.WriteHeader(a.Status)
	io.WriteString(w, a.Body)
}

// accept does the work, and then the answer is lost, another or late.
func (s *standin) accept(w http.ResponseWriter, r *http.Request, a action) {
	kept := &keptAnswer{header: http.Header{}, status: http.StatusOK}
	s.answerAPI(kept, r)
	s.pause(a.wait())
	switch a.Type {
	case "accept_then_reset":
		cut(w, true)
	case "accept_then_status":
		a.answer(w)
	default:
		for name, values := range kept.header {
			w.Header()[name] = values
		}
		w.WriteHeader(kept.status)
		w.Write(kept.body.Bytes())
	}
}

type keptAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (k *keptAnswer) Header() http.Header         { return k.header }
func (k *keptAnswer) WriteHeader(status int)      { k.status = status }
func (k *keptAnswer) Write(p []byte) (int, error) { return k.body.Write(p) }

// cut ends the connection: with a TCP reset, or closed as if all were said.
func cut(w http.ResponseWriter, reset bool) {
	control := http.NewResponseController(w)
	control.Flush()
	conn, _, err := control.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // already taken: nothing more can be sent
	}
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// tamper changes an answer on its way out.
type tamper struct {
	http.ResponseWriter
	header func(status int, h http.Header)
	cutAt  int64 // body byte at which then runs; -1: never
	then   func()
	over   int64 // bytes to add after the end
	pace   int64 // bytes a second; 0: as fast as can be
	pause  func(time.Duration)

	wrote bool
	ended bool
	sent  int64
}

func tampered(s *standin, w http.ResponseWriter, a action) http.ResponseWriter {
	t := &tamper{ResponseWriter: w, cutAt: -1, pause: s.pause}
	switch a.Type {
	case "reset_mid_body", "truncate", "drop_after_headers":
		t.cutAt = a.AfterBytes
		if a.Type == "drop_after_headers" {
			t.cutAt = 0
		}
		t.then = func() { t.ended = true; cut(w, a.Type != "truncate") }
	case "stall":
		t.cutAt, t.then = a.AfterBytes, func() { http.NewResponseController(w).Flush(); s.pause(a.wait()) }
	case "slow":
		t.pace = a.BytesPerSecond
	case "longer":
		t.over = a.Bytes
		t.header = func(_ int, h http.Header) {
			if n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil {
				h.Set("Content-Length", strconv.FormatInt(n+a.Bytes, 10))
			}
		}
	case "wrong_content_range":
		t.header = func(status int, h http.Header) {
			var from, to, total int64
			if _, err := fmt.Sscanf(h.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &total); err == nil {
				h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from+1, to+1, total+1))
			}
		}
	case "no_etag":
		t.header = func(_ int, h http.Header) { h.Del("ETag") }
	case "weak_etag":
		t.header = func(_ int, h http.Header) { h.Set("ETag", "W/"+h.Get("ETag")) }
	case "no_length":
		t.header = func(_ int, h http.Header) { h.Del("Content-Length"); h.Set("Transfer-Encoding", "chunked") }
	default:
		return w // the handler's to play
	}
	return t
}

// Unwrap lets http.ResponseController through to the connection.
func (t *tamper) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *tamper) WriteHeader(status int) {
	if t.wrote {
		return
	}
	t.wrote = true
	if t.header != nil {
		t.header(status, t.Header())
	}
	t.ResponseWriter.WriteHeader(status)
}

func (t *tamper) Write(p []byte) (int, error) {
	t.WriteHeader(http.StatusOK)
	done := 0
	for done < len(p) {
		if t.ended {
			return done, http.ErrAbortHandler
		}
		chunk := p[done:]
		if t.cutAt >= t.sent && t.then != nil {
			if t.cutAt == t.sent {
				then := t.then
				t.then = nil
				then()
				continue
			}
			chunk = chunk[:min(int64(len(chunk)), t.cutAt-t.sent)]
		}
		n, err := t.paced(chunk)
		done, t.sent = done+n, t.sent+int64(n)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// paced sends a tenth of a second's worth at a time.
func (t *tamper) paced(p []byte) (int, error) {
	if t.pace == 0 {
		return t.ResponseWriter.Write(p)
	}
	p = p[:min(int64(len(p)), max(t.pace/10, 1))]
	n, err := t.ResponseWriter.Write(p)
	if err == nil {
		err = http.NewResponseController(t.ResponseWriter).Flush()
	}
	t.pause(time.Duration(float64(n) / float64(t.pace) * float64(time.Second)))
	return n, err
}

// finish is called when the handler is done: an answer shorter than the cut is
// cut at its end, a longer one gets its surplus. Inner ones come after.
func (t *tamper) finish() {
	if t.over > 0 && !t.ended {
		surplus := bytes.Repeat([]byte{'+'}, 32<<10)
		for left := t.over; left > 0; left -= int64(len(surplus)) {
			if _, err := t.Write(surplus[:min(left, int64(len(surplus)))]); err != nil {
				break
			}
		}
	}
	if t.then != nil && t.cutAt == 0 && !t.ended { // an answer without a body
		t.WriteHeader(http.StatusOK)
		t.then()
	}
	if inner, ok := t.ResponseWriter.(*tamper); ok && !t.ended {
		inner.finish()
	}
}
