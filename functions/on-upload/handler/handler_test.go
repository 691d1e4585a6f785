package handler

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
	"github.com/google/go-cmp/cmp"
)

type startFunc func(runID, input string) error

func (f startFunc) Start(_ context.Context, runID, input string) error { return f(runID, input) }

// world is an inbox in memory, and what was started.
type world struct {
	*Handler
	s3       *storetest.S3
	away     map[string]error  // what reading a key answers, if it fails
	started  map[string]string // run id → input
	startErr error
	log      bytes.Buffer
}

type object struct {
	body     string
	etag     string // without quotes; empty: the MD5 of the body
	metadata map[string]string
	err      error // reading it fails
}

const inbox = "inbox"

func answered(status int) error { return storetest.Error(status, http.StatusText(status)) }

func newWorld() *world {
	w := &world{s3: &storetest.S3{}, away: map[string]error{}, started: map[string]string{}}
	w.s3.Around = func(c storetest.Call, do func() error) error {
		if err := w.away[c.Key]; err != nil {
			return err
		}
		return do()
	}
	w.Handler = &Handler{
		Log:   slog.New(slog.NewTextHandler(&w.log, nil)),
		Inbox: w.s3,
		Executions: startFunc(func(runID, input string) error {
			if w.startErr != nil {
				return w.startErr
			}
			if _, again := w.started[runID]; again {
				return executions.ErrExists
			}
			w.started[runID] = input
			return nil
		}),
	}
	return w
}

// versioned is a world whose inbox keeps versions, as the template's does.
func versioned() *world {
	w := newWorld()
	w.s3.Versioned = []string{inbox}
	return w
}

// set uploads an object, and returns it as S3 has it.
func (w *world) set(key string, o object) storetest.Object {
	w.away[key] = o.err
	stored := storetest.Object{Body: []byte(o.body), Metadata: o.metadata}
	if o.etag != "" {
		stored.ETag = quoted(o.etag)
	}
	w.s3.Set(inbox, key, stored)
	stored, _ = w.s3.Object(inbox, key)
	return stored
}

// rejected are the rejections that were written, by key.
func (w *world) rejected(t *testing.T) map[string]rejection {
	t.Helper()
	all := map[string]rejection{}
	for _, key := range w.s3.Keys(inbox, rejectedPrefix) {
		o, _ := w.s3.Object(inbox, key)
		var r rejection
		if err := json.Unmarshal(o.Body, &r); err != nil {
			t.Fatal(err)
		}
		all[key] = r
	}
	return all
}

// request is the input of the only run that was started.
func (w *world) request(t *testing.T) run.Request {
	t.Helper()
	if len(w.started) != 1 {
		t.Fatalf("started %v", w.started)
	}
	var r run.Request
	for _, input := range w.started {
		var violations named.Violations
		if r, violations = run.ParseRequest([]byte(input)); len(violations) > 0 {
			t.Fatalf("%s: %v", input, violations)
		}
	}
	return r
}

// bridge is an EventBridge event for one object.
func bridge(key, etag, sequencer string) Input {
	raw, _ := json.Marshal(map[string]any{"source": "aws.s3", "detail": map[string]any{
		"bucket": map[string]any{"name": "inbox"}, "object": map[string]any{"key": key, "etag": etag, "sequencer": sequencer},
	}})
	return Input{raw}
}

const job = `{"workflow": "text-to-image", "parameters": {"prompt": "a fir", "seed": 9007199254740993}}`

