package handler

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// fate is what happens to one call.
type fate struct {
	name string
	meet func(w *world, call string, do func() error) error
}

var errNetwork = errors.New("connection reset by peer")

func onS3(call string) bool { return strings.Contains(call, " ") }

var fates = []fate{
	{"killed before", func(*world, string, func() error) error { panic(killed{}) }},
	{"killed after", func(_ *world, _ string, do func() error) error { _ = do(); panic(killed{}) }},
	{"request lost", func(*world, string, func() error) error { return errNetwork }},
	{"reply lost", func(_ *world, _ string, do func() error) error { _ = do(); return errNetwork }},
	{"500 before", func(_ *world, call string, _ func() error) error { return serverError(call) }},
	{"500 after", func(_ *world, call string, do func() error) error { _ = do(); return serverError(call) }},
	{"slow beyond its time", func(w *world, _ string, do func() error) error {
		_ = do()
		w.now = w.now.Add(DefaultWaits.Post)
		return errNetwork
	}},
	// The SDK's own retry after a lost reply, and S3's answer to two at once.
	{"sent twice", func(_ *world, call string, do func() error) error {
		err := do()
		if onS3(call) {
			return do()
		}
		return err
	}},
	{"conflict", func(_ *world, call string, do func() error) error {
		if strings.HasPrefix(call, "PutObject "+stateBucket+"/runs/") || strings.HasPrefix(call, "PutObject "+stateBucket+"/tasks/") {
			return storetest.Error(http.StatusConflict, "ConditionalRequestConflict")
		}
		return do()
	}},
}

func serverError(call string) error {
	if onS3(call) {
		return storetest.Error(http.StatusInternalServerError, "InternalError")
	}
	return answered(http.StatusInternalServerError)
}

// at lets the n-th call, counted from 1, meet a fate.
func (w *world) at(n int, f fate) {
	count := 0
	w.around = func(call string, do func() error) error {
		if count++; count == n {
			return f.meet(w, call, do)
		}
		return do()
	}
}

// withFile is a request with an input to upload, so that every call submit can
// make on the straight way is made.
func withFile(w *world, runID string) Input {
	w.s3.Set(inboxBucket, "photo.png", storetest.Object{Body: []byte("png"), ContentType: "image/png"})
	return w.input(runID, fmt.Sprintf(`{"workflow":%q,"parameters":{"prompt":%q,"image":"s3://inbox/photo.png"}}`, workflowRef, runID))
}

func calls(t *testing.T, prepare func(*world) Input) (names []string) {
	w := newWorld(t)
	in := prepare(w)
	w.around = func(call string, do func() error) error { names = append(names, call); return do() }
	if _, err := w.drive(in); err != nil {
		t.Fatal(err)
	}
	return names
}

// TestOneFault: whatever happens to any one call, the retried step ends with the
// run's one task.
func TestOneFault(t *testing.T) {
	prepare := func(w *world) Input { return withFile(w, "r1") }
	names := calls(t, prepare)
	if len(names) < 18 {
		t.Fatalf("only %d calls: %v", len(names), names)
	}
	uploaded := slices.Index(names, "Upload")
	cells := 0
	for _, f := range fates {
		for n, call := range names {
			cells++
			t.Run(fmt.Sprintf("%s/%d %s", f.name, n+1, call), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.service.lag = 38 * time.Second
				in := prepare(w)
				w.at(n+1, f)
				out, err := w.drive(in)
				if err != nil {
					t.Fatal(err)
				}
				w.checkSettled("r1", out)
				// Between an upload's end and the record's word of it, nobody can know.
				most := 1
				if n >= uploaded && n <= uploaded+2 {
					most = 2
				}
				if got := len(w.service.uploads); got < 1 || got > most {
					t.Errorf("uploaded %d times: %v", got, w.service.uploads)
				}
			})
		}
	}
	t.Logf("%d cells over %d calls", cells, len(names))
}

