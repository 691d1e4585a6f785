package handler

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// decide stores a person's decision, as POST /runs/{id}/outcome does.
func (w *world) decide(runID string, decision run.Decision) {
	w.T.Helper()
	decision.DecidedBy, decision.DecidedAt = "arn:aws:iam::123456789012:user/p", w.Now
	if _, err := w.Runs().DecideOutcome(w.T.Context(), runID, decision, nil); err != nil {
		w.T.Fatal(err)
	}
}

// TestDecision: it settles the submission it speaks of, and no other one.
func TestDecision(t *testing.T) {
	// undecided is a run closed in doubt: a rival was about.
	undecided := func(t *testing.T, started bool) (*world, Input) {
		w, in := doubtful(t, started)
		w.Cyberun.Strangers(2, workflowID, began.Add(time.Second))
		_, err := w.drive(in)
		namedtest.Want(t, err, named.SubmitOutcomeUnknown, "")
		w.fail("r1", err)
		return w, in
	}
	t.Run("its task", func(t *testing.T) {
		w, in := undecided(t, true)
		mine := w.Cyberun.Paid("r1")[0]
		w.decide("r1", run.Decision{TaskID: mine})
		w.submits("r1", w.redrive(in))
		record := w.Run("r1")
		if record.Evidence != run.ByExclusion || w.ownership(mine).MayCancel("r1") {
			t.Errorf("%+v: a person's decision is no receipt", record.Record)
		}
		if record.Adopted {
			t.Error("a person said so: it was not adopted")
		}
	})
	t.Run("none started", func(t *testing.T) {
		w, in := undecided(t, false)
		begun := w.Now
		w.decide("r1", run.Decision{NotStarted: true})
		w.submits("r1", w.redrive(in))
		if w.Now.Sub(begun) > 5*time.Second {
			t.Errorf("it went on to look, for %s", w.Now.Sub(begun))
		}
	})
	t.Run("none started, and refused then", func(t *testing.T) {
		w, in := undecided(t, false)
		w.decide("r1", run.Decision{NotStarted: true})
		w.Cyberun.Refuse = func() error { return functiontest.Refused(http.StatusBadRequest) }
		_, _, err, _ := w.once(w.redrive(in))
		namedtest.Want(t, err, named.RunRejected, "")
		if w.checkNoTraces("r1"); w.Run("r1").InDoubt() {
			t.Error("it is still in doubt")
		}
	})
	t.Run("none started, of an earlier attempt", func(t *testing.T) {
		w, in := undecided(t, false)
		w.decide("r1", run.Decision{NotStarted: true})
		in = w.redrive(in)
		w.Around = loses(true) // the second POST's reply is lost as well
		_, name, err, _ := w.once(in)
		if w.Around = nil; name != named.SubmitInDoubt {
			t.Fatal(err)
		}
		w.submits("r1", in)
	})
	t.Run("a task that another run is known to have started", func(t *testing.T) {
		w, in := undecided(t, true)
		theirs := w.Cyberun.Paid("a stranger's")[0]
		w.own(theirs, named9(run.ByReceipt))
		w.decide("r1", run.Decision{TaskID: theirs})
		_, _, err, _ := w.once(w.redrive(in))
		if err == nil || w.Run("r1").TaskID != "" {
			t.Errorf("took it: %v", err)
		}
	})
	t.Run("in every setting", func(t *testing.T) {
		for _, setting := range []DoubtPolicy{PolicyVerify, PolicyAbsentOnly, PolicyAsk} {
			w, in := undecided(t, true)
			w.inDoubt = setting
			w.decide("r1", run.Decision{TaskID: w.Cyberun.Paid("r1")[0]})
			w.submits("r1", w.redrive(in))
		}
	})
	t.Run("and a death at each call after it", func(t *testing.T) {
		for _, started := range []bool{true, false} {
			for n := 1; ; n++ {
				w, in := undecided(t, started)
				decision := run.Decision{NotStarted: !started}
				if started {
					decision.TaskID = w.Cyberun.Paid("r1")[0]
				}
				w.decide("r1", decision)
				in = w.redrive(in)
				count := 0
				w.Around = func(_ string, do func() error) error {
					err := do()
					if count++; count == n {
						panic(killed{})
					}
					return err
				}
				out, err := w.drive(in)
				if count < n {
					break
				}
				if err != nil {
					// The task of a second POST whose receipt was lost stands among strangers' by then.
					namedtest.Want(t, err, named.SubmitOutcomeUnknown, "")
					if started {
						t.Errorf("killed after call %d: %v", n, err)
					}
					if len(w.Cyberun.Paid("r1")) > 1 {
						t.Errorf("killed after call %d: paid %v", n, w.Cyberun.Paid("r1"))
					}
					continue
				}
				if w.checkSettled("r1", out); t.Failed() {
					t.Fatalf("started %v, killed after call %d", started, n)
				}
			}
		}
	})
}

