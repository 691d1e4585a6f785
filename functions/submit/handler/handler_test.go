package handler

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

func TestSubmits(t *testing.T) {
	w := newWorld(t)
	w.submits("r1", w.input("r1", `{"workflow":"text-to-image@2","parameters":{"prompt":"r1","steps":30},"destination":{"prefix":"p/{task_id}"},"max_seconds":60}`))
	if got := w.Cyberun.Started[0].Parameters; fmt.Sprint(got) != "map[prompt:r1 steps:30]" {
		t.Errorf("sent %v", got)
	}
	record := w.Run("r1")
	if record.Adopted || record.How != run.Receipt || record.Posts != 1 || record.MaxSeconds != 60 || record.Workflow != workflowRef || record.WorkflowID != workflowID {
		t.Errorf("recorded %+v", record.Record)
	}
	if record.Bucket != outputBucket || record.Prefix != "p/"+record.TaskID+"/" || record.Life != 0 || !record.LifeStartedAt.Equal(began) {
		t.Errorf("recorded %+v", record.Record)
	}
	// Later doubts compare clocks with it.
	if s := record.Submission; s == nil || s.PostUntil.Sub(s.MarkedAt) != DefaultWaits.Post || !s.Window().Contains(w.Cyberun.Started[0].CreatedAt.Time) {
		t.Errorf("the submission is %+v", s)
	}
	if o := w.ownership(record.TaskID); (o != run.Ownership{StartedBy: "r1", How: run.Receipt, DeliveredBy: "r1"}) {
		t.Errorf("ownership %+v", o)
	}
}

// TestOutputPrefix: the stack's own stands before the request's.
func TestOutputPrefix(t *testing.T) {
	w := newWorld(t)
	h := w.handler()
	h.OutputPrefix = "relay"
	if _, err := h.Handle(t.Context(), w.input("r1", prompted("r1"))); err != nil {
		t.Fatal(err)
	}
	if got := w.Run("r1").Prefix; got != "relay/runs/r1/" {
		t.Errorf("got %q", got)
	}
	if calls := w.S3.Calls("CreateMultipartUpload"); len(calls) != 1 || calls[0].Key != "relay/runs/r1/manifest.json" {
		t.Errorf("the proof was made at %v", calls)
	}
}

func TestTextParameters(t *testing.T) {
	w := newWorld(t)
	if _, err := w.drive(w.input("r1", `{"workflow":"text-to-image","parameters":{"prompt":"007","steps":"30"},"parameters_as_text":true}`)); err != nil {
		t.Fatal(err)
	}
	if got := w.Cyberun.Started[0].Parameters; fmt.Sprintf("%T %T", got["prompt"], got["steps"]) != "string json.Number" {
		t.Errorf("sent %#v", got)
	}
}

func TestCalledTwice(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	first, err := w.drive(in)
	if err != nil {
		t.Fatal(err)
	}
	second, err := w.drive(in)
	if err != nil || second != first {
		t.Fatalf("%+v, then %+v, %v", first, second, err)
	}
	w.checkSettled("r1", second)
}

