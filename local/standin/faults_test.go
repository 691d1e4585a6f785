package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// Each fault of an API call: what the caller sees, and what was paid.
func TestFaultsOfARun(t *testing.T) {
	tests := []struct {
		name, action string
		status       int // 0: no answer
		header, body string
		paid         string
	}{
		{"status", `{"type":"status","status":429,"headers":{"Retry-After":"7"}}`, 429, "Retry-After", "injected", "0"},
		{"html", `{"type":"status","status":502,"body":"<html>bad gateway</html>"}`, 502, "", "<html>", "0"},
		{"reset", `{"type":"reset"}`, 0, "", "", "0"},
		{"reply lost", `{"type":"accept_then_reset"}`, 0, "", "", "1"},
		{"500 after accepting", `{"type":"accept_then_status","status":500}`, 500, "", "injected", "1"},
		{"late reply", `{"type":"accept_then_delay","seconds":0.01}`, 202, "", "task_id", "1"},
		{"late start", `{"type":"delay","seconds":0.01}`, 202, "", "task_id", "1"},
		{"redirect", `{"type":"redirect","url":"http://127.0.0.1:9/elsewhere"}`, 307, "Location", "", "0"},
		{"reply cut short", `{"type":"truncate","after_bytes":5}`, 0, "", "", "1"},
		{"headers only", `{"type":"drop_after_headers"}`, 0, "", "", "1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := newClient(t, fast)
			c.fault(`{"name":"x","match":{"method":"POST","workflow":"text-to-image","path_regexp":"/run$","body_contains":"a lake"},"times":1,"action":` + test.action + `}`)
			answer, got, err := c.do("POST", "/r/workflows/slug/text-to-image@2/run", `{"parameters":{"prompt":"a lake"}}`)
			switch {
			case test.status == 0 && err == nil:
				t.Errorf("an answer came: %v", answer)
			case test.status != 0 && (err != nil || answer.StatusCode != test.status || !strings.Contains(string(got), test.body)):
				t.Errorf("%v %v %s", answer, err, got)
			case test.header != "" && answer.Header.Get(test.header) == "":
				t.Errorf("no %s", test.header)
			}
			if n := c.counts(); !strings.HasPrefix(n, "tasks "+test.paid+" ") {
				t.Errorf("want %s paid: %s", test.paid, n)
			}
			c.run("text-to-image@2", `{"prompt":"a lake"}`) // once was all
		})
	}
}

func TestResetIsAReset(t *testing.T) {
	c := newClient(t, fast)
	c.fault(`{"action":{"type":"reset"}}`)
	if _, _, err := c.do("GET", "/r/workflows", ""); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v", err)
	}
}

