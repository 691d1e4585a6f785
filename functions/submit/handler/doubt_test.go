package handler

import (
	"net/http"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// doubtful is a world in which r1's POST was made, started a task or not, and was
// never answered. The stack has had a run before.
func doubtful(t *testing.T, started bool) (*world, Input) {
	t.Helper()
	w := witnessed(t)
	in := w.input("r1", prompted("r1"))
	w.lose("r1", started)
	return w, in
}

// lose lets a run's POST be made and its reply be lost.
func (w *world) lose(runID string, started bool) {
	w.T.Helper()
	w.Around = loses(started)
	_, name, err, _ := w.once(w.input(runID, prompted(runID)))
	if w.Around = nil; name != named.SubmitInDoubt {
		w.T.Fatal(err)
	}
}

// loses is a wire on which every reply to a POST is lost.
func loses(started bool) func(string, func() error) error {
	return func(call string, do func() error) error {
		if call != "StartTask" {
			return do()
		}
		if started {
			_ = do()
		}
		return errNetwork
	}
}

// loseTogether lets the POSTs of two runs be under way at once and both replies
// be lost: after the first doubt is announced no other run posts.
func (w *world) loseTogether(runID string, started bool, otherID string, otherStarted bool) {
	w.T.Helper()
	w.Around = func(call string, do func() error) error {
		if call != "StartTask" {
			return do()
		}
		w.Around = loses(otherStarted)
		if _, name, err, _ := w.once(w.input(otherID, prompted(otherID))); name != named.SubmitInDoubt {
			w.T.Fatal(err)
		}
		if started {
			_ = do()
		}
		return errNetwork
	}
	_, name, err, _ := w.once(w.input(runID, prompted(runID)))
	if w.Around = nil; name != named.SubmitInDoubt {
		w.T.Fatal(err)
	}
}

// own writes what is known of a task, as a run of this stack would have.
func (w *world) own(taskID string, o run.Ownership) {
	w.Set("tasks/"+taskID, o)
}

// mark leaves the marker of another run whose POST was made at that time of
// Cyberun's clock.
func (w *world) mark(runID string, at time.Time) {
	s := run.Submission{AttemptID: "a", MarkedAt: at, PostUntil: at.Add(DefaultWaits.Post)}
	w.Set("submitting/"+workflowID+"/"+runID+"/a", s.Marker(runID))
}

func named9(how run.Evidence) run.Ownership {
	return run.Ownership{StartedBy: "r9", Evidence: how, DeliveredBy: "r9"}
}

// TestKeyRevokedInDoubt: no waiting mends it, and the mark outlives the close.
func TestKeyRevokedInDoubt(t *testing.T) {
	w, in := doubtful(t, true)
	w.Fails("Tasks", functiontest.Answered(http.StatusUnauthorized))
	_, err := w.drive(in)
	namedtest.Want(t, err, named.Unauthorized, "ApiKeySecretArn")
	w.Around = nil
	w.fail("r1", err)
	if len(w.S3.Keys(stateBucket, "submitting/wf-1/r1/")) == 0 {
		t.Error("the marker of a run closed in doubt is gone: another run could adopt its task")
	}
	w.submits("r1", w.redrive(in))
}

// TestNotBeforeItSettles: the list is not even read before post_until + 10 s.
func TestNotBeforeItSettles(t *testing.T) {
	w, in := doubtful(t, false)
	w.Around = func(call string, do func() error) error {
		if call == "Tasks" {
			t.Errorf("the list was read at %s", w.Now.Sub(began))
		}
		return do()
	}
	for w.Now.Before(began.Add(DefaultWaits.Post + DefaultWaits.Settle - time.Second)) {
		_, _, err, _ := w.once(in)
		namedtest.Want(t, err, named.SubmitInDoubt, "12:00:35")
		if !w.Run("r1").Submission.EmptyAt.IsZero() {
			t.Fatalf("an empty list was believed at %s", w.Now.Sub(began))
		}
		w.Now = w.Now.Add(3 * time.Second)
	}
}

// TestTwoLooks: a task that is slow to be listed is not paid twice.
func TestTwoLooks(t *testing.T) {
	w, in := doubtful(t, true)
	w.Now = began.Add(DefaultWaits.Post + DefaultWaits.Settle + 2*time.Second)
	w.Cyberun.Lag = w.Now.Sub(began) + 10*time.Second
	_, _, err, _ := w.once(in)
	namedtest.Want(t, err, named.SubmitInDoubt, "second look")
	_, _, err, _ = w.once(in)
	namedtest.Want(t, err, named.SubmitInDoubt, "second look")
	w.Now = w.Now.Add(DefaultWaits.Between)
	out, _, err, _ := w.once(in)
	if err != nil {
		t.Fatal(err)
	}
	w.checkSettled("r1", out)
}

// TestSecondLookIsLateEnough: two looks at least 30 s apart, the second at least
// 60 s after post_until. Until then nothing is posted again.
func TestSecondLookIsLateEnough(t *testing.T) {
	tests := []struct {
		name          string
		first, second time.Duration // since the mark
		again         bool
	}{
		{name: "29 s apart, late", first: 100 * time.Second, second: 129 * time.Second},
		{name: "30 s apart, late", first: 100 * time.Second, second: 131 * time.Second, again: true},
		{name: "40 s apart, early", first: 40 * time.Second, second: 80 * time.Second},
		{name: "40 s apart, at 60 s after post_until", first: 40 * time.Second, second: 86 * time.Second, again: true},
		{name: "one look alone, hours on", first: 3 * time.Hour, second: 3 * time.Hour},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w, in := doubtful(t, false)
			w.Now = began.Add(test.first)
			_, _, err, _ := w.once(in)
			namedtest.Want(t, err, named.SubmitInDoubt, "second look")
			w.Now = began.Add(test.second)
			_, _, err, _ = w.once(in)
			if (err == nil) != test.again || len(w.Cyberun.Paid("r1")) > 0 != test.again {
				t.Errorf("%v, paid %v", err, w.Cyberun.Paid("r1"))
			}
		})
	}
}