// TestNothingPaid are the ends that come before any POST.
func TestNothingPaid(t *testing.T) {
	tests := []struct {
		name    string
		request string
		prepare func(*world)
		want    string
		text    string
	}{
		{name: "no object", request: `[]`, want: named.InvalidRequest, text: "object"},
		{name: "null", request: `null`, want: named.InvalidRequest},
		{name: "empty object", request: `{}`, want: named.InvalidRequest, text: "workflow: is missing"},
		{name: "five violations", request: `{"workflow":"text-to-image","parameters":{"steps":99,"seed":1},"max_seconds":0,"retries":3}`, want: named.InvalidRequest, text: "max_seconds: is 0"},
		{name: "unknown workflow", request: `{"workflow":"nope"}`, want: named.WorkflowNotFound, text: "nope"},
		{name: "unknown workflow and a fault", request: `{"workflow":"nope","max_seconds":0}`, want: named.InvalidRequest, text: "max_seconds"},
		{name: "a workflow that a proxy does not find", request: prompted("r1"), prepare: func(w *world) { w.Fails("Workflow", functiontest.Page(http.StatusNotFound)) }, want: named.Unavailable},
		{name: "a slug that is no path", request: `{"workflow":".."}`, want: named.InvalidRequest, text: "workflow"},
		{name: "a fault during an outage", request: `{"workflow":"text-to-image","max_seconds":0}`, prepare: func(w *world) { w.Fails("Workflow", errNetwork) }, want: named.InvalidRequest, text: "max_seconds"},
		{name: "disabled", request: prompted("r1"), prepare: func(w *world) { w.Cyberun.Flow.Status = cyberun.WorkflowDisabled }, want: named.WorkflowDisabled, text: "disabled"},
		{name: "disabled and a fault", request: `{"workflow":"text-to-image","parameters":{}}`, prepare: func(w *world) { w.Cyberun.Flow.Status = cyberun.WorkflowDisabled }, want: named.InvalidRequest, text: "prompt"},
		{name: "deadline passed", request: prompted("r1"), prepare: func(w *world) { w.Now = w.Now.Add(25 * time.Hour) }, want: named.RunTimedOut, text: "86400"},
		{name: "no Date header, or a cached answer", request: prompted("r1"), prepare: func(w *world) { w.Cyberun.NoDate = true }, want: named.Unavailable, text: "Date"},
		{name: "no such task", request: `{"task_id":"t-9"}`, want: named.InvalidRequest, text: "knows no task t-9"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			in := w.input("r1", test.request)
			if test.prepare != nil {
				test.prepare(w)
			}
			_, name, err, _ := w.once(in)
			wantName(t, err, test.want, test.text)
			if name != test.want {
				t.Errorf("Step Functions sees %q", name)
			}
			if len(w.Cyberun.Started) > 0 {
				t.Error("paid")
			}
			w.checkNoTraces("r1")
			// What failed has a record all the same: close-run closes it.
			if record := w.Run("r1"); !record.Status.Open() || record.MaxSeconds == 0 || record.Prefix == "" {
				t.Errorf("record %+v", record.Record)
			}
		})
	}
}

// TestOutputBucketRefuses: what the output bucket will not take is told before
// anything is paid, and it is proven where the outputs go, by what they need.
func TestOutputBucketRefuses(t *testing.T) {
	tests := []struct {
		name string
		call string
		err  error
		want string
		text string
	}{
		{name: "a policy", call: "CreateMultipartUpload outputs/runs/r1/manifest.json", err: storetest.Error(http.StatusForbidden, "AccessDenied"), want: named.OutputBucketRefused, text: "s3://outputs/runs/r1/manifest.json (HTTP 403 AccessDenied"},
		{name: "no bucket", call: "CreateMultipartUpload", err: storetest.Error(http.StatusNotFound, "NoSuchBucket"), want: named.OutputBucketRefused, text: "HTTP 404 NoSuchBucket"},
		{name: "another region", call: "CreateMultipartUpload", err: storetest.Error(http.StatusMovedPermanently, "PermanentRedirect"), want: named.OutputBucketRefused, text: "HTTP 301 PermanentRedirect"},
		{name: "a key that is disabled", call: "CreateMultipartUpload", err: storetest.Error(http.StatusBadRequest, "KMS.DisabledException"), want: named.OutputBucketRefused, text: "KmsKeyArn"},
		{name: "no right to abort", call: "AbortMultipartUpload", err: storetest.Error(http.StatusForbidden, "AccessDenied"), want: named.OutputBucketRefused},
		{name: "away", call: "CreateMultipartUpload", err: errNetwork, want: named.Unavailable, text: "the output bucket outputs cannot be reached"},
		{name: "slow", call: "CreateMultipartUpload", err: storetest.Error(http.StatusServiceUnavailable, "SlowDown"), want: named.Unavailable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			in := w.input("r1", prompted("r1"))
			w.Fails(test.call, test.err)
			_, name, err, _ := w.once(in)
			wantName(t, err, test.want, test.text)
			if name != test.want || len(w.Cyberun.Started) > 0 {
				t.Errorf("Step Functions sees %q; paid %v", name, w.Cyberun.Started)
			}
			if test.want == named.OutputBucketRefused {
				wantName(t, err, test.want, "redrive the run; nothing was paid")
			}
			if keys := w.S3.Keys(outputBucket, ""); len(keys) > 0 {
				t.Errorf("the proof left %v", keys)
			}
			// Corrected, a redrive goes on.
			w.Around = nil
			w.fail("r1", err)
			w.submits("r1", w.redrive(in))
		})
	}
}

