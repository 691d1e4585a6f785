package handler

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
)

func candidateOf(runID string) store.Claim { return store.Claim{RunID: runID, Candidate: true} }

// doubtful is a world in which r1's POST was made, started a task or not, and was
// never answered.
func doubtful(t *testing.T, started bool) (*world, Input) {
	t.Helper()
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	w.lose("r1", started)
	return w, in
}

func (w *world) lose(runID string, started bool) {
	w.t.Helper()
	w.around = func(call string, do func() error) error {
		if call != "Run" {
			return do()
		}
		if started {
			_ = do()
		}
		return errNetwork
	}
	_, name, err, _ := w.once(w.input(runID, prompted(runID)))
	if w.around = nil; name != named.SubmitInDoubt {
		w.t.Fatal(err)
	}
}

// others starts tasks of other people, a second apart, from that time on.
func (w *world) others(n int, workflow string, at time.Time) {
	for i := range n {
		id := w.service.start(map[string]any{"prompt": "somebody else's"})
		t := w.service.task(id)
		t.WorkflowID, t.CreatedAt.Time = workflow, at.Add(time.Duration(i)*time.Second)
	}
	slices.SortStableFunc(w.service.tasks, func(a, b remoteTask) int { return a.CreatedAt.Compare(b.CreatedAt.Time) })
}

// TestKeyRevokedInDoubt: no waiting mends it, and the mark outlives the close.
func TestKeyRevokedInDoubt(t *testing.T) {
	w, in := doubtful(t, true)
	w.around = func(call string, do func() error) error {
		if call == "Tasks" {
			return answered(http.StatusUnauthorized)
		}
		return do()
	}
	_, err := w.drive(in)
	wantName(t, err, named.Unauthorized, "ApiKeySecretArn")
	closeFailed(w, "r1")
	w.around = nil
	out, err := w.drive(in)
	if err != nil {
		t.Fatal(err)
	}
	w.checkSettled("r1", out)
}

// TestNotBeforeItSettles: the list is not believed before post_until + 10 s.
func TestNotBeforeItSettles(t *testing.T) {
	w, in := doubtful(t, false)
	for w.now.Before(began.Add(DefaultWaits.Post + DefaultWaits.Settle - time.Second)) {
		_, _, err, _ := w.once(in)
		wantName(t, err, named.SubmitInDoubt, "")
		if record, _ := w.records().Get(t.Context(), "r1"); !record.Submission.EmptyAt.IsZero() {
			t.Fatalf("an empty list was believed at %s", w.now.Sub(began))
		}
		w.now = w.now.Add(3 * time.Second)
	}
}

// TestTwoLooks: a task that is slow to be listed is not paid twice.
func TestTwoLooks(t *testing.T) {
	w, in := doubtful(t, true)
	w.now = began.Add(DefaultWaits.Post + DefaultWaits.Settle + 2*time.Second)
	w.service.lag = w.now.Sub(began) + 10*time.Second
	_, _, err, _ := w.once(in)
	wantName(t, err, named.SubmitInDoubt, "second look")
	_, _, err, _ = w.once(in)
	wantName(t, err, named.SubmitInDoubt, "second look")
	w.now = w.now.Add(DefaultWaits.Between)
	out, _, err, _ := w.once(in)
	if err != nil {
		t.Fatal(err)
	}
	w.checkSettled("r1", out)
}

// TestWhoseTask it is when there is one, and others are about.
func TestWhoseTask(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(w *world, mine string)
		want    string // "": adopted
		names   int    // candidates that the cause names
	}{
		{"nobody else", func(*world, string) {}, "", 0},
		{"another's, claimed", func(w *world, _ string) {
			w.others(1, workflowID, began.Add(time.Second))
			w.claim(w.theirs(), store.Claim{RunID: "r9"})
		}, "", 0},
		{"another's, unclaimed", func(w *world, _ string) { w.others(1, workflowID, began.Add(time.Second)) }, named.SubmitOutcomeUnknown, 2},
		{"another workflow's", func(w *world, _ string) { w.others(3, "wf-2", began.Add(time.Second)) }, "", 0},
		{"just before the window", func(w *world, _ string) { w.others(1, workflowID, began.Add(-6*time.Second)) }, "", 0},
		{"just after the window", func(w *world, _ string) { w.others(1, workflowID, began.Add(32*time.Second)) }, "", 0},
		{"mine, claimed before a crash", func(w *world, mine string) { w.claim(mine, store.Claim{RunID: "r1"}) }, "", 0},
		{"mine, but a candidate of another", func(w *world, mine string) { w.claim(mine, candidateOf("r9")) }, named.SubmitOutcomeUnknown, 1},
		{"a candidate of mine", func(w *world, mine string) { w.claim(mine, candidateOf("r1")) }, named.SubmitOutcomeUnknown, 1},
		{"another in doubt at that time", func(w *world, _ string) { w.mark("r9", began) }, named.SubmitOutcomeUnknown, 1},
		{"another in doubt an hour ago", func(w *world, _ string) { w.mark("r9", began.Add(-time.Hour)) }, "", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w, in := doubtful(t, true)
			mine := w.service.paid("r1")[0]
			test.prepare(w, mine)
			out, err := w.drive(in)
			record, _ := w.records().Get(t.Context(), "r1")
			if test.want == "" {
				if err != nil || out.TaskID != mine || !record.Adopted {
					t.Fatalf("%+v, %v", out, err)
				}
				return
			}
			wantName(t, err, test.want, mine)
			if len(record.Candidates) != test.names || len(w.service.paid("r1")) != 1 || !record.InDoubt() {
				t.Errorf("%+v", record)
			}
			for _, id := range record.Candidates {
				if claim, err := w.records().ClaimOf(t.Context(), id); err != nil || !claim.Candidate {
					t.Errorf("%s: %+v, %v: any run could adopt it", id, claim, err)
				}
			}
		})
	}
}