// TestTwoFaults: nor does a second fault, in whatever the first one led to.
func TestTwoFaults(t *testing.T) {
	prepare := func(w *world) Input { return w.input("r1", prompted("r1")) }
	names := calls(t, prepare)
	const deep = 60 // calls; the way over reconcile and a second POST is shorter
	for _, a := range fates[:4] {
		for _, b := range fates[:4] {
			t.Run(a.name+", then "+b.name, func(t *testing.T) {
				t.Parallel()
				for n := 1; n <= len(names); n++ {
					for m := n + 1; m <= deep; m++ {
						w := newWorld(t)
						in := prepare(w)
						count := 0
						w.around = func(call string, do func() error) error {
							switch count++; count {
							case n:
								return a.meet(w, call, do)
							case m:
								return b.meet(w, call, do)
							}
							return do()
						}
						out, err := w.drive(in)
						if err != nil {
							t.Fatalf("faults at %d and %d: %v", n, m, err)
						}
						if w.checkSettled("r1", out); t.Failed() {
							t.Fatalf("faults at %d (%s) and %d", n, names[n-1], m)
						}
						if count < m {
							break // that far it never came
						}
					}
				}
			})
		}
	}
}

// TestOutage: S3 or Cyberun goes away at any call and stays away for a while.
func TestOutage(t *testing.T) {
	prepare := func(w *world) Input { return w.input("r1", prompted("r1")) }
	names := calls(t, prepare)
	for _, s3 := range []bool{true, false} {
		for n := range names {
			for _, long := range []time.Duration{30 * time.Second, 3 * time.Minute} {
				w := newWorld(t)
				in := prepare(w)
				count, until := 0, time.Time{}
				w.around = func(call string, do func() error) error {
					if count++; count == n+1 {
						until = w.now.Add(long)
					}
					if onS3(call) == s3 && w.now.Before(until) {
						return errNetwork
					}
					return do()
				}
				out, err := w.drive(in)
				if err != nil {
					t.Fatalf("%s of S3 %v from call %d: %v", long, s3, n+1, err)
				}
				w.checkSettled("r1", out)
			}
		}
	}
}

// TestTwoCalls: Step Functions lost a call that lives on, and calls again. The
// first call stands still before or after each of its own calls while the second
// goes all its way, or one call of it, and goes on then.
func TestTwoCalls(t *testing.T) {
	prepare := func(w *world) Input { return w.input("r1", prompted("r1")) }
	names := calls(t, prepare)
	for _, whole := range []bool{true, false} {
		for _, after := range []bool{false, true} {
			for _, pause := range []time.Duration{0, 20 * time.Second, 10 * time.Minute} {
				t.Run(fmt.Sprintf("whole %v, after %v, %s", whole, after, pause), func(t *testing.T) {
					t.Parallel()
					for n, name := range names {
						w := newWorld(t)
						in := prepare(w)
						second := func() {
							w.around = nil
							w.now = w.now.Add(pause)
							if whole {
								if _, err := w.drive(in); err != nil {
									t.Errorf("the second call, at %d %s: %v", n+1, name, err)
								}
								return
							}
							w.once(in)
						}
						w.at(n+1, fate{meet: func(_ *world, _ string, do func() error) error {
							if after {
								err := do()
								second()
								return err
							}
							second()
							return do()
						}})
						w.once(in)
						out, err := w.drive(in)
						if err != nil {
							t.Fatalf("at %d %s: %v", n+1, name, err)
						}
						if w.checkSettled("r1", out); t.Failed() {
							t.Fatalf("at %d %s", n+1, name)
						}
					}
				})
			}
		}
	}
}

