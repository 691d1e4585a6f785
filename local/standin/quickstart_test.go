package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/local/standin/picture"
)

const testKey = "sk-local-test"

// fast runs a task of 3 s in 30 ms.
const fast = 100

// client speaks raw JSON with a stand-in of its own.
type client struct {
	t    *testing.T
	s    *standin
	root string
	late *atomic.Int64 // how far the stand-in's clock is ahead
}

func newClient(t *testing.T, speed float64) *client {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	late := &atomic.Int64{}
	s := newStandin(ctx, options{keys: []string{testKey}, speed: speed}, io.Discard, func() time.Time { return time.Now().Add(time.Duration(late.Load())) })
	server := httptest.NewUnstartedServer(s)
	server.Start()
	t.Cleanup(func() { stop(); server.CloseClientConnections(); server.Close(); s.reset("") })
	return &client{t: t, s: s, root: server.URL, late: late}
}

// do returns an error only when no answer came.
func (c *client) do(method, path, body string, headers ...string) (*http.Response, []byte, error) {
	c.t.Helper()
	at := path
	if strings.HasPrefix(path, "/r/") {
		at = c.root + basePath + path
	} else if strings.HasPrefix(path, "/") {
		at = c.root + path
	}
	r, err := http.NewRequest(method, at, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if strings.HasPrefix(path, "/r/") {
		r.Header.Set("Authorization", "Bearer "+testKey)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	// A connection of its own each time, and no redirect followed: what is seen is what was sent.
	one := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := one.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	return answer, got, err
}

func (c *client) json(method, path, body string, status int) map[string]any {
	c.t.Helper()
	answer, got, err := c.do(method, path, body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	if answer.StatusCode != status {
		c.t.Fatalf("%s %s: %s, want %d: %s", method, path, answer.Status, status, got)
	}
	var value map[string]any
	if err := json.Unmarshal(got, &value); err != nil {
		c.t.Fatalf("%s %s: %v: %s", method, path, err, got)
	}
	return value
}

func (c *client) run(workflow, parameters string) string {
	c.t.Helper()
	return c.json("POST", "/r/workflows/slug/"+workflow+"/run", `{"parameters":`+parameters+`}`, 202)["task_id"].(string)
}

// end follows the task's events until it has ended.
func (c *client) end(task string) (events []string) {
	c.t.Helper()
	_, got, err := c.do("GET", "/r/tasks/"+task+"/events", "")
	if err != nil {
		c.t.Fatal(err)
	}
	for scanner := bufio.NewScanner(bytes.NewReader(got)); scanner.Scan(); {
		if name, ok := strings.CutPrefix(scanner.Text(), "event: "); ok {
			events = append(events, name)
		}
	}
	return events
}

func (c *client) url(task string) string {
	c.t.Helper()
	at, ok := c.json("GET", "/r/tasks/"+task+"/result", "", 200)["download_url"].(string)
	if !ok {
		c.t.Fatal("no download_url")
	}
	return at
}

func (c *client) fault(rules string) {
	c.t.Helper()
	c.json("POST", "/_/faults", rules, 201)
}

func (c *client) counts() string {
	c.t.Helper()
	n := c.json("GET", "/_/ledger", "", 200)["counts"].(map[string]any)
	return fmt.Sprintf("tasks %v uploads %v completed %v failed %v cancelled %v", n["tasks"], n["uploads"], n["completed"], n["failed"], n["cancelled"])
}

func TestQuickstart(t *testing.T) {
	c := newClient(t, fast)
	list := c.json("GET", "/r/workflows?per_page=3", "", 200)
	if n := len(list["workflow_list"].([]any)); n != 3 {
		t.Errorf("a page of 3 has %d workflows", n)
	}
	detail := c.json("GET", "/r/workflows/slug/text-to-image", "", 200)
	if detail["version"] != 2.0 || detail["workflow_status"] != "active" {
		t.Errorf("the newest text-to-image: %v", detail)
	}
	const prompt = "a sunset over mountains, ünï"
	task := c.run("text-to-image", `{"prompt":"`+prompt+`","steps":30}`)
	events := c.end(task)
	if len(events) < 10 || events[0] != "status" || events[len(events)-1] != "completed" {
		t.Errorf("events: %v", events)
	}
	row := c.json("GET", "/r/tasks/"+task, "", 200)
	if row["task_status"] != "completed" || row["started_at"] == nil || row["completed_at"] == nil {
		t.Errorf("the task: %v", row)
	}
	if late := c.end(task); len(late) != 1 || late[0] != "completed" {
		t.Errorf("a late subscriber got %v", late)
	}
	answer, got, err := c.do("GET", c.url(task), "")
	if err != nil || answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "image/png" {
		t.Fatalf("download: %v %v", answer, err)
	}
	texts, err := picture.Texts(got)
	if err != nil || texts["prompt"] != prompt || texts["task_id"] != task {
		t.Errorf("texts: %v %v", texts, err)
	}
	if n := c.counts(); n != "tasks 1 uploads 0 completed 1 failed 0 cancelled 0" {
		t.Error(n)
	}
}

// The program's own flags, files and end.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	ctx, stop := context.WithCancel(context.Background())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- serve(ctx, []string{"-key", testKey, "-addr-file", dir + "/addr", "-ledger", dir + "/ledger"}, in)
	}()
	base, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasSuffix(base, basePath+"\n") {
		t.Fatalf("base %q: %v", base, err)
	}
	answer, err := http.Get(strings.TrimSpace(base) + "/r/workflows")
	if err != nil || answer.StatusCode != 401 {
		t.Errorf("without a key: %v %v", answer, err)
	}
	answer.Body.Close()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for _, args := range [][]string{{}, {"-key", "k", "-speed", "0"}, {"-key", "k", "more"}, {"-key", "k", "-addr", "0.0.0.0:0"}} {
		if err := serve(context.Background(), args, io.Discard); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}