// theirs is the task that others started.
func (w *world) theirs() string {
	return w.service.paid("somebody else's")[0]
}

func (w *world) claim(taskID string, c store.Claim) {
	if _, err := w.records().Claim(w.t.Context(), taskID, c); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) mark(runID string, at time.Time) {
	s := run.Submission{Attempt: "a", MarkedAt: at, PostUntil: at.Add(DefaultWaits.Post)}
	if err := w.records().PutMarker(w.t.Context(), workflowID, s.Marker(runID)); err != nil {
		w.t.Fatal(err)
	}
}

// TestRivals: two runs lost their replies at once and only one has a task. Neither
// may take it, neither may post again, and no redrive changes that.
func TestRivals(t *testing.T) {
	for _, both := range []bool{true, false} {
		t.Run(fmt.Sprintf("both started %v", both), func(t *testing.T) {
			w, in := doubtful(t, true)
			w.lose("r2", both)
			for _, in := range []Input{in, w.input("r2", prompted("r2")), in, w.input("r2", prompted("r2"))} {
				_, err := w.drive(in)
				wantName(t, err, named.SubmitOutcomeUnknown, w.service.tasks[0].ID)
				closeFailed(w, in.RunID)
			}
			paid := 1
			if both {
				paid = 2
			}
			if len(w.service.tasks) != paid {
				t.Errorf("%d tasks", len(w.service.tasks))
			}
		})
	}
}

// TestRivalSettles: the other run's task turns up, so the rest is ours.
func TestRivalSettles(t *testing.T) {
	w, in := doubtful(t, true)
	w.lose("r2", false)
	w.now = began.Add(time.Minute)
	_, _, err, _ := w.once(in)
	wantName(t, err, named.SubmitInDoubt, "in doubt as well")
	if err := w.records().ClearMarkers(t.Context(), workflowID, "r2"); err != nil { // proven absent by other means
		t.Fatal(err)
	}
	out, err := w.drive(in)
	if err != nil || out.TaskID != w.service.paid("r1")[0] {
		t.Fatalf("%+v, %v", out, err)
	}
}

// TestClaimedJustNow: of two runs that would adopt one task the claim lets one through.
func TestClaimedJustNow(t *testing.T) {
	for _, claim := range []store.Claim{{RunID: "r9"}, candidateOf("r9"), candidateOf("r1")} {
		w, in := doubtful(t, true)
		mine := w.service.tasks[0].ID
		w.now = began.Add(time.Minute)
		w.around = func(call string, do func() error) error {
			if call == "PutObject state/tasks/"+mine {
				w.around = nil
				w.claim(mine, claim)
			}
			return do()
		}
		_, _, err, _ := w.once(in)
		wantName(t, err, named.SubmitInDoubt, "claimed")
		if record, _ := w.records().Get(t.Context(), "r1"); record.TaskID != "" {
			t.Errorf("%+v: adopted all the same", claim)
		}
	}
}

// TestStopsInDoubt: with InDoubt=stop nothing is adopted and nothing posted again.
func TestStopsInDoubt(t *testing.T) {
	for _, started := range []bool{true, false} {
		t.Run(fmt.Sprint(started), func(t *testing.T) {
			w, in := doubtful(t, started)
			w.stop = true
			_, err := w.drive(in)
			wantName(t, err, named.SubmitOutcomeUnknown, "InDoubt=stop")
			if got := len(w.service.paid("r1")); got > 1 || started != (got == 1) {
				t.Errorf("%d tasks", got)
			}
			if started {
				wantName(t, err, named.SubmitOutcomeUnknown, w.service.tasks[0].ID)
			}
		})
	}
}

// TestMarkersOfTwoCalls: a second live call of one run marks while the first one's
// POST is under way. A third party in doubt must still see the first one's window.
func TestMarkersOfTwoCalls(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	w.lose("r2", false) // never started; what it finds could only be r1's
	depth := 0
	w.around = func(call string, do func() error) error {
		switch {
		case depth == 0 && strings.HasPrefix(call, "PutObject state/submitting/wf-1/r1/"):
			// The second call has read the record without a mark by now, and its
			// marker comes last.
			depth++
			err := do()
			second := w.around
			w.around = nil
			first := w.handler()
			first.Cyberun = held{w.service, w}
			if _, err := first.Handle(t.Context(), in); err == nil {
				t.Error("the first call was to lose its reply")
			}
			w.around = second
			w.now = w.now.Add(4 * time.Minute)
			return err
		}
		return do()
	}
	_, _, err, _ := w.once(in) // finds the first one's mark
	wantName(t, err, named.SubmitInDoubt, "another call")
	w.around = nil
	_, _, err, _ = w.once(w.input("r2", prompted("r2")))
	wantName(t, err, named.SubmitInDoubt, "in doubt as well")
}

// held loses every receipt.
type held struct {
	*service
	w *world
}

func (h held) Run(ctx context.Context, ref string, parameters map[string]any) (cyberun.RunReceipt, error) {
	if _, err := h.service.Run(ctx, ref, parameters); err != nil {
		return cyberun.RunReceipt{}, err
	}
	return cyberun.RunReceipt{}, &cyberun.RunError{Outcome: cyberun.InDoubt, Err: errNetwork}
}