// TestProofIsRemembered for ten minutes by a warm function, and ends its upload.
func TestProofIsRemembered(t *testing.T) {
	w := newWorld(t)
	h := w.handler()
	for i, test := range []struct {
		after  time.Duration
		proofs int
	}{{after: 0, proofs: 1}, {after: 9 * time.Minute, proofs: 1}, {after: 2 * time.Minute, proofs: 2}} {
		w.Now = w.Now.Add(test.after)
		id := fmt.Sprint("r", i)
		if _, err := h.Handle(t.Context(), w.input(id, prompted(id))); err != nil {
			t.Fatal(err)
		}
		if got := len(w.S3.Calls("CreateMultipartUpload")); got != test.proofs || len(w.S3.Aborted()) != test.proofs {
			t.Errorf("%d proofs, %d aborted, after run %d", got, len(w.S3.Aborted()), i)
		}
	}
	// A refusal is not remembered as a proof.
	w.Now = w.Now.Add(time.Hour)
	h.Buckets = refusing{w.S3}
	if _, err := h.Handle(t.Context(), w.input("r8", prompted("r8"))); !named.Is(err, named.OutputBucketRefused) {
		t.Error(err)
	}
	if _, err := h.Handle(t.Context(), w.input("r9", prompted("r9"))); !named.Is(err, named.OutputBucketRefused) {
		t.Error(err)
	}
}

type refusing struct{ *storetest.S3 }

func (refusing) CreateMultipartUpload(context.Context, *s3.CreateMultipartUploadInput, ...func(*s3.Options)) (*s3.CreateMultipartUploadOutput, error) {
	return nil, storetest.Error(http.StatusForbidden, "AccessDenied")
}

// TestFaultsTogether: what the document alone tells and what the workflow tells
// come in one error.
func TestFaultsTogether(t *testing.T) {
	w := newWorld(t)
	_, _, err, _ := w.once(w.input("r1", `{"workflow":"text-to-image","parameters":{"steps":99,"seed":1,"image":"s3://inbox/gone.png"},"retries":3}`))
	e, _ := named.As(err)
	var about []string
	for _, f := range e.Violations {
		about = append(about, f.Parameter)
	}
	slices.Sort(about)
	if fmt.Sprint(about) != "[image prompt retries seed steps]" {
		t.Errorf("%v: %v", about, err)
	}
}

func TestInvalidPrefix(t *testing.T) {
	w := newWorld(t)
	_, _, err, _ := w.once(w.input("r1", `{"workflow":"text-to-image","parameters":{"prompt":"x"},"destination":{"prefix":"../x"}}`))
	wantName(t, err, named.InvalidRequest, "destination.prefix")
	if record := w.Run("r1"); record.Prefix != "" {
		t.Errorf("%q would be rendered", record.Prefix)
	}
}