func TestJob(t *testing.T) {
	w := newWorld()
	w.set("jobs/my sunset (1).json", object{body: job, etag: "e1"})
	for range 3 { // delivered three times
		out, err := w.Handle(t.Context(), bridge("jobs/my sunset (1).json", "e1", "A1"))
		if err != nil || len(out.Started) != 1 {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	if len(w.started) != 1 {
		t.Fatalf("started %v", w.started)
	}
	for id, input := range w.started {
		if !strings.HasPrefix(id, "my-sunset--1-") || len(id) > 80 {
			t.Errorf("run id %q", id)
		}
		if input != `{"parameters":{"prompt":"a fir","seed":9007199254740993},"workflow":"text-to-image"}` {
			t.Errorf("input %s", input)
		}
	}
	if _, err := w.Handle(t.Context(), bridge("jobs/my sunset (1).json", "e1", "A2")); err != nil || len(w.started) != 2 {
		t.Errorf("a fresh upload of the same bytes: %v, %d runs", err, len(w.started))
	}
}

func TestFile(t *testing.T) {
	w := newWorld()
	key := "files/upscale@1/image/über + 100% .. photo.png"
	w.set(key, object{body: "x", etag: "e1", metadata: map[string]string{"param-scale": "4", "Param-Note": "hi", "other": "x"}})
	if _, err := w.Handle(t.Context(), bridge(key, "e1", "A1")); err != nil {
		t.Fatal(err)
	}
	r := w.request(t)
	want := map[string]any{"image": "s3://inbox/" + key, "scale": "4", "note": "hi"}
	if diff := cmp.Diff(want, r.Parameters); diff != "" || r.Workflow != "upscale@1" || !r.ParametersAsText || r.InputVersions["image"] != (run.InputVersion{ETag: "e1"}) {
		t.Errorf("%+v\n%s", r, diff)
	}
}

// TestJobInCapitals: Windows programs write the extension so.
func TestJobInCapitals(t *testing.T) {
	w := newWorld()
	w.set("jobs/SUNSET.JSON", object{body: job, etag: "e1"})
	if _, err := w.Handle(t.Context(), bridge("jobs/SUNSET.JSON", "e1", "A1")); err != nil || w.request(t).Workflow != "text-to-image" {
		t.Error(err)
	}
}

// TestNothingToStart: what is not there any more, or never asked for anything.
func TestNothingToStart(t *testing.T) {
	for name, in := range map[string]Input{
		"gone":               bridge("jobs/gone.json", "e1", "A"),
		"changed since":      bridge("jobs/there.json", "older", "A"),
		"file changed since": bridge("files/upscale/image/x.png", "older", "A"),
		"a folder":           bridge("jobs/", "", "A"),
		"a rejection":        bridge("rejected/jobs/x.json", "", "A"),
		"elsewhere":          bridge("photos/x.png", "", "A"),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.set("jobs/there.json", object{body: job, etag: "e1"})
			w.set("files/upscale/image/x.png", object{body: "x", etag: "e1"})
			out, err := w.Handle(t.Context(), in)
			if err != nil || out.Ignored != 1 || len(w.started)+len(w.rejected(t)) != 0 {
				t.Errorf("%+v, %v; started %v, rejected %v", out, err, w.started, w.rejected(t))
			}
			u, _ := uploads(in.RawMessage)
			if !strings.Contains(w.log.String(), "msg=ignored bucket=inbox key="+u[0].key) || !strings.Contains(w.log.String(), "why=") {
				t.Errorf("logged %s", w.log.String())
			}
		})
	}
}

