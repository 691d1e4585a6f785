package handler

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
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
		if call != "Run" {
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
		if call != "Run" {
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
	body, err := json.Marshal(o)
	if err != nil {
		w.T.Fatal(err)
	}
	w.put("tasks/"+taskID, body)
}

func (w *world) put(key string, body []byte) {
	if err := w.Store().Put(w.T.Context(), key, body); err != nil {
		w.T.Fatal(err)
	}
}

// mark leaves the marker of another run whose POST was made at that time of
// Cyberun's clock.
func (w *world) mark(runID string, at time.Time) {
	s := run.Submission{Attempt: "a", MarkedAt: at, PostUntil: at.Add(DefaultWaits.Post)}
	body, err := json.Marshal(s.Marker(runID))
	if err != nil {
		w.T.Fatal(err)
	}
	w.put("submitting/"+workflowID+"/"+runID+"/a", body)
}

func named9(how run.How) run.Ownership {
	return run.Ownership{StartedBy: "r9", How: how, DeliveredBy: "r9"}
}

// TestKeyRevokedInDoubt: no waiting mends it, and the mark outlives the close.
func TestKeyRevokedInDoubt(t *testing.T) {
	w, in := doubtful(t, true)
	w.Fails("Tasks", functiontest.Answered(http.StatusUnauthorized))
	_, err := w.drive(in)
	wantName(t, err, named.Unauthorized, "ApiKeySecretArn")
	w.Around = nil
	w.fail("r1", err)
	if len(w.S3.Keys(stateBucket, "submitting/wf-1/r1/")) == 0 {
		t.Error("the marker of a run closed in doubt is gone: another run could adopt its task")
	}
	w.submits("r1", w.redrive(in))
}

// TestAnnouncedAtOnce: the other runs of the workflow are told of a doubt in the
// call that meets it, and by a call that finds one whose own call died.
func TestAnnouncedAtOnce(t *testing.T) {
	for _, dies := range []bool{false, true} {
		t.Run(fmt.Sprintf("dies %v", dies), func(t *testing.T) {
			w := witnessed(t)
			in := w.input("r1", prompted("r1"))
			w.Around = func(call string, do func() error) error {
				if call != "Run" {
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
			if w.checkNoTraces("r2"); w.Cyberun.Of(out.TaskID).Prompt != "r2" || len(w.Cyberun.Paid("r2")) != 1 {
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
	wantName(t, err, named.WorkflowInDoubt, "r1")
	if waited := w.Now.Sub(begun); name != named.WorkflowInDoubt || waited < 5*time.Minute || waited > 6*time.Minute {
		t.Errorf("Step Functions sees %q after %s", name, waited)
	}
	if record := w.Run("r2"); record.Submission != nil || len(w.Cyberun.Paid("r2")) > 0 {
		t.Errorf("%+v", record.Record)
	}
	_, _, err, _ = w.once(w.input("r3", `{"workflow":"text-to-image","parameters":{"prompt":"r3"},"max_seconds":60}`))
	wantName(t, err, named.RunTimedOut, "the run r1 of the same workflow was in doubt")
	if len(w.Cyberun.Paid("r3")) > 0 {
		t.Error("paid")
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
		wantName(t, err, named.SubmitInDoubt, "12:00:35")
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
	wantName(t, err, named.SubmitInDoubt, "second look")
	_, _, err, _ = w.once(in)
	wantName(t, err, named.SubmitInDoubt, "second look")
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
			wantName(t, err, named.SubmitInDoubt, "second look")
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
	wantName(t, err, named.SubmitInDoubt, "from a cache")
	w.Cyberun.Cached = 0
	w.Now = began.Add(140 * time.Second)
	_, _, err, _ = w.once(in)
	wantName(t, err, named.SubmitInDoubt, "second look")
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
			w.own(w.Cyberun.Strangers(1, workflowID, began.Add(time.Second)), named9(run.Receipt))
		}},
		{name: "another's by exclusion", prepare: func(w *world, _ string) {
			w.own(w.Cyberun.Strangers(1, workflowID, began.Add(time.Second)), named9(run.Exclusion))
		}},
		{name: "another's that was rescued", prepare: func(w *world, _ string) {
			w.own(w.Cyberun.Strangers(1, workflowID, began.Add(time.Second)), run.Ownership{StartedBy: "r9", How: run.Receipt, DeliveredBy: "r10"})
		}},
		{name: "a stranger's", prepare: func(w *world, _ string) { w.Cyberun.Strangers(1, workflowID, began.Add(time.Second)) }, want: named.SubmitOutcomeUnknown, names: 2},
		{name: "another workflow's", prepare: func(w *world, _ string) { w.Cyberun.Strangers(3, "wf-2", began.Add(time.Second)) }},
		{name: "just before the window", prepare: func(w *world, _ string) { w.Cyberun.Strangers(1, workflowID, began.Add(-6*time.Second)) }},
		{name: "just after the window", prepare: func(w *world, _ string) { w.Cyberun.Strangers(1, workflowID, began.Add(32*time.Second)) }},
		{name: "mine by exclusion, before a crash", prepare: func(w *world, mine string) {
			w.own(mine, run.Ownership{StartedBy: "r1", How: run.Exclusion, DeliveredBy: "r1"})
		}},
		{name: "mine by a receipt, beside two strangers'", prepare: func(w *world, mine string) {
			w.Cyberun.Strangers(2, workflowID, began.Add(time.Second))
			w.own(mine, run.Ownership{StartedBy: "r1", How: run.Receipt, DeliveredBy: "r1"})
		}},
		{name: "mine, but a candidate of another", prepare: func(w *world, mine string) {
			w.own(mine, run.Ownership{StartedBy: "r9", How: run.Named})
		}, want: named.SubmitOutcomeUnknown, names: 1},
		{name: "a candidate of mine", prepare: func(w *world, mine string) {
			w.own(mine, run.Ownership{StartedBy: "r1", How: run.Named})
		}, want: named.SubmitOutcomeUnknown, names: 1},
		{name: "mine, and rescued", prepare: func(w *world, mine string) {
			w.own(mine, run.Ownership{How: run.Rescue, DeliveredBy: "r9"})
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
				if err != nil || out.TaskID != mine || !record.Adopted || record.How != run.Exclusion && record.How != run.Receipt {
					t.Fatalf("%+v, %v, %+v", out, err, record.Record)
				}
				w.checkNoTraces("r1")
				return
			}
			wantName(t, err, test.want, mine)
			if len(record.Candidates) != test.names || len(w.Cyberun.Paid("r1")) != 1 || !record.InDoubt() || record.CandidatesAt.IsZero() {
				t.Errorf("%+v", record.Record)
			}
			for _, c := range record.Candidates {
				if o := w.ownership(c.TaskID); o.How.Certain() || o.How == "" {
					t.Errorf("%s: %+v: any run could adopt it", c.TaskID, o)
				}
				if c.TaskStatus != "pending" || c.CreatedAt.IsZero() {
					t.Errorf("a person is told %+v", c)
				}
			}
		})
	}
}

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
					wantName(t, err, named.SubmitOutcomeUnknown, w.Cyberun.Paid("r1")[0])
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
	wantName(t, err, named.SubmitInDoubt, "in doubt as well")
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
		{name: "another's receipt", o: named9(run.Receipt), want: "found to be the run r9's"},
		{name: "another's exclusion", o: named9(run.Exclusion), want: "found to be the run r9's"},
		{name: "another's candidate: exclusion is surer", o: run.Ownership{StartedBy: "r9", How: run.Named}},
		{name: "its own", o: run.Ownership{StartedBy: "r1", How: run.Exclusion, DeliveredBy: "r1"}},
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
			wantName(t, err, named.SubmitInDoubt, test.want)
			if record := w.Run("r1"); record.TaskID != "" {
				t.Error("adopted all the same")
			}
		})
	}
}