// TestFreshStack: the first POST of all is answered 503. Nothing has ever been
// seen in the list, so nothing is believed to be absent from it.
func TestFreshStack(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	w.lose("r1", false)
	begun := w.Now
	_, err := w.drive(in)
	namedtest.Want(t, err, named.SubmitOutcomeUnknown, "this stack has not yet seen a task of its own in the list")
	namedtest.Want(t, err, named.SubmitOutcomeUnknown, "--not-started")
	if len(w.Cyberun.Started) > 0 || w.Now.Sub(begun) > 3*time.Minute {
		t.Errorf("paid %v, %s on", w.Cyberun.Started, w.Now.Sub(begun))
	}
	w.fail("r1", err)
	w.decide("r1", run.Decision{NotStarted: true})
	w.submits("r1", w.redrive(in))
}

// TestInDoubt: what each setting does by itself, and what it leaves to a person.
func TestInDoubt(t *testing.T) {
	tests := []struct {
		setting   DoubtPolicy
		started   bool
		strangers int
		want      string // "": it goes on by itself
		text      string
		posts     int
	}{
		{setting: PolicyVerify, started: true, posts: 1},
		{setting: PolicyVerify, posts: 2},
		{setting: PolicyVerify, started: true, strangers: 1, want: named.SubmitOutcomeUnknown, text: "2 tasks could be this run's", posts: 1},
		{setting: PolicyAbsentOnly, started: true, want: named.SubmitOutcomeUnknown, text: "InDoubt=absent-only", posts: 1},
		{setting: PolicyAbsentOnly, posts: 2},
		{setting: PolicyAbsentOnly, strangers: 1, want: named.SubmitOutcomeUnknown, text: "InDoubt=absent-only", posts: 1},
		{setting: PolicyAsk, started: true, want: named.SubmitOutcomeUnknown, text: "InDoubt=stop", posts: 1},
		{setting: PolicyAsk, want: named.SubmitOutcomeUnknown, text: "InDoubt=stop", posts: 1},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s, started %v, %d strangers'", test.setting, test.started, test.strangers), func(t *testing.T) {
			w, in := doubtful(t, test.started)
			w.inDoubt = test.setting
			w.Cyberun.Strangers(test.strangers, workflowID, began.Add(time.Second))
			posts := 1
			w.Around = func(call string, do func() error) error {
				if call == "StartTask" {
					posts++
				}
				return do()
			}
			out, err := w.drive(in)
			if posts != test.posts || len(w.Cyberun.Paid("r1")) > 1 {
				t.Errorf("%d POSTs, paid %v", posts, w.Cyberun.Paid("r1"))
			}
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				w.checkSettled("r1", out)
				return
			}
			namedtest.Want(t, err, test.want, test.text)
			namedtest.Want(t, err, test.want, "relay decide")
			record := w.Run("r1")
			want := test.strangers
			if test.started {
				want++
			}
			if len(record.Candidates) != want || !record.InDoubt() {
				t.Errorf("candidates %+v", record.Candidates)
			}
		})
	}
}

// TestFoundInEverySetting: a task that the run is known to have started is no
// candidate; whatever the setting, it is the run's.
func TestFoundInEverySetting(t *testing.T) {
	for _, setting := range []DoubtPolicy{PolicyVerify, PolicyAbsentOnly, PolicyAsk} {
		for _, how := range []run.Evidence{run.ByReceipt, run.ByExclusion} {
			t.Run(fmt.Sprintf("%s, %s", setting, how), func(t *testing.T) {
				w, in := doubtful(t, true)
				w.inDoubt = setting
				w.own(w.Cyberun.Paid("r1")[0], run.Ownership{StartedBy: "r1", Evidence: how, DeliveredBy: "r1"})
				w.submits("r1", in)
			})
		}
	}
}