// TestRunIDUsedBefore: 90 days on, or in another stack's bucket, a name can come
// again. It must not go on from a stranger's record.
func TestRunIDUsedBefore(t *testing.T) {
	const day = 24 * time.Hour
	tests := []struct {
		name   string
		closed bool
		later  time.Duration
		change func(*Input)
		reused bool
	}{
		{name: "another execution", change: func(in *Input) { in.ExecutionARN = strings.Replace(in.ExecutionARN, "relay", "other", 1) }},
		{name: "another start", later: time.Hour, change: func(in *Input) { in.StartedAt = in.StartedAt.Add(time.Hour) }},
		{name: "another start 79 days after one that is closed", closed: true, later: 79 * day, change: func(in *Input) { in.StartedAt = in.StartedAt.Add(79 * day) }},
		{name: "81 days after one that is open", later: 81 * day, change: func(in *Input) { in.StartedAt = in.StartedAt.Add(81 * day) }},
		{name: "81 days after one that is closed", closed: true, later: 81 * day, change: func(in *Input) { in.StartedAt = in.StartedAt.Add(81 * day) }, reused: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			in := w.input("r1", prompted("r1"))
			if _, err := w.drive(in); err != nil {
				t.Fatal(err)
			}
			first := w.Cyberun.Paid("r1")[0]
			if test.closed {
				w.fail("r1", named.Errorf(named.TaskFailed, "x"))
				w.Executions.Forget("r1")
			}
			w.Now = w.Now.Add(test.later)
			test.change(&in)
			out, _, err, _ := w.once(in)
			if !test.reused {
				wantName(t, err, named.InvalidRequest, "used before")
				if len(w.Cyberun.Started) != 1 {
					t.Error("paid again")
				}
				return
			}
			record := w.Run("r1")
			if err != nil || out.TaskID == first || len(w.Cyberun.Paid("r1")) != 2 || record.TaskID != out.TaskID || record.Error != nil || !record.StartedAt.Equal(in.StartedAt) {
				t.Errorf("%+v, %v: %+v", out, err, record.Record)
			}
		})
	}
}

// TestStartsRoundedDifferently: the context object has milliseconds and
// DescribeExecution, which a stop's record is made from, may have others.
func TestStartsRoundedDifferently(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	if _, err := w.drive(in); err != nil {
		t.Fatal(err)
	}
	in.StartedAt = in.StartedAt.Add(999 * time.Millisecond)
	if _, err := w.drive(in); err != nil {
		t.Fatal(err)
	}
}

// TestRedrive goes on from where the run failed, with its record open again.
func TestRedrive(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	w.Cyberun.Refuse = func() error { return functiontest.Refused(http.StatusUnauthorized) }
	_, err := w.drive(in)
	wantName(t, err, named.Unauthorized, "")
	w.fail("r1", err)
	if _, found := w.S3.Object(outputBucket, "runs/r1/error.json"); !found {
		t.Error("no error.json")
	}
	w.Cyberun.Refuse = nil
	w.Now = w.Now.Add(time.Hour)
	w.submits("r1", w.redrive(in))
	record := w.Run("r1")
	if record.Life != 1 || record.Error != nil || !record.EndedAt.IsZero() || !record.LifeStartedAt.After(began.Add(time.Hour)) {
		t.Errorf("%+v", record.Record)
	}
}

