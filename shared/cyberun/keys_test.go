package cyberun

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// keys is a KeySource of funcs.
type keys struct {
	key     func() (string, error)
	refresh func(rejected string) (string, error)
}

func (k keys) Key(context.Context) (string, error) { return k.key() }
func (k keys) Refresh(_ context.Context, rejected string) (string, error) {
	return k.refresh(rejected)
}

func TestRotatedKey(t *testing.T) {
	gone := errors.New("the secret store is down")
	tests := []struct {
		name    string
		fresh   string
		err     error
		calls   int
		success bool
	}{
		{name: "new key", fresh: "sk-local-2", calls: 2, success: true},
		{name: "same key", fresh: "sk-local-1", calls: 1},
		{name: "another revoked one", fresh: "sk-local-3", calls: 2},
		{name: "no key to be had", err: gone, calls: 1},
		{name: "empty", fresh: " ", calls: 1},
	}
	for _, tt := range tests {
		for _, run := range []bool{false, true} {
			s, c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer sk-local-2" {
					raw(401, `{"message":"revoked"}`)(w, r)
				} else if r.Method == "POST" {
					raw(202, `{"task_id":"t-1"}`)(w, r)
				} else {
					raw(200, taskJSON)(w, r)
				}
			})
			refreshed := 0
			c.Keys = keys{func() (string, error) { return "sk-local-1\n", nil }, func(rejected string) (string, error) {
				refreshed++
				if rejected != "sk-local-1" {
					t.Errorf("rejected %q", rejected)
				}
				return tt.fresh, tt.err
			}}
			var err error
			if run {
				_, err = c.StartTask(context.Background(), "x", map[string]any{"a": 1})
				if e, ok := errors.AsType[*StartError](err); err != nil && (!ok || !e.NotStarted) {
					t.Errorf("%s: %#v", tt.name, err)
				}
				for _, body := range s.body {
					if body != `{"parameters":{"a":1}}` {
						t.Errorf("%s: sent %s", tt.name, body)
					}
				}
			} else {
				_, err = c.Task(context.Background(), "t-1")
			}
			if refreshed != 1 || len(s.asked) != tt.calls || (err == nil) != tt.success {
				t.Errorf("%s: refreshed %d, asked %v: %v", tt.name, refreshed, s.asked, err)
			}
			if e, ok := errors.AsType[*APIError](err); err != nil && (!ok || e.Status != 401) {
				t.Errorf("%s: %v", tt.name, err)
			}
			if tt.err != nil && !errors.Is(err, tt.err) {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
	}
}

// TestForeign401: what stands before Cyberun may answer 401 in place of the answer of a
// task that was started, so that the POST is not made again, whatever becomes of the key.
func TestForeign401(t *testing.T) {
	for name, source := range map[string]keys{
		"a new key":    {refresh: func(string) (string, error) { return "sk-local-2", nil }},
		"no new key":   {refresh: func(string) (string, error) { return "", errors.New("the secret store is down") }},
		"an empty one": {refresh: func(string) (string, error) { return "", nil }},
	} {
		s, c := serve(t, raw(401, "<html>no</html>"))
		source.key = func() (string, error) { return testKey, nil }
		c.Keys = source
		_, err := c.StartTask(t.Context(), "x", nil)
		if e, ok := errors.AsType[*StartError](err); !ok || e.NotStarted || len(s.asked) != 1 {
			t.Errorf("%s: %v, asked %v", name, err, s.asked)
		}
	}
}

func TestNoCallWithoutAKey(t *testing.T) {
	down := errors.New("down")
	for name, source := range map[string]KeySource{
		"none": nil, "empty": StaticKey(""), "two lines": StaticKey("sk-local-1\r\nX: y"), "not ASCII": StaticKey("sk-…"),
		"down": keys{key: func() (string, error) { return "", down }},
	} {
		s, c := serve(t, raw(200, taskJSON))
		c.Keys = source
		_, err := c.Task(context.Background(), "t-1")
		if err == nil || len(s.asked) > 0 || strings.Contains(err.Error(), "local-1") {
			t.Errorf("%s: %v, asked %v", name, err, s.asked)
		}
		_, err = c.StartTask(context.Background(), "x", nil)
		if e, ok := errors.AsType[*StartError](err); !ok || !e.NotStarted {
			t.Errorf("%s: %v", name, err)
		}
		if name == "down" && !errors.Is(err, down) {
			t.Error(err)
		}
	}
}

// The key stays with the host that it was given for.
func TestRedirects(t *testing.T) {
	var leaked []string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked = append(leaked, r.Header.Get("Authorization"))
		io.WriteString(w, taskJSON)
	}))
	defer elsewhere.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		_, c := serve(t, raw(status, "", "Location", elsewhere.URL+"/r/tasks/t-1?token=geheim"))
		_, err := c.Task(context.Background(), "t-1")
		e, ok := errors.AsType[*APIError](err)
		if !ok || e.Status != status || !strings.Contains(err.Error(), elsewhere.URL) || strings.Contains(err.Error(), "geheim") {
			t.Error(err)
		}
		same, c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/moved") {
				raw(200, taskJSON)(w, r)
				return
			}
			raw(status, "", "Location", "/moved"+r.URL.Path)(w, r)
		})
		if _, err := c.Task(context.Background(), "t-1"); err != nil || same.auth[1] != "Bearer "+testKey {
			t.Error(err, same.auth)
		}
		if _, err := c.StartTask(context.Background(), "x", nil); len(same.asked) != 3 {
			t.Error(err, same.asked)
		} else if e, ok := errors.AsType[*StartError](err); !ok || e.NotStarted {
			t.Error(err)
		}
		if err := c.Cancel(context.Background(), "t-1"); err == nil || len(same.asked) != 4 {
			t.Error(err, same.asked)
		}
	}
	round, c := serve(t, func(w http.ResponseWriter, r *http.Request) { raw(302, "", "Location", r.URL.Path)(w, r) })
	if _, err := c.Task(context.Background(), "t-1"); err == nil || len(round.asked) > maxRedirects+1 {
		t.Error(err, round.asked)
	}
	if len(leaked) > 0 {
		t.Errorf("another host was asked, with %q", leaked)
	}
}
