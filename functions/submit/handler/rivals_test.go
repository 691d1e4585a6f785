package handler

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// TestRivals: two runs lost their replies at once. If only one has a task neither
// may take it; neither may post again, and no redrive changes that.
func TestRivals(t *testing.T) {
	for _, both := range []bool{true, false} {
		t.Run(fmt.Sprintf("both started %v", both), func(t *testing.T) {
			w := witnessed(t)
			w.loseTogether("r1", true, "r2", both)
			ins := map[string]Input{"r1": w.input("r1", prompted("r1")), "r2": w.input("r2", prompted("r2"))}
			for range 2 {
				for _, id := range []string{"r1", "r2"} {
					_, err := w.drive(ins[id])
					namedtest.Want(t, err, named.SubmitOutcomeUnknown, w.Cyberun.Paid("r1")[0])
					w.fail(id, err)
					ins[id] = w.redrive(ins[id])
				}
			}
			paid := 2 // with the witness
			if both {
				paid = 3
			}
			if len(w.Cyberun.Started) != paid {
				t.Errorf("%d tasks", len(w.Cyberun.Started))
			}
		})
	}
}

// TestRivalSettles: the other run's task turns up, so the rest is ours.
func TestRivalSettles(t *testing.T) {
	w := witnessed(t)
	w.loseTogether("r1", true, "r2", true)
	w.Now = began.Add(time.Minute)
	_, _, err, _ := w.once(w.input("r1", prompted("r1")))
	namedtest.Want(t, err, named.SubmitInDoubt, "posted at that time as well")
	second := w.Run("r2") // its first call lives on, and has the receipt
	if _, err := w.Runs().Accept(w.Lambda(lambdaTime), second, w.Cyberun.Paid("r2")[0]); err != nil {
		t.Fatal(err)
	}
	out, err := w.drive(w.input("r1", prompted("r1")))
	if err != nil || out.TaskID != w.Cyberun.Paid("r1")[0] {
		t.Fatalf("%+v, %v", out, err)
	}
}

// TestOwnedJustNow: of two runs that would adopt one task the ownership lets one through.
func TestOwnedJustNow(t *testing.T) {
	tests := []struct {
		name string
		o    run.Ownership
		want string // "": found
	}{
		{name: "another's receipt", o: named9(run.ByReceipt), want: "found to be the run r9's"},
		{name: "another's exclusion", o: named9(run.ByExclusion), want: "found to be the run r9's"},
		{name: "another's candidate: exclusion is surer", o: run.Ownership{StartedBy: "r9", Evidence: run.AsCandidate}},
		{name: "its own", o: run.Ownership{StartedBy: "r1", Evidence: run.ByExclusion, DeliveredBy: "r1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w, in := doubtful(t, true)
			mine := w.Cyberun.Paid("r1")[0]
			w.Now = began.Add(time.Minute)
			w.Around = func(call string, do func() error) error {
				if call == "PutObject state/tasks/"+mine {
					w.Around = nil
					w.own(mine, test.o)
				}
				return do()
			}
			out, _, err, _ := w.once(in)
			if test.want == "" {
				if err != nil || out.TaskID != mine {
					t.Errorf("%+v, %v", out, err)
				}
				return
			}
			namedtest.Want(t, err, named.SubmitInDoubt, test.want)
			if record := w.Run("r1"); record.TaskID != "" {
				t.Error("adopted all the same")
			}
		})
	}
}

// TestMarkersOfTwoCalls: a second live call of one run marks while the first one's
// POST is under way. A third party in doubt must still see the first one's window.
func TestMarkersOfTwoCalls(t *testing.T) {
	w := witnessed(t)
	in := w.input("r1", prompted("r1"))
	depth := 0
	w.Around = func(call string, do func() error) error {
		switch {
		case depth == 0 && strings.HasPrefix(call, "PutObject state/submitting/wf-1/r1/"):
			// The second call has read the record without a mark by now, and its
			// marker comes last.
			depth++
			err := do()
			second := w.Around
			w.Around = nil
			first := w.handler()
			first.Cyberun = held{w.Cyberun}
			if _, err := first.Handle(t.Context(), in); err == nil {
				t.Error("the first call was to lose its reply")
			}
			w.Around = second
			return err
		}
		return do()
	}
	_, _, err, _ := w.once(in) // finds the first one's mark
	namedtest.Want(t, err, named.SubmitInDoubt, "another call")
	w.Around = nil
	if got := w.S3.Keys(stateBucket, "submitting/wf-1/r1/"); len(got) != 1 || !strings.HasSuffix(got[0], "/"+w.Run("r1").Submission.AttemptID) {
		t.Errorf("markers %v", got)
	}
}

// held loses every receipt.
type held struct{ *functiontest.Cyberun }

func (h held) StartTask(ctx context.Context, ref string, parameters map[string]any) (string, error) {
	if _, err := h.Cyberun.StartTask(ctx, ref, parameters); err != nil {
		return "", err
	}
	return "", &cyberun.StartError{Err: errNetwork}
}

// TestStoppedInDoubt says so: "nothing was submitted" would be a guess.
func TestStoppedInDoubt(t *testing.T) {
	w, in := doubtful(t, true)
	w.stop("r1")
	_, err := w.drive(in)
	namedtest.Want(t, err, named.RunCancelled, "in doubt")
	if w.Cyberun.Of(w.Cyberun.Paid("r1")[0]).Status == cyberun.StatusCancelled {
		t.Error("a task that is only a candidate was cancelled")
	}
	w.Executions.End("r1", executions.Aborted, err)
	w.Close("r1")
	if len(w.S3.Keys(stateBucket, "submitting/wf-1/r1/")) == 0 {
		t.Error("the marker is gone: another run could adopt its task")
	}
}