// TestFence: a step of an earlier life, or of one that has ended, decides nothing;
// the first of a later one opens the run again.
func TestFence(t *testing.T) {
	failed := named.Errorf(named.Unavailable, "x")
	// life is a world whose run is in its life 1, and what is sent in it.
	life := func(t *testing.T) (*world, Input) {
		w := newWorld(t)
		in := w.input("r1", prompted("r1"))
		w.Fails("Workflow", errNetwork)
		w.once(in)
		w.Around = nil
		w.fail("r1", failed)
		in = w.redrive(in)
		w.Fails("Workflow", errNetwork)
		w.once(in)
		w.Around = nil
		if record := w.Run("r1"); record.Life != 1 || record.Status != run.Submitting {
			t.Fatalf("%+v", record.Record)
		}
		return w, in
	}
	tests := []struct {
		name    string
		prepare func(w *world)
		count   int // -1: not said
		want    string
		life    int // of the record afterwards
	}{
		{name: "lower", count: 0, want: named.Superseded, life: 1},
		{name: "equal, open", count: 1, life: 1},
		{name: "higher, open", count: 2, life: 2},
		{name: "lower, failed", prepare: func(w *world) { w.fail("r1", failed) }, count: 0, want: named.Superseded, life: 1},
		{name: "equal, failed", prepare: func(w *world) { w.fail("r1", failed) }, count: 1, want: named.Superseded, life: 1},
		{name: "higher, failed", prepare: func(w *world) { w.fail("r1", failed) }, count: 2, life: 2},
		{name: "equal, stopped", prepare: func(w *world) { w.stop("r1") }, count: 1, want: named.RunCancelled, life: 1},
		{name: "higher, stopped", prepare: func(w *world) { w.stop("r1") }, count: 2, want: named.RunCancelled, life: 2},
		{name: "higher, cancelled", prepare: func(w *world) {
			w.stop("r1")
			w.Executions.End("r1", executions.Aborted, named.Errorf(named.RunCancelled, "x"))
			w.Close("r1")
		}, count: 2, want: named.RunCancelled, life: 2},
		{name: "not said, of this life", count: -1, life: 1},
		{name: "not said, of the next life", prepare: func(w *world) { w.fail("r1", failed); w.Executions.Redrive("r1") }, count: -1, life: 2},
		{name: "not said, and it has ended", prepare: func(w *world) { w.fail("r1", failed) }, count: -1, want: named.Superseded, life: 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w, in := life(t)
			if test.prepare != nil {
				test.prepare(w)
			}
			if in.RedriveCount = &test.count; test.count < 0 {
				in.RedriveCount = nil
			}
			out, _, err, _ := w.once(in)
			record := w.Run("r1")
			if record.Life != test.life {
				t.Errorf("the record is in life %d, want %d", record.Life, test.life)
			}
			if test.want != "" {
				wantName(t, err, test.want, "")
				if len(w.Cyberun.Started) > 0 {
					t.Error("paid")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			w.checkSettled("r1", out)
		})
	}
}

// TestSucceededAnswersAgain: a redrive of a run that has succeeded gets its result
// again and pays nothing.
func TestSucceededAnswersAgain(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	first, err := w.drive(in)
	if err != nil {
		t.Fatal(err)
	}
	r, err := w.Runs().StartCopy(t.Context(), w.Run("r1"))
	if err == nil {
		_, err = w.Runs().Deliver(t.Context(), r, run.NewManifest(r.Record, run.Progress{}, nil, w.Now))
	}
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.drive(w.redrive(in))
	if err != nil || again != first || len(w.Cyberun.Started) != 1 {
		t.Errorf("%+v, then %+v, %v", first, again, err)
	}
	if status := w.Run("r1").Status; status != run.Succeeded {
		t.Errorf("it is %s", status)
	}
}

// TestOutlivedItsExecution: the call was lost to Step Functions, which called
// again, failed and was closed. What the first one would start now nobody delivers.
func TestOutlivedItsExecution(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	w.Around = func(call string, do func() error) error {
		if strings.HasPrefix(call, "CreateMultipartUpload") {
			w.fail("r1", named.Errorf(named.Unavailable, "x"))
		}
		return do()
	}
	_, _, err, _ := w.once(in)
	wantName(t, err, named.Superseded, "")
	if len(w.Cyberun.Started) > 0 {
		t.Errorf("tasks %v", w.Cyberun.Started)
	}
	if record := w.Run("r1"); record.Status != run.Failed || record.Submission != nil {
		t.Errorf("%+v", record.Record)
	}
	w.checkNoTraces("r1")
}

// TestEveryCallHasItsTime: no call to Cyberun but the POST and the uploads may take the
// function's own 15 minutes.
func TestEveryCallHasItsTime(t *testing.T) {
	w := newWorld(t)
	in := withFile(w, "r1")
	h := w.handler()
	h.Cyberun = timed{w.Cyberun, t}
	h.Runs.Cyberun = timed{w.Cyberun, t}
	h.Doubts.Cyberun = timed{w.Cyberun, t}
	if _, err := h.Handle(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	in = w.input("r2", fmt.Sprintf(`{"task_id":%q}`, w.Cyberun.Start(nil)))
	if _, err := h.Handle(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	w.Now = w.Now.Add(5 * time.Minute)
	w.lose("r3", true)
	w.Now = w.Now.Add(time.Minute)
	if _, err := h.Handle(t.Context(), w.input("r3", prompted("r3"))); err != nil {
		t.Fatal(err)
	}
	w.Around = func(call string, do func() error) error {
		if call == "Run" {
			defer w.stop("r4")
		}
		return do()
	}
	if _, err := h.Handle(t.Context(), w.input("r4", prompted("r4"))); !named.Is(err, named.RunCancelled) {
		t.Fatal(err)
	}
}