// TestFirstLookThatIsNotGood counts for nothing: the next good one is the first.
func TestFirstLookThatIsNotGood(t *testing.T) {
	w, in := doubtful(t, false)
	w.Now = began.Add(100 * time.Second)
	w.Cyberun.Cached = 10 * time.Second
	_, _, err, _ := w.once(in)
	namedtest.Want(t, err, named.SubmitInDoubt, "from a cache")
	w.Cyberun.Cached = 0
	w.Now = began.Add(140 * time.Second)
	_, _, err, _ = w.once(in)
	namedtest.Want(t, err, named.SubmitInDoubt, "second look")
	w.Now = began.Add(180 * time.Second)
	if out, _, err, _ := w.once(in); err != nil {
		t.Error(err)
	} else {
		w.checkSettled("r1", out)
	}
}

// TestWhoseTask it is when there is one, and others are about.
func TestWhoseTask(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(w *world, mine string)
		want    string // "": found
		names   int    // candidates that the record names
	}{
		{name: "nobody else", prepare: func(*world, string) {}},
		{name: "another's by a receipt", prepare: func(w *world, _ string) {
			w.own(w.Cyberun.Strangers(1, workflowID, began.Add(time.Second)), named9(run.ByReceipt))
		}},
		{name: "another's by exclusion", prepare: func(w *world, _ string) {
			w.own(w.Cyberun.Strangers(1, workflowID, began.Add(time.Second)), named9(run.ByExclusion))
		}},
		{name: "another's that was rescued", prepare: func(w *world, _ string) {
			w.own(w.Cyberun.Strangers(1, workflowID, began.Add(time.Second)), run.Ownership{StartedBy: "r9", Evidence: run.ByReceipt, DeliveredBy: "r10"})
		}},
		{name: "a stranger's", prepare: func(w *world, _ string) { w.Cyberun.Strangers(1, workflowID, began.Add(time.Second)) }, want: named.SubmitOutcomeUnknown, names: 2},
		{name: "another workflow's", prepare: func(w *world, _ string) { w.Cyberun.Strangers(3, "wf-2", began.Add(time.Second)) }},
		{name: "just before the window", prepare: func(w *world, _ string) { w.Cyberun.Strangers(1, workflowID, began.Add(-6*time.Second)) }},
		{name: "just after the window", prepare: func(w *world, _ string) { w.Cyberun.Strangers(1, workflowID, began.Add(32*time.Second)) }},
		{name: "mine by exclusion, before a crash", prepare: func(w *world, mine string) {
			w.own(mine, run.Ownership{StartedBy: "r1", Evidence: run.ByExclusion, DeliveredBy: "r1"})
		}},
		{name: "mine by a receipt, beside two strangers'", prepare: func(w *world, mine string) {
			w.Cyberun.Strangers(2, workflowID, began.Add(time.Second))
			w.own(mine, run.Ownership{StartedBy: "r1", Evidence: run.ByReceipt, DeliveredBy: "r1"})
		}},
		{name: "mine, but a candidate of another", prepare: func(w *world, mine string) {
			w.own(mine, run.Ownership{StartedBy: "r9", Evidence: run.AsCandidate})
		}, want: named.SubmitOutcomeUnknown, names: 1},
		{name: "a candidate of mine", prepare: func(w *world, mine string) {
			w.own(mine, run.Ownership{StartedBy: "r1", Evidence: run.AsCandidate})
		}, want: named.SubmitOutcomeUnknown, names: 1},
		{name: "mine, and rescued", prepare: func(w *world, mine string) {
			w.own(mine, run.Ownership{Evidence: run.ByRescue, DeliveredBy: "r9"})
		}, want: named.SubmitOutcomeUnknown, names: 1},
		{name: "another in doubt at that time", prepare: func(w *world, _ string) { w.mark("r9", began) }, want: named.SubmitOutcomeUnknown, names: 1},
		{name: "another in doubt an hour ago", prepare: func(w *world, _ string) { w.mark("r9", began.Add(-time.Hour)) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w, in := doubtful(t, true)
			mine := w.Cyberun.Paid("r1")[0]
			test.prepare(w, mine)
			out, err := w.drive(in)
			record := w.Run("r1")
			if test.want == "" {
				if err != nil || out.TaskID != mine || !record.Adopted || record.Evidence != run.ByExclusion && record.Evidence != run.ByReceipt {
					t.Fatalf("%+v, %v, %+v", out, err, record.Record)
				}
				w.checkNoTraces("r1")
				return
			}
			namedtest.Want(t, err, test.want, mine)
			if len(record.Candidates) != test.names || len(w.Cyberun.Paid("r1")) != 1 || !record.InDoubt() || record.CandidatesAt.IsZero() {
				t.Errorf("%+v", record.Record)
			}
			for _, c := range record.Candidates {
				if o := w.ownership(c.TaskID); o.Evidence.Proves() || o.Evidence == "" {
					t.Errorf("%s: %+v: any run could adopt it", c.TaskID, o)
				}
				if c.TaskStatus != "pending" || c.CreatedAt.IsZero() {
					t.Errorf("a person is told %+v", c)
				}
			}
		})
	}
}
