package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	// sendTimeout is how long a receiver has for one try.
	sendTimeout = 10 * time.Second
	// maxDeliveries bounds the log; the oldest go.
	maxDeliveries = 10000
)

// tries are the documented ones: at once, after 5 s, 30 s and 2 min.
func tries() []time.Duration {
	return []time.Duration{0, 5 * time.Second, 30 * time.Second, 2 * time.Minute}
}

type webhookTarget struct {
	URL    string `json:"url"`
	Secret string `json:"secret"`
	Copies int    `json:"copies"` // each delivery so many times, to try the receiver; 0: once
}

type delivery struct {
	TaskID string `json:"task_id"`
	Event  string `json:"event_type"`
	Try    int    `json:"try"`
	Status int    `json:"status"` // 0: no answer
	Error  string `json:"error,omitempty"`
	At     string `json:"at"`
}

type sender struct {
	ctx    context.Context
	client *http.Client
	now    func() time.Time
	speed  float64

	mu     sync.Mutex
	target webhookTarget
	log    []delivery
	born   int // deliveries of before a reset are dropped
}

func webhookClient() *http.Client {
	return &http.Client{Timeout: sendTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// announce sends one task's end; it returns at once.
func (s *sender) announce(t *task, end moment, output any) {
	s.mu.Lock()
	target, born := s.target, s.born
	s.mu.Unlock()
	if target.URL == "" {
		return
	}
	event := "task." + end.status
	message := map[string]any{"event_type": event, "task_id": t.id, "task_status": end.status, "task_output": nil, "task_error": nil, "timestamp": stamp(s.now())}
	if end.status == "completed" {
		message["task_output"] = output
	} else {
		message["task_error"] = end.message
	}
	body, err := json.Marshal(message)
	if err != nil {
		return
	}
	for range max(target.Copies, 1) {
		go s.deliver(target, born, delivery{TaskID: t.id, Event: event}, body)
	}
}

func (s *sender) deliver(target webhookTarget, born int, d delivery, body []byte) {
	for i, wait := range tries() {
		select {
		case <-time.After(time.Duration(float64(wait) / s.speed)):
		case <-s.ctx.Done():
			return
		}
		d.Try, d.At, d.Error = i+1, stamp(s.now()), ""
		status, err := s.post(target, body)
		d.Status = status
		if err != nil {
			d.Error = "no answer" // the error itself would show the URL
		}
		if !s.keep(born, d) || status/100 == 2 {
			return
		}
	}
}

func (s *sender) post(target webhookTarget, body []byte) (int, error) {
	r, err := http.NewRequestWithContext(s.ctx, http.MethodPost, target.URL, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Webhook-Signature-256", signed(target.Secret, body))
	answer, err := s.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	io.CopyN(io.Discard, answer.Body, 64<<10) // so that the connection can serve again
	return answer.StatusCode, nil
}

func signed(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// keep logs a try. False: a reset came in between, and the delivery is off.
func (s *sender) keep(born int, d delivery) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if born != s.born {
		return false
	}
	s.log = append(s.log, d)
	if len(s.log) > maxDeliveries {
		s.log = s.log[1:]
	}
	return true
}

func (s *sender) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log, s.born = nil, s.born+1
}

// setWebhook takes effect for tasks that end from now on; an empty url ends the sending.
func (s *standin) setWebhook(w http.ResponseWriter, r *http.Request) {
	var target webhookTarget
	err := decode(r, &target)
	at, wrong := url.Parse(target.URL)
	if err != nil || wrong != nil || target.URL != "" && (at.Host == "" || at.Scheme != "http" && at.Scheme != "https") {
		fail(w, http.StatusBadRequest, "invalid_webhook", `send {"url": "http…", "secret": "whsec_…"}`)
		return
	}
	s.sender.mu.Lock()
	s.sender.target = target
	s.sender.mu.Unlock()
	reply(w, http.StatusOK, map[string]any{"success": true})
}

func (s *standin) showWebhooks(w http.ResponseWriter, r *http.Request) {
	s.sender.mu.Lock()
	log := append([]delivery{}, s.sender.log...)
	s.sender.mu.Unlock()
	reply(w, http.StatusOK, map[string]any{"deliveries": log})
}
