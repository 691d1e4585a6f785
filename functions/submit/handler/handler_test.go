package handler

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

func TestSubmits(t *testing.T) {
	w := newWorld(t)
	w.submits("r1", w.input("r1", `{"workflow":"text-to-image@2","parameters":{"prompt":"r1","steps":30},"destination":{"prefix":"p/{task_id}"},"max_seconds":60}`))
	if got := w.Cyberun.Started[0].Parameters; fmt.Sprint(got) != "map[prompt:r1 steps:30]" {
		t.Errorf("sent %v", got)
	}
	record := w.Run("r1")
	if record.Adopted || record.Evidence != run.ByReceipt || record.Posts != 1 || record.MaxSeconds != 60 || record.Workflow != workflowRef || record.WorkflowID != workflowID {
		t.Errorf("recorded %+v", record.Record)
	}
	if record.Bucket != outputBucket || record.Prefix != "p/"+record.TaskID+"/" || record.Life != 0 || !record.LifeStartedAt.Equal(began) {
		t.Errorf("recorded %+v", record.Record)
	}
	// Later doubts compare clocks with it.
	if s := record.Submission; s == nil || s.PostUntil.Sub(s.MarkedAt) != DefaultWaits.Post || !s.Window().Contains(w.Cyberun.Started[0].CreatedAt.Time) {
		t.Errorf("the submission is %+v", s)
	}
	if o := w.ownership(record.TaskID); (o != run.Ownership{StartedBy: "r1", Evidence: run.ByReceipt, DeliveredBy: "r1"}) {
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
		{name: "a workflow that a proxy does not find", request: prompted("r1"), prepare: func(w *world) { w.Fails("Workflow", functiontest.HTMLPage(http.StatusNotFound)) }, want: named.Unavailable},
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
			namedtest.Want(t, err, test.want, test.text)
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
	namedtest.Want(t, err, named.InvalidRequest, "destination.prefix")
	if record := w.Run("r1"); record.Prefix != "" {
		t.Errorf("%q would be rendered", record.Prefix)
	}
}

// TestEveryCallHasItsTime: no call to Cyberun but the POST and the uploads may take the
// function's own 15 minutes.
func TestEveryCallHasItsTime(t *testing.T) {
	w := newWorld(t)
	in := withFile(w, "r1")
	h := w.handler()
	w.Cyberun.MaxTime = DefaultWaits.Post
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
		if call == "StartTask" {
			defer w.stop("r4")
		}
		return do()
	}
	if _, err := h.Handle(t.Context(), w.input("r4", prompted("r4"))); !named.Is(err, named.RunCancelled) {
		t.Fatal(err)
	}
}