// TestManyRuns plays many runs of one workflow at once: calls stand still in the
// middle of others, die, lose replies, and come twice. Nobody pays twice and
// nobody gets another's task, whatever the luck.
func TestManyRuns(t *testing.T) {
	const runs, seeds = 6, 150
	unknown, adopted := 0, 0
	for seed := range uint64(seeds) {
		w := newWorld(t)
		luck := rand.New(rand.NewPCG(seed, 1))
		w.service.skew = time.Duration(luck.IntN(600)-300) * time.Second
		w.service.ascend = luck.IntN(2) == 0
		w.service.page = 1 + luck.IntN(7)
		w.service.lag = time.Duration(luck.IntN(40)) * time.Second
		ended := map[string]string{}
		due := map[string]time.Time{}
		for i := range runs {
			due[fmt.Sprintf("r%d", i)] = began.Add(time.Duration(luck.IntN(40)) * time.Second)
		}
		depth := 0
		step := func(id string) {
			_, name, err, died := w.once(w.input(id, prompted(id)))
			switch {
			case died || name == named.Unavailable:
				due[id] = w.now.Add(time.Duration(1+luck.IntN(8)) * time.Second)
			case name == named.SubmitInDoubt:
				due[id] = w.now.Add(time.Duration(luck.IntN(30)) * time.Second)
			case err != nil:
				ended[id] = name
				closeFailed(w, id)
			default:
				ended[id] = "ok"
			}
		}
		w.around = func(call string, do func() error) error {
			if luck.IntN(12) == 0 && depth < 3 {
				depth++
				id := fmt.Sprintf("r%d", luck.IntN(runs))
				if ended[id] == "" {
					step(id)
				}
				depth--
			}
			if luck.IntN(40) == 0 {
				w.now = w.now.Add(time.Duration(luck.IntN(20)) * time.Second)
			}
			chance := 40
			if call == "Run" {
				chance = 3
			}
			if luck.IntN(chance) == 0 {
				return fates[luck.IntN(7)].meet(w, call, do)
			}
			return do()
		}
		for turn := 0; len(ended) < runs && turn < 5000; turn++ {
			next := ""
			for i := range runs {
				id := fmt.Sprintf("r%d", i)
				if ended[id] == "" && (next == "" || due[id].Before(due[next])) {
					next = id
				}
			}
			if due[next].After(w.now) {
				w.now = due[next]
			}
			step(next)
		}
		w.around = nil
		for i := range runs {
			id := fmt.Sprintf("r%d", i)
			if paid := w.service.paid(id); len(paid) > 1 {
				t.Errorf("seed %d: %s paid for %v", seed, id, paid)
			}
			record, err := w.records().Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if record.TaskID != "" && w.service.task(record.TaskID).prompt != id {
				t.Errorf("seed %d: %s has %s, which is %s's", seed, id, record.TaskID, w.service.task(record.TaskID).prompt)
			}
			switch {
			case ended[id] == named.SubmitOutcomeUnknown:
				unknown++
			case ended[id] != "ok":
				t.Errorf("seed %d: %s ended as %q", seed, id, ended[id])
			case record.Adopted:
				adopted++
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("of %d runs %d were adopted and %d ended as SubmitOutcomeUnknown", runs*seeds, adopted, unknown)
	if adopted == 0 || unknown == 0 || unknown > runs*seeds/4 {
		t.Error("the play does not show what it should")
	}
}

// closeFailed is what close-run does to a run whose execution failed.
func closeFailed(w *world, runID string) {
	around := w.around
	w.around = nil
	defer func() { w.around = around }()
	w.running[arnPrefix+runID] = false
	ctx := w.t.Context()
	record, err := w.records().Update(ctx, runID, func(r *run.Record) error {
		r.Close(run.Failed, w.now, named.Errorf(named.SubmitOutcomeUnknown, "x"))
		return nil
	})
	if err == nil && record.WorkflowID != "" && !record.InDoubt() {
		err = w.records().ClearMarkers(ctx, record.WorkflowID, runID)
	}
	if err == nil {
		err = w.records().ClearOpen(ctx, runID)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}
