package handler

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/cyberun-cloud/cyberun-relay/shared/eventstest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

type fakeInbox struct {
	head func(*s3.HeadObjectInput) (*s3.HeadObjectOutput, error)
	get  func(*s3.GetObjectInput) (*s3.GetObjectOutput, error)
	put  func(*s3.PutObjectInput) (*s3.PutObjectOutput, error)
}

func (f fakeInbox) HeadObject(_ context.Context, in *s3.HeadObjectInput, _ ...func(*s3.Options)) (*s3.HeadObjectOutput, error) {
	return f.head(in)
}
func (f fakeInbox) GetObject(_ context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	return f.get(in)
}
func (f fakeInbox) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	return f.put(in)
}

type startFunc func(*sfn.StartExecutionInput) error

func (f startFunc) StartExecution(_ context.Context, in *sfn.StartExecutionInput, _ ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error) {
	return &sfn.StartExecutionOutput{}, f(in)
}

// world is an inbox in memory, and what was started.
type world struct {
	*Handler
	objects  map[string]object
	started  map[string]string // run id → input
	rejected map[string]rejection
	startErr error
}

type object struct {
	body     string
	etag     string
	metadata map[string]string
	err      error
}

func answered(status int) error {
	return &awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: errors.New(http.StatusText(status)),
	}}
}