func TestRejected(t *testing.T) {
	long := "jobs/" + strings.Repeat("n", 1010) + ".json"
	tests := map[string]struct {
		key, body string
		reasons   int
		at        string
	}{
		"every fault":                {"jobs/x.json", `{"workflw":"a","max_seconds":0}`, 3, "rejected/jobs/x.json"},
		"not JSON":                   {"jobs/x.json", `prompt=x`, 1, "rejected/jobs/x.json"},
		"blanks":                     {"jobs/x.json", ` `, 1, "rejected/jobs/x.json"},
		"UTF-16":                     {"jobs/x.json", "\xff\xfe{\x00}\x00", 1, "rejected/jobs/x.json"},
		"Latin-1":                    {"jobs/x.json", "{\"workflow\":\"caf\xe9\"}", 1, "rejected/jobs/x.json"},
		"gzip":                       {"jobs/x.json", "\x1f\x8b\x08\x00", 1, "rejected/jobs/x.json"},
		"names twice":                {"jobs/x.json", `{"workflow":"a","workflow":"b"}`, 1, "rejected/jobs/x.json"},
		"too large":                  {"jobs/x.json", `{"workflow":"a","parameters":{"p":"` + strings.Repeat("x", run.MaxRequestBytes) + `"}}`, 1, "rejected/jobs/x.json"},
		"too large when written out": {"jobs/x.json", `{"workflow":"a","parameters":{"p":[1e38` + strings.Repeat(",1e38", 10_000) + `]}}`, 1, "rejected/jobs/x.json"},
		"not a .json":                {"jobs/x.txt", job, 1, "rejected/jobs/x.txt-" + hash("jobs/x.txt") + ".json"},
		"file without a place":       {"files/photo.png", "x", 1, "rejected/files/photo.png.json"},
		"file of no workflow":        {"files//image/photo.png", "x", 1, "rejected/files//image/photo.png.json"},
		"file, odd workflow":         {"files/a@b/image/photo.png", "x", 1, "rejected/files/a@b/image/photo.png.json"},
		"a very long name":           {long, `{}`, 1, rejectedKey(upload{key: long})},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.set(tt.key, object{body: tt.body, etag: "e1"})
			out, err := w.Handle(t.Context(), bridge(tt.key, "e1", "A"))
			if err != nil || !slices.Equal(out.Rejected, []string{tt.at}) || len(w.started) != 0 || len(tt.at) > 1024 {
				t.Fatalf("%+v, %v, started %v", out, err, w.started)
			}
			r := w.rejected(t)[tt.at]
			if len(r.Reasons) != tt.reasons || r.Key != tt.key || r.Error.Name != named.InvalidRequest {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestOneBadRecordStopsNoOther, and what failed for a passing reason fails the
// call, so that it comes again.
func TestOneBadRecordStopsNoOther(t *testing.T) {
	w := newWorld()
	w.set("jobs/a b+c.json", object{body: job, etag: "e1"})
	w.set("jobs/bad.json", object{body: `{`, etag: "e1"})
	w.set("jobs/away.json", object{err: answered(http.StatusServiceUnavailable)})
	w.set("jobs/z.json", object{body: job, etag: "e1"})
	raw := `{"Records":[` + strings.Join([]string{classic("jobs/a+b%2Bc.json"), classic("jobs/bad.json"), classic("jobs/away.json"), classic("jobs/z.json")}, ",") + `]}`
	out, err := w.Handle(t.Context(), Input{json.RawMessage(raw)})
	if !named.Is(err, named.Unavailable) || len(out.Started) != 2 || len(out.Rejected) != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	delete(w.away, "jobs/away.json")
	w.s3.Remove(inbox, "jobs/away.json")
	if _, err := w.Handle(t.Context(), Input{json.RawMessage(raw)}); err != nil || len(w.started) != 2 {
		t.Errorf("again: %v, %d runs", err, len(w.started))
	}
}

func classic(key string) string {
	return `{"eventSource":"aws:s3","s3":{"bucket":{"name":"inbox"},"object":{"key":"` + key + `","eTag":"e1","sequencer":"A1"}}}`
}

func TestStepFunctionsAway(t *testing.T) {
	w := newWorld()
	w.set("jobs/a.json", object{body: job, etag: "e1"})
	w.startErr = named.Errorf(named.Unavailable, "Step Functions could not start the run: throttled")
	if _, err := w.Handle(t.Context(), bridge("jobs/a.json", "e1", "A")); !named.Is(err, named.Unavailable) {
		t.Errorf("%v", err)
	}
}

func TestEventsThatAreNone(t *testing.T) {
	for _, raw := range []string{`{}`, `[]`, `"x"`, `{"Records":[{}]}`, `{"detail":{}}`, `{"Records":[` + classic("jobs/%zz.json") + `]}`} {
		if _, err := newWorld().Handle(t.Context(), Input{json.RawMessage(raw)}); !named.Is(err, named.InvalidRequest) {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func FuzzEvent(f *testing.F) {
	f.Add([]byte(bridge("jobs/x.json", "e", "A").RawMessage))
	f.Add([]byte(`{"Records":[` + classic("jobs/a+b%2Bc.json") + `]}`))
	f.Add([]byte(`{"Event":"s3:TestEvent"}`))
	f.Add([]byte(notification{key: "files/upscale/image/my+photo%2B1.png", version: "v", etag: "e-2", sequencer: "A", reason: "CopyObject"}.input().RawMessage))
	f.Add([]byte(notification{key: "files/upscale/image/%7E%24x", version: "null", sequencer: "A", reason: "Copy", classic: true}.input().RawMessage))
	f.Add([]byte(notification{key: "files/upscale/image/._x.png", sequencer: "A"}.input().RawMessage))
	f.Fuzz(func(t *testing.T, raw []byte) {
		found, bad := uploads(raw) // an unreadable record stops no other
		w := newWorld()
		for _, u := range found { // each lies there, by its raw key
			if u.created() {
				w.s3.Set(u.bucket, u.key, storetest.Object{Body: []byte(job), ETag: quoted(u.etag)})
			}
		}
		out, err := w.Handle(t.Context(), Input{raw})
		if bad == nil && err != nil {
			t.Errorf("%v", err)
		}
		if n := len(out.Started) + len(out.Rejected) + out.Ignored; err == nil && n != len(found) {
			t.Errorf("%d uploads became %+v", len(found), out)
		}
		if lines := strings.Count(w.log.String(), "msg=ignored"); out.Ignored > 0 && lines != out.Ignored {
			t.Errorf("%d ignored, %d lines: %s", out.Ignored, lines, w.log.String())
		}
		for id, input := range w.started {
			if r, violations := run.ParseRequest([]byte(input)); len(violations) > 0 || len(id) > 80 {
				t.Errorf("started %s with %+v: %v", id, r, violations)
			}
		}
		for _, u := range found {
			if id := runIDFor(u); len(id) > 80 || strings.ContainsFunc(id, func(r rune) bool { return r > '~' || strings.ContainsRune("/ .:", r) }) {
				t.Errorf("run id %q", id)
			}
			if key := rejectedKey(u); len(u.key) <= maxKey && len(key) > maxKey || !strings.HasPrefix(key, rejectedPrefix) {
				t.Errorf("rejected key %q", key)
			}
		}
	})
}

func FuzzJob(f *testing.F) {
	f.Add([]byte(job))
	f.Add([]byte(`{"workflow":1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		w := newWorld()
		w.set("jobs/x.json", object{body: string(body), etag: "e"})
		out, err := w.Handle(t.Context(), bridge("jobs/x.json", "e", "A"))
		if err != nil || len(out.Started)+len(out.Rejected)+out.Ignored != 1 || (out.Ignored == 1) != (len(body) == 0) {
			t.Errorf("%+v, %v", out, err)
		}
	})
}