// TestInDoubt: what each setting does by itself, and what it leaves to a person.
func TestInDoubt(t *testing.T) {
	tests := []struct {
		setting   InDoubt
		started   bool
		strangers int
		want      string // "": it goes on by itself
		text      string
		posts     int
	}{
		{setting: Verify, started: true, posts: 1},
		{setting: Verify, posts: 2},
		{setting: Verify, started: true, strangers: 1, want: named.SubmitOutcomeUnknown, text: "2 tasks could be this run's", posts: 1},
		{setting: AbsentOnly, started: true, want: named.SubmitOutcomeUnknown, text: "InDoubt=absent-only", posts: 1},
		{setting: AbsentOnly, posts: 2},
		{setting: AbsentOnly, strangers: 1, want: named.SubmitOutcomeUnknown, text: "InDoubt=absent-only", posts: 1},
		{setting: StopDoubt, started: true, want: named.SubmitOutcomeUnknown, text: "InDoubt=stop", posts: 1},
		{setting: StopDoubt, want: named.SubmitOutcomeUnknown, text: "InDoubt=stop", posts: 1},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s, started %v, %d strangers'", test.setting, test.started, test.strangers), func(t *testing.T) {
			w, in := doubtful(t, test.started)
			w.inDoubt = test.setting
			w.Cyberun.Strangers(test.strangers, workflowID, began.Add(time.Second))
			posts := 1
			w.Around = func(call string, do func() error) error {
				if call == "Run" {
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
			wantName(t, err, test.want, test.text)
			wantName(t, err, test.want, "relay decide")
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
	for _, setting := range []InDoubt{Verify, AbsentOnly, StopDoubt} {
		for _, how := range []run.How{run.Receipt, run.Exclusion} {
			t.Run(fmt.Sprintf("%s, %s", setting, how), func(t *testing.T) {
				w, in := doubtful(t, true)
				w.inDoubt = setting
				w.own(w.Cyberun.Paid("r1")[0], run.Ownership{StartedBy: "r1", How: how, DeliveredBy: "r1"})
				w.submits("r1", in)
			})
		}
	}
}

// TestFreshStack: the first POST of all is answered 503. Nothing has ever been
// seen in the list, so nothing is believed to be absent from it.
func TestFreshStack(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	w.lose("r1", false)
	begun := w.Now
	_, err := w.drive(in)
	wantName(t, err, named.SubmitOutcomeUnknown, "this stack has not yet seen a task of its own in the list")
	wantName(t, err, named.SubmitOutcomeUnknown, "--not-started")
	if len(w.Cyberun.Started) > 0 || w.Now.Sub(begun) > 3*time.Minute {
		t.Errorf("paid %v, %s on", w.Cyberun.Started, w.Now.Sub(begun))
	}
	w.fail("r1", err)
	w.decide("r1", run.Decision{NotStarted: true})
	w.submits("r1", w.redrive(in))
}

// decide stores a person's word, as POST /runs/{id}/outcome does.
func (w *world) decide(runID string, word run.Decision) {
	w.T.Helper()
	word.DecidedBy, word.DecidedAt = "arn:aws:iam::123456789012:user/p", w.Now
	if _, err := w.Runs().DecideOutcome(w.T.Context(), runID, word); err != nil {
		w.T.Fatal(err)
	}
}

// TestPersonsWord: it settles the submission it speaks of, and no other one.
func TestPersonsWord(t *testing.T) {
	// undecided is a run closed in doubt: a rival was about.
	undecided := func(t *testing.T, started bool) (*world, Input) {
		w, in := doubtful(t, started)
		w.Cyberun.Strangers(2, workflowID, began.Add(time.Second))
		_, err := w.drive(in)
		wantName(t, err, named.SubmitOutcomeUnknown, "")
		w.fail("r1", err)
		return w, in
	}
	t.Run("its task", func(t *testing.T) {
		w, in := undecided(t, true)
		mine := w.Cyberun.Paid("r1")[0]
		w.decide("r1", run.Decision{TaskID: mine})
		w.submits("r1", w.redrive(in))
		record := w.Run("r1")
		if record.How != run.Exclusion || w.ownership(mine).MayCancel("r1") {
			t.Errorf("%+v: a person's word is no receipt", record.Record)
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
		wantName(t, err, named.RunRejected, "")
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
		w.own(theirs, named9(run.Receipt))
		w.decide("r1", run.Decision{TaskID: theirs})
		_, _, err, _ := w.once(w.redrive(in))
		if err == nil || w.Run("r1").TaskID != "" {
			t.Errorf("took it: %v", err)
		}
	})
	t.Run("in every setting", func(t *testing.T) {
		for _, setting := range []InDoubt{Verify, AbsentOnly, StopDoubt} {
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
				word := run.Decision{NotStarted: !started}
				if started {
					word.TaskID = w.Cyberun.Paid("r1")[0]
				}
				w.decide("r1", word)
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
					wantName(t, err, named.SubmitOutcomeUnknown, "")
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

// TestBrokenAssumptions: whatever Cyberun does against what the relay counts on,
// no task is paid twice. It ends with the condition that failed, or decides rightly.
func TestBrokenAssumptions(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(c *functiontest.Cyberun)
		text  string
		// found: the task is seen all the same
		found bool
	}{
		{name: "snapshot ids", spoil: func(c *functiontest.Cyberun) { c.SnapshotID = "wf-1-v2" }, text: `under the workflow id "wf-1-v2" instead of "wf-1"`},
		{name: "ids in capitals", spoil: func(c *functiontest.Cyberun) { c.SnapshotID = "WF-1" }, text: `under the workflow id "WF-1" instead of "wf-1"`},
		{name: "live tasks only", spoil: func(c *functiontest.Cyberun) {
			c.LiveOnly = true
			for i := range c.Started {
				c.Started[i].Status = cyberun.StatusCompleted
			}
		}, text: "does not show the task"},
		{name: "local time, ahead", spoil: func(c *functiontest.Cyberun) { c.Shifted = 8 * time.Hour }, text: "its times are not those of Cyberun's clock"},
		{name: "local time, behind", spoil: func(c *functiontest.Cyberun) { c.Shifted = -8 * time.Hour }, text: "its times are not those of Cyberun's clock"},
		{name: "a cached answer", spoil: func(c *functiontest.Cyberun) { c.Cached = 10 * time.Minute }, text: "came from a cache, 10m0s old"},
		{name: "a cache that does not say so, with its old Date", spoil: func(c *functiontest.Cyberun) {
			c.StaleRows = 10 * time.Minute
			c.Spoil = func(l *cyberun.TaskList) { l.Date = l.Date.Add(-10 * time.Minute) }
		}, text: "off what Cyberun's clock said at the submission"},
		{name: "a cache that does not say so, from before the witness", spoil: func(c *functiontest.Cyberun) { c.StaleRows = 30 * time.Minute }, text: "does not show the task"},
		{name: "no Date", spoil: func(c *functiontest.Cyberun) { c.NoDate = true }, text: "page 1 of the task list has no Date header"},
		{name: "a cache that shows the task", spoil: func(c *functiontest.Cyberun) {
			c.Spoil = func(l *cyberun.TaskList) { l.Age = 30 * time.Second }
		}, text: "came from a cache, 30s old"},
		{name: "a cache that shows the task, and then is gone", spoil: func(c *functiontest.Cyberun) {
			looks := 0
			c.Spoil = func(l *cyberun.TaskList) {
				if looks++; looks < 3 {
					l.Age = 30 * time.Second
				}
			}
		}, found: true},
		{name: "a late start", spoil: func(c *functiontest.Cyberun) {
			late := c.Of(c.Paid("r1")[0])
			late.CreatedAt.Time = began.Add(DefaultWaits.Post + 6*time.Second)
		}, text: "after the submission, and it is not known who started it"},
		{name: "the oldest first", spoil: func(c *functiontest.Cyberun) { c.Ascending = true }, found: true},
		{name: "rows by strangers since", spoil: func(c *functiontest.Cyberun) {
			c.Started[len(c.Started)-1].CreatedAt.Time = began.Add(-time.Hour) // its own is where nobody looks
			c.Strangers(1, workflowID, began.Add(33*time.Second))
		}, text: "it is not known who started it"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w, in := doubtful(t, true)
			test.spoil(w.Cyberun)
			out, err := w.drive(in)
			if test.found {
				if err != nil {
					t.Fatal(err)
				}
				w.checkSettled("r1", out)
				return
			}
			wantName(t, err, named.SubmitOutcomeUnknown, test.text)
			if paid := w.Cyberun.Paid("r1"); len(paid) != 1 {
				t.Errorf("paid %v", paid)
			}
			// A person finishes it.
			w.fail("r1", err)
			w.decide("r1", run.Decision{TaskID: w.Cyberun.Paid("r1")[0]})
			w.submits("r1", w.redrive(in))
		})
	}
}

// TestLag: a task that the list shows only after minutes is not paid twice as long
// as a younger receipt shows that the list lags. Without one the second look, over
// 84 s after the POST, is what a lag is measured by.
func TestLag(t *testing.T) {
	tests := []struct {
		name  string
		lag   time.Duration
		newer bool // another run got its receipt while the POST was under way
		want  string
	}{
		{name: "84 s", lag: 84 * time.Second},
		{name: "84 s, and a newer receipt", lag: 84 * time.Second, newer: true},
		{name: "9 minutes, and a newer receipt", lag: 9 * time.Minute, newer: true, want: "does not show the task"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := witnessed(t)
			in := w.input("r1", prompted("r1"))
			w.Around = func(call string, do func() error) error {
				if call != "Run" {
					return do()
				}
				if w.Around = nil; test.newer {
					if _, err := w.drive(w.input("r2", prompted("r2"))); err != nil {
						t.Fatal(err)
					}
				}
				_ = do()
				return errNetwork
			}
			w.Cyberun.Lag = test.lag
			_, err := w.drive(in)
			if paid := w.Cyberun.Paid("r1"); len(paid) != 1 {
				t.Errorf("paid %v", paid)
			}
			if test.want != "" {
				wantName(t, err, named.SubmitOutcomeUnknown, test.want)
			} else if err != nil {
				t.Error(err)
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
	wantName(t, err, named.SubmitInDoubt, "another call")
	w.Around = nil
	if got := w.S3.Keys(stateBucket, "submitting/wf-1/r1/"); len(got) != 1 || !strings.HasSuffix(got[0], "/"+w.Run("r1").Submission.Attempt) {
		t.Errorf("markers %v", got)
	}
}

// held loses every receipt.
type held struct{ *functiontest.Cyberun }

func (h held) Run(ctx context.Context, ref string, parameters map[string]any) (cyberun.RunReceipt, error) {
	if _, err := h.Cyberun.Run(ctx, ref, parameters); err != nil {
		return cyberun.RunReceipt{}, err
	}
	return cyberun.RunReceipt{}, &cyberun.RunError{Outcome: cyberun.InDoubt, Err: errNetwork}
}

// TestStoppedInDoubt says so: "nothing was submitted" would be a guess.
func TestStoppedInDoubt(t *testing.T) {
	w, in := doubtful(t, true)
	w.stop("r1")
	_, err := w.drive(in)
	wantName(t, err, named.RunCancelled, "in doubt")
	if w.Cyberun.Of(w.Cyberun.Paid("r1")[0]).Status == cyberun.StatusCancelled {
		t.Error("a task that is only a candidate was cancelled")
	}
	w.Executions.End("r1", executions.Aborted, err)
	w.Close("r1")
	if len(w.S3.Keys(stateBucket, "submitting/wf-1/r1/")) == 0 {
		t.Error("the marker is gone: another run could adopt its task")
	}
}