func newWorld() *world {
	w := &world{objects: map[string]object{}, started: map[string]string{}, rejected: map[string]rejection{}}
	find := func(key, ifMatch string) (object, error) {
		o, there := w.objects[key]
		switch {
		case !there:
			return o, answered(http.StatusNotFound)
		case o.err != nil:
			return o, o.err
		case ifMatch != "" && ifMatch != `"`+o.etag+`"`:
			return o, answered(http.StatusPreconditionFailed)
		}
		return o, nil
	}
	w.Handler = &Handler{
		StateMachineARN: "arn:aws:states:us-east-1:123456789012:stateMachine:relay-run",
		Log:             slog.New(slog.NewTextHandler(io.Discard, nil)),
		Inbox: fakeInbox{
			head: func(in *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
				o, err := find(*in.Key, "")
				return &s3.HeadObjectOutput{ETag: aws.String(`"` + o.etag + `"`), Metadata: o.metadata}, err
			},
			get: func(in *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
				o, err := find(*in.Key, aws.ToString(in.IfMatch))
				return &s3.GetObjectOutput{Body: io.NopCloser(strings.NewReader(o.body))}, err
			},
			put: func(in *s3.PutObjectInput) (*s3.PutObjectOutput, error) {
				var r rejection
				err := json.NewDecoder(in.Body).Decode(&r)
				w.rejected[*in.Key] = r
				return &s3.PutObjectOutput{}, err
			},
		},
		Executions: startFunc(func(in *sfn.StartExecutionInput) error {
			if w.startErr != nil {
				return w.startErr
			}
			if _, again := w.started[*in.Name]; again {
				return &types.ExecutionAlreadyExists{}
			}
			w.started[*in.Name] = *in.Input
			return nil
		}),
	}
	return w
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
	w.objects["jobs/my sunset (1).json"] = object{body: job, etag: "e1"}
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
	w.objects[key] = object{etag: "e1", metadata: map[string]string{"param-scale": "4", "Param-Note": "hi", "other": "x"}}
	if _, err := w.Handle(t.Context(), bridge(key, "e1", "A1")); err != nil {
		t.Fatal(err)
	}
	for _, input := range w.started {
		var r run.Request
		if err := json.Unmarshal([]byte(input), &r); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{"image": "s3://inbox/" + key, "scale": "4", "note": "hi"}
		got, _ := json.Marshal(r.Parameters)
		expected, _ := json.Marshal(want)
		if r.Workflow != "upscale@1" || !r.ParametersAsText || string(got) != string(expected) {
			t.Errorf("%s", input)
		}
	}
	if len(w.started) != 1 {
		t.Errorf("started %v", w.started)
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
			w.objects["jobs/there.json"] = object{body: job, etag: "e1"}
			w.objects["files/upscale/image/x.png"] = object{etag: "e1"}
			out, err := w.Handle(t.Context(), in)
			if err != nil || out.Ignored != 1 || len(w.started)+len(w.rejected) != 0 {
				t.Errorf("%+v, %v; started %v, rejected %v", out, err, w.started, w.rejected)
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
		"empty":                      {"jobs/x.json", ``, 1, "rejected/jobs/x.json"},
		"over 256 KiB":               {"jobs/x.json", `{"workflow":"a","parameters":{"p":"` + strings.Repeat("x", run.MaxRequestBytes) + `"}}`, 1, "rejected/jobs/x.json"},
		"too large when written out": {"jobs/x.json", `{"workflow":"a","parameters":{"p":[1e38` + strings.Repeat(",1e38", 10_000) + `]}}`, 1, "rejected/jobs/x.json"},
		"not a .json":                {"jobs/x.txt", job, 1, "rejected/jobs/x.txt-" + hash("jobs/x.txt") + ".json"},
		"file without a place":       {"files/photo.png", "", 1, "rejected/files/photo.png.json"},
		"file of no workflow":        {"files//image/photo.png", "", 1, "rejected/files//image/photo.png.json"},
		"file, odd workflow":         {"files/a@b/image/photo.png", "", 1, "rejected/files/a@b/image/photo.png.json"},
		"a very long name":           {long, `{}`, 1, rejectedKey(upload{key: long})},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.objects[tt.key] = object{body: tt.body, etag: "e1"}
			out, err := w.Handle(t.Context(), bridge(tt.key, "e1", "A"))
			if err != nil || !slices.Equal(out.Rejected, []string{tt.at}) || len(w.started) != 0 || len(tt.at) > 1024 {
				t.Fatalf("%+v, %v, started %v", out, err, w.started)
			}
			r := w.rejected[tt.at]
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
	w.objects["jobs/a b+c.json"] = object{body: job, etag: "e1"}
	w.objects["jobs/bad.json"] = object{body: `{`, etag: "e1"}
	w.objects["jobs/away.json"] = object{err: answered(http.StatusServiceUnavailable)}
	w.objects["jobs/z.json"] = object{body: job, etag: "e1"}
	raw := `{"Records":[` + strings.Join([]string{classic("jobs/a+b%2Bc.json"), classic("jobs/bad.json"), classic("jobs/away.json"), classic("jobs/z.json")}, ",") + `]}`
	out, err := w.Handle(t.Context(), Input{json.RawMessage(raw)})
	if !named.Is(err, named.Unavailable) || len(out.Started) != 2 || len(out.Rejected) != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	delete(w.objects, "jobs/away.json")
	if _, err := w.Handle(t.Context(), Input{json.RawMessage(raw)}); err != nil || len(w.started) != 2 {
		t.Errorf("again: %v, %d runs", err, len(w.started))
	}
}

func classic(key string) string {
	return `{"eventSource":"aws:s3","s3":{"bucket":{"name":"inbox"},"object":{"key":"` + key + `","eTag":"e1","sequencer":"A1"}}}`
}

func TestStepFunctionsAway(t *testing.T) {
	w := newWorld()
	w.objects["jobs/a.json"] = object{body: job, etag: "e1"}
	w.startErr = errors.New("throttled")
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

func TestSamples(t *testing.T) {
	want := map[string]int{"on-upload-job.json": 1, "on-upload-file.json": 1, "on-upload-classic.json": 2, "on-upload-test-event.json": 0}
	eventstest.Each(t, "on-upload*.json", want, func(t *testing.T, started int, raw []byte) {
		var in Input
		if err := json.Unmarshal(raw, &in); err != nil {
			t.Fatal(err)
		}
		w := newWorld()
		w.objects["jobs/sunset.json"] = object{body: job}
		w.objects["files/upscale/image/my photo+1 ä.png"] = object{}
		if out, err := w.Handle(t.Context(), in); err != nil || len(out.Started) != started {
			t.Errorf("%+v, %v", out, err)
		}
	})
}

func FuzzEvent(f *testing.F) {
	f.Add([]byte(bridge("jobs/x.json", "e", "A").raw))
	f.Add([]byte(`{"Records":[` + classic("jobs/a+b%2Bc.json") + `]}`))
	f.Add([]byte(`{"Event":"s3:TestEvent"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		found, _ := uploads(raw) // an unreadable record stops no other
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
		w.objects["jobs/x.json"] = object{body: string(body), etag: "e"}
		out, err := w.Handle(t.Context(), bridge("jobs/x.json", "e", "A"))
		if err != nil || len(out.Started)+len(out.Rejected) != 1 {
			t.Errorf("%+v, %v", out, err)
		}
	})
}
