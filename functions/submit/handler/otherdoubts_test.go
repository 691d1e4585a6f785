package handler

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
)

// TestAnnouncedAtOnce: the other runs of the workflow are told of a doubt in the
// call that meets it, and by a call that finds one whose own call died.
func TestAnnouncedAtOnce(t *testing.T) {
	for _, dies := range []bool{false, true} {
		t.Run(fmt.Sprintf("dies %v", dies), func(t *testing.T) {
			w := witnessed(t)
			in := w.input("r1", prompted("r1"))
			w.Around = func(call string, do func() error) error {
				if call != "StartTask" {
					return do()
				}
				_ = do()
				if dies {
					panic(killed{})
				}
				return errNetwork
			}
			w.once(in)
			w.Around = nil
			if announced := len(w.S3.Keys(stateBucket, "doubt/wf-1/r1")) == 1; announced == dies {
				t.Errorf("announced: %v", announced)
			}
			w.once(in)
			if len(w.S3.Keys(stateBucket, "doubt/wf-1/r1")) != 1 {
				t.Error("not announced by the next call")
			}
			w.submits("r1", in)
		})
	}
}

// TestOthersWait: while a run of the workflow is in doubt no other one posts. It
// posts as soon as the doubt is decided, and after ten minutes whatever became of it.
func TestOthersWait(t *testing.T) {
	tests := []struct {
		name    string
		request string // "": r2's prompt alone
		prepare func(w *world)
		asleep  func(w *world)
		least   time.Duration
		most    time.Duration
	}{
		{name: "decided meanwhile", asleep: func(w *world) {
			if w.Now.After(began.Add(50 * time.Second)) {
				w.once(w.input("r1", prompted("r1")))
			}
		}, least: 80 * time.Second, most: 95 * time.Second}, // and half of the spread
		{name: "decided meanwhile, with little time left", request: `{"workflow":"text-to-image@2","parameters":{"prompt":"r2"},"max_seconds":60}`, asleep: func(w *world) {
			if w.Now.After(began.Add(50 * time.Second)) {
				w.once(w.input("r1", prompted("r1")))
			}
		}, least: 50 * time.Second, most: 60 * time.Second},
		{name: "never decided", least: 10 * time.Minute, most: 12 * time.Minute},
		{name: "another workflow's", prepare: func(w *world) { w.Cyberun.Flow.ID = "wf-2" }, most: 2 * time.Second},
		{name: "closed in doubt, with a person to decide", prepare: func(w *world) {
			w.fail("r1", named.Errorf(named.SubmitOutcomeUnknown, "x"))
		}, least: 9 * time.Minute, most: 12 * time.Minute},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w, _ := doubtful(t, true)
			if test.prepare != nil {
				test.prepare(w)
			}
			busy := false
			w.Asleep = func() {
				if test.asleep != nil && !busy {
					busy = true
					test.asleep(w)
					busy = false
				}
			}
			begun := w.Now
			in := w.input("r2", cmp.Or(test.request, prompted("r2")))
			out, _, err, _ := w.once(in)
			if named.Is(err, named.WorkflowInDoubt) && test.least > maxOthers {
				out, err = w.drive(in)
			}
			if err != nil { // nor is the workflow's Date that of minutes ago
				t.Fatal(err)
			}
			if took := w.Now.Sub(begun); took < test.least || took > test.most {
				t.Errorf("posted after %s", took)
			}
			if w.checkNoTraces("r2"); w.Cyberun.Of(out.TaskID).Parameters["prompt"] != "r2" || len(w.Cyberun.Paid("r2")) != 1 {
				t.Errorf("has %s of %v", out.TaskID, w.Cyberun.Paid("r2"))
			}
		})
	}
}

// TestWorkflowInDoubt is what a call ends with whose patience is over, and costs
// no POST; within max_seconds it is retried.
func TestWorkflowInDoubt(t *testing.T) {
	w, _ := doubtful(t, true)
	begun := w.Now
	_, name, err, _ := w.once(w.input("r2", prompted("r2")))
	namedtest.Want(t, err, named.WorkflowInDoubt, "r1")
	if waited := w.Now.Sub(begun); name != named.WorkflowInDoubt || waited < 5*time.Minute || waited > 6*time.Minute {
		t.Errorf("Step Functions sees %q after %s", name, waited)
	}
	if record := w.Run("r2"); record.Submission != nil || len(w.Cyberun.Paid("r2")) > 0 {
		t.Errorf("%+v", record.Record)
	}
	_, _, err, _ = w.once(w.input("r3", `{"workflow":"text-to-image","parameters":{"prompt":"r3"},"max_seconds":60}`))
	namedtest.Want(t, err, named.RunTimedOut, "the run r1 of the same workflow was in doubt")
	if e, _ := named.As(err); len(w.Cyberun.Paid("r3")) > 0 || !strings.Contains(e.Hint, "start a new run; nothing was paid") {
		t.Errorf("paid %v, advised %q", w.Cyberun.Paid("r3"), e.Hint)
	}
}

// TestDoubtIsNotRenewed: its age is that of the doubt, so looking into it
// again does not renew it.
func TestDoubtIsNotRenewed(t *testing.T) {
	w, in := doubtful(t, true)
	w.mark("r9", began)
	before, _ := w.S3.Object(stateBucket, "doubt/wf-1/r1")
	w.once(in)
	w.Now = began.Add(time.Minute)
	w.once(in)
	if after, _ := w.S3.Object(stateBucket, "doubt/wf-1/r1"); !after.Modified.Equal(before.Modified) {
		t.Errorf("announced at %s, and again at %s", before.Modified, after.Modified)
	}
}

// TestDoubtDuringAnUpload: an upload takes minutes, in which another run may come into
// doubt. What counts is whether one is in doubt when the run would post.
func TestDoubtDuringAnUpload(t *testing.T) {
	w := witnessed(t)
	in := withFile(w, "r2")
	w.Around = func(call string, do func() error) error {
		if call != "Upload" {
			return do()
		}
		w.Around = func(call string, do func() error) error {
			err := do()
			if call == "StartTask" {
				return errNetwork
			}
			return err
		}
		w.once(w.input("r1", prompted("r1")))
		w.Around = nil
		return do()
	}
	_, _, err, _ := w.once(in)
	namedtest.Want(t, err, named.WorkflowInDoubt, "r1")
	if len(w.Cyberun.Paid("r1")) != 1 || len(w.Cyberun.Paid("r2")) > 0 || len(w.Cyberun.Uploads) != 1 {
		t.Errorf("paid %v and %v, uploaded %v", w.Cyberun.Paid("r1"), w.Cyberun.Paid("r2"), w.Cyberun.Uploads)
	}
}