func TestWhichRequestsMeetAFault(t *testing.T) {
	tests := []struct{ name, match, want string }{
		{"always", `"times":0,"match":{}`, "XXXXXX"},
		{"twice", `"times":2,"match":{}`, "XX...."},
		{"the third", `"match":{"nth":3}`, "..X..."},
		{"each second", `"match":{"every":2}`, ".X.X.X"},
		{"each second, once", `"times":1,"match":{"every":2}`, ".X...."},
		{"another method", `"match":{"method":"POST"}`, "......"},
		{"another workflow", `"match":{"workflow":"upscale"}`, "......"},
		{"a period", `"period_seconds":3600,"match":{"path_regexp":"^/api"}`, "XXXXXX"},
	}
	for _, test := range tests {
		c := newClient(t, fast)
		c.fault(`{` + test.match + `,"action":{"type":"status"}}`)
		got := ""
		for range 6 {
			answer, _, err := c.do("GET", "/r/workflows/slug/text-to-image", "")
			if err != nil {
				t.Fatal(err)
			}
			got += map[int]string{200: ".", 503: "X"}[answer.StatusCode]
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestWrongFaultsAreRefused(t *testing.T) {
	c := newClient(t, fast)
	for _, wrong := range []string{`{"action":{"type":"explode"}}`, `{"match":{"path":"/run"},"action":{"type":"reset"}}`, `[null]`, `7`,
		`{"match":{"path_regexp":"("},"action":{"type":"reset"}}`, `{"action":{"type":"slow"}}`, `{"action":{"type":"status","status":99}}`} {
		c.json("POST", "/_/faults", wrong, 400)
	}
	c.fault(`[{"action":{"type":"reset"}},{"action":{"type":"gzip"}}]`)
	if n := len(c.json("GET", "/_/faults", "", 200)["faults"].([]any)); n != 2 {
		t.Errorf("%d faults", n)
	}
	c.json("DELETE", "/_/faults", "", 200)
	c.json("GET", "/r/workflows", "", 200)
}

func TestFaultsOfADownload(t *testing.T) {
	c := newClient(t, fast)
	task := c.run("big-file", `{"bytes":50000}`)
	c.end(task)
	at := c.url(task)
	plain, all, err := c.do("GET", at, "")
	if err != nil {
		t.Fatal(err)
	}
	etag := plain.Header.Get("ETag")
	tests := []struct {
		action string
		ranged bool
		good   func(answer *http.Response, got []byte, err error) bool
	}{
		{`{"type":"reset_mid_body","after_bytes":1000}`, false, func(_ *http.Response, got []byte, err error) bool { return err != nil && len(got) <= 1000 }},
		{`{"type":"truncate","after_bytes":1000}`, false, func(_ *http.Response, got []byte, err error) bool {
			return errors.Is(err, io.ErrUnexpectedEOF) && bytes.Equal(got, all[:1000])
		}},
		{`{"type":"longer","bytes":10}`, true, func(a *http.Response, got []byte, err error) bool {
			return err == nil && len(got) == 110 && a.Header.Get("Content-Range") == "bytes 100-199/50000"
		}},
		{`{"type":"slow","bytes_per_second":1000000}`, true, func(_ *http.Response, got []byte, err error) bool {
			return err == nil && bytes.Equal(got, all[100:200])
		}},
		{`{"type":"stall","after_bytes":1000,"seconds":0.01}`, false, func(_ *http.Response, got []byte, err error) bool { return err == nil && bytes.Equal(got, all) }},
		{`{"type":"ignore_range"}`, true, func(a *http.Response, got []byte, err error) bool {
			return err == nil && a.StatusCode == 200 && bytes.Equal(got, all)
		}},
		{`{"type":"wrong_content_range"}`, true, func(a *http.Response, got []byte, err error) bool {
			return a.Header.Get("Content-Range") == "bytes 101-200/50001" && bytes.Equal(got, all[100:200])
		}},
		{`{"type":"change_etag"}`, true, func(a *http.Response, got []byte, err error) bool {
			return a.Header.Get("ETag") != etag && len(got) == 100 && got[0] == all[100]^0xff
		}},
		{`{"type":"no_etag"}`, true, func(a *http.Response, got []byte, err error) bool {
			return a.Header.Get("ETag") == "" && bytes.Equal(got, all[100:200])
		}},
		{`{"type":"weak_etag"}`, true, func(a *http.Response, got []byte, err error) bool { return a.Header.Get("ETag") == "W/"+etag }},
		{`{"type":"no_length"}`, false, func(a *http.Response, got []byte, err error) bool {
			return a.ContentLength == -1 && bytes.Equal(got, all)
		}},
		{`{"type":"gzip"}`, false, func(a *http.Response, got []byte, _ error) bool {
			zip, err := gzip.NewReader(bytes.NewReader(got))
			if err != nil || a.Header.Get("Content-Encoding") != "gzip" {
				return false
			}
			unzipped, err := io.ReadAll(zip)
			return err == nil && bytes.Equal(unzipped, all)
		}},
		{`{"type":"status","status":503}`, false, func(a *http.Response, _ []byte, _ error) bool { return a.StatusCode == 503 }},
	}
	for _, test := range tests {
		c.json("DELETE", "/_/faults", "", 200)
		c.fault(`{"match":{"path_regexp":"^/bucket/","workflow":"big-file"},"action":` + test.action + `}`)
		var headers []string
		if test.ranged {
			headers = []string{"Range", "bytes=100-199"}
		}
		if answer, got, err := c.do("GET", at, "", headers...); answer == nil && err == nil || !test.good(answer, got, err) {
			t.Errorf("%s: %v, %d bytes, %v", test.action, answer, len(got), err)
		}
	}
}

func TestURLsThatRunOut(t *testing.T) {
	c := newClient(t, fast)
	task := c.run("big-file", `{"bytes":10}`)
	c.end(task)
	at := c.url(task)
	c.fault(`{"match":{"path_regexp":"^/bucket/"},"times":1,"action":{"type":"expire_now"}}`)
	for range 2 {
		if answer, got, err := c.do("GET", at, ""); err != nil || answer.StatusCode != 403 || !strings.Contains(string(got), "expired") {
			t.Errorf("%v %v", answer, err)
		}
	}
	if answer, _, err := c.do("GET", c.url(task), ""); err != nil || answer.StatusCode != 200 {
		t.Errorf("a fresh one: %v %v", answer, err)
	}
	c.fault(`{"match":{"path_regexp":"/result$"},"action":{"type":"url_lifetime","seconds":5}}`)
	if !strings.Contains(c.url(task), "X-Amz-Expires=5&") {
		t.Error("not five seconds")
	}
}

func TestFaultsOfAStream(t *testing.T) {
	tests := []struct {
		action string
		first  []string // what comes first
		ends   bool     // the stream comes to its terminal event, else to nothing but first
		broken bool
	}{
		{`{"type":"stream_break","after_events":1}`, []string{"status"}, false, true},
		{`{"type":"stream_close_early","after_events":1}`, []string{"status"}, false, false},
		{`{"type":"stream_close_early"}`, nil, false, false},
		{`{"type":"stream_error_event"}`, []string{"error"}, true, false},
		{`{"type":"stream_garbage","bytes":100000}`, []string{"telemetry", "progress", "status", "completed", "progress", "log"}, true, false},
	}
	for _, test := range tests {
		c := newClient(t, 10)
		c.fault(`{"match":{"path_regexp":"/events$"},"action":` + test.action + `}`)
		// Those that end early need a task that still runs when the stream begins.
		task := c.run("text-to-image", fmt.Sprintf(`{"prompt":"p","steps":150,"seconds":%d}`, map[bool]int{true: 3, false: 60}[test.ends]))
		_, got, err := c.do("GET", "/r/tasks/"+task+"/events", "")
		var events []string
		for line := range strings.SplitSeq(string(got), "\n") {
			if name, ok := strings.CutPrefix(line, "event: "); ok {
				events = append(events, name)
			}
		}
		first := min(len(test.first), len(events))
		after := events[first:]
		if (err != nil) != test.broken || !slices.Equal(events[:first], test.first) || slices.Contains(after, "completed") != test.ends || !test.ends && len(after) > 0 {
			t.Errorf("%s: %v %v", test.action, events, err)
		}
	}
}

// A silent stream says nothing more, and holds until its caller goes.
func TestSilentStream(t *testing.T) {
	c := newClient(t, fast)
	c.fault(`{"match":{"path_regexp":"/events$"},"action":{"type":"stream_silent","after_events":1}}`)
	task := c.run("text-to-image", `{"prompt":"p"}`)
	r, err := http.NewRequestWithContext(t.Context(), "GET", c.root+basePath+"/r/tasks/"+task+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+testKey)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	first := make([]byte, 14)
	if _, err := io.ReadFull(answer.Body, first); err != nil || string(first) != "event: status\n" {
		t.Fatalf("%q %v", first, err)
	}
}

func TestFaultsOfATask(t *testing.T) {
	tests := []struct{ action, status, state string }{
		{`{"type":"task_fail","message":"no memory left"}`, "failed", "failed"},
		{`{"type":"task_cancel"}`, "cancelled", "cancelled"},
		{`{"type":"task_state","state":"thawing"}`, "completed", "completed"},
		{`{"type":"no_outputs"}`, "completed", "completed"},
		{`{"type":"old_output"}`, "completed", "completed"},
		{`{"type":"old_output","status":403}`, "completed", "completed"},
	}
	for _, test := range tests {
		c := newClient(t, fast)
		c.fault(`{"match":{"workflow":"text-to-image","path_regexp":"/run$"},"times":1,"action":` + test.action + `}`)
		task := c.run("text-to-image", `{"prompt":"p"}`)
		events := c.end(task)
		if events[len(events)-1] != test.status {
			t.Errorf("%s: %v", test.action, events)
		}
		result := c.json("GET", "/r/tasks/"+task+"/result", "", 200)
		if result["task_status"] != test.state {
			t.Errorf("%s: %v", test.action, result)
		}
		switch {
		case strings.Contains(test.action, "message") && result["task_error"] != "no memory left",
			strings.Contains(test.action, "no_outputs") && result["download_url"] != nil:
			t.Errorf("%s: %v", test.action, result)
		case strings.Contains(test.action, "old_output"):
			answer, _, err := c.do("GET", c.url(task), "")
			if err != nil || answer.StatusCode != map[bool]int{true: 403, false: 404}[strings.Contains(test.action, "403")] {
				t.Errorf("%s: %v %v", test.action, answer, err)
			}
		}
	}
	c := newClient(t, fast)
	c.fault(`{"action":{"type":"stay_waiting"}}`)
	task := c.run("text-to-image", `{"prompt":"p","seconds":0}`)
	if got := c.json("GET", "/r/tasks/"+task, "", 200); got["task_status"] != "waiting" || got["started_at"] != nil {
		t.Errorf("no agent: %v", got)
	}
}

func TestWebhooks(t *testing.T) {
	type call struct {
		signature string
		body      []byte
	}
	calls := make(chan call, 10)
	seen := 0
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		calls <- call{r.Header.Get("X-Webhook-Signature-256"), body}
		if seen++; seen < 4 { // the tries of one delivery come one after the other
			w.WriteHeader(500)
		}
	}))
	defer receiver.Close()
	c := newClient(t, 10000)
	c.json("POST", "/_/webhook", `{"url":"`+receiver.URL+`","secret":"whsec_local"}`, 200)
	cancelled := c.run("text-to-image", `{"prompt":"p","seconds":86400}`)
	c.json("POST", "/r/tasks/"+cancelled+"/cancel", "", 200)
	c.fault(`{"times":1,"match":{"path_regexp":"/run$"},"action":{"type":"task_cancel"}}`)
	c.end(c.run("text-to-image", `{"prompt":"cancelled from the other side"}`))
	task := c.run("text-to-image", `{"prompt":"p"}`)
	var last call
	for range 4 {
		last = <-calls
		if last.signature != signed("whsec_local", last.body) || !bytes.Contains(last.body, []byte(task)) {
			t.Errorf("signature %s of %s", last.signature, last.body)
		}
	}
	for _, want := range []string{`"event_type":"task.completed"`, `"task_id":"` + task + `"`, `"task_status":"completed"`, `"task_error":null`, `"timestamp":"20`, `"storage_key"`} {
		if !bytes.Contains(last.body, []byte(want)) {
			t.Errorf("%s lacks %s", last.body, want)
		}
	}
	receiver.Close() // the last try's answer has been read by now, or never will be
	c.json("POST", "/_/webhook", `{"url":"ftp://x"}`, 400)
	c.json("POST", "/_/webhook", `{"url":""}`, 200)
	if n := len(c.json("GET", "/_/webhooks", "", 200)["deliveries"].([]any)); n < 3 {
		t.Errorf("%d tries in the log", n)
	}
}
