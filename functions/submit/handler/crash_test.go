package handler

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// fate is what happens to one call.
type fate struct {
	name string
	meet func(w *world, call string, do func() error) error
}

var errNetwork = functiontest.ErrNetwork

var fates = []fate{
	{"killed before", func(*world, string, func() error) error { panic(killed{}) }},
	{"killed after", func(_ *world, _ string, do func() error) error { _ = do(); panic(killed{}) }},
	{"request lost", func(*world, string, func() error) error { return errNetwork }},
	{"reply lost", func(_ *world, _ string, do func() error) error { _ = do(); return errNetwork }},
	{"500 before", func(_ *world, call string, _ func() error) error { return serverError(call) }},
	{"500 after", func(_ *world, call string, do func() error) error { _ = do(); return serverError(call) }},
	{"slow beyond its time", func(w *world, _ string, do func() error) error {
		_ = do()
		w.Now = w.Now.Add(DefaultWaits.Post)
		return errNetwork
	}},
	// The SDK's own retry after a lost reply, and S3's answer to two at once.
	{"sent twice", func(_ *world, call string, do func() error) error {
		err := do()
		if functiontest.OnS3(call) {
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
	if functiontest.OnS3(call) {
		return storetest.Error(http.StatusInternalServerError, "InternalError")
	}
	return functiontest.Answered(http.StatusInternalServerError)
}

// at lets the n-th call, counted from 1, meet a fate.
func (w *world) at(n int, f fate) {
	count := 0
	w.Around = func(call string, do func() error) error {
		if count++; count == n {
			return f.meet(w, call, do)
		}
		return do()
	}
}

// withFile is a request with an input to upload, so that every call submit can
// make on the straight way is made.
func withFile(w *world, runID string) Input {
	w.S3.Set(inboxBucket, "photo.png", storetest.Object{Body: []byte("png"), ContentType: "image/png"})
	return w.input(runID, fmt.Sprintf(`{"workflow":%q,"parameters":{"prompt":%q,"image":"s3://inbox/photo.png"}}`, workflowRef, runID))
}

func calls(t *testing.T, prepare func(*world) Input) (names []string) {
	w := witnessed(t)
	in := prepare(w)
	w.Around = func(call string, do func() error) error { names = append(names, call); return do() }
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
				w := witnessed(t)
				w.Cyberun.Lag = 38 * time.Second
				in := prepare(w)
				w.at(n+1, f)
				w.submits("r1", in)
				// Between an upload's end and the record's word of it, nobody can know.
				most := 1
				if n >= uploaded && n <= uploaded+2 {
					most = 2
				}
				if got := len(w.Cyberun.Uploads); got < 1 || got > most {
					t.Errorf("uploaded %d times: %v", got, w.Cyberun.Uploads)
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
	const deep = 80 // calls; the way over two looks and a second POST is shorter
	for _, a := range fates[:4] {
		for _, b := range fates[:4] {
			t.Run(a.name+", then "+b.name, func(t *testing.T) {
				t.Parallel()
				for n := 1; n <= len(names); n++ {
					for m := n + 1; m <= deep; m++ {
						w := witnessed(t)
						in := prepare(w)
						count := 0
						w.Around = func(call string, do func() error) error {
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
						if m == deep {
							t.Errorf("fault at %d (%s): over %d calls", n, names[n-1], deep)
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
				w := witnessed(t)
				in := prepare(w)
				count, until := 0, time.Time{}
				w.Around = func(call string, do func() error) error {
					if count++; count == n+1 {
						until = w.Now.Add(long)
					}
					if functiontest.OnS3(call) == s3 && w.Now.Before(until) {
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
						w := witnessed(t)
						in := prepare(w)
						second := func() {
							w.Around = nil
							w.Now = w.Now.Add(pause)
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
// nobody gets another's task, whatever the luck and the setting.
func TestManyRuns(t *testing.T) {
	t.Run(string(PolicyVerify), func(t *testing.T) {
		adopted, again, unknown := manyRuns(t, PolicyVerify, 150)
		if adopted == 0 || unknown == 0 || again == 0 || unknown > 6*150/4 {
			t.Error("the play does not show what it should")
		}
	})
	t.Run(string(PolicyAbsentOnly), func(t *testing.T) {
		if adopted, again, unknown := manyRuns(t, PolicyAbsentOnly, 50); adopted > 0 || again == 0 || unknown == 0 {
			t.Error("the play does not show what it should")
		}
	})
	t.Run(string(PolicyAsk), func(t *testing.T) {
		if adopted, again, unknown := manyRuns(t, PolicyAsk, 50); adopted > 0 || again > 0 || unknown == 0 {
			t.Error("the play does not show what it should")
		}
	})
}

func manyRuns(t *testing.T, setting DoubtPolicy, seeds uint64) (adopted, again, unknown int) {
	const runs = 6
	for seed := range seeds {
		w := newWorld(t)
		w.inDoubt = setting
		luck := rand.New(rand.NewPCG(seed, 1))
		w.Cyberun.Skew = time.Duration(luck.IntN(600)-300) * time.Second
		w.Cyberun.Ascending = luck.IntN(2) == 0
		w.Cyberun.PerPage = 1 + luck.IntN(7)
		w.Cyberun.Lag = time.Duration(luck.IntN(40)) * time.Second
		if luck.IntN(4) > 0 { // the others are fresh stacks
			w.Now = began.Add(-3 * time.Minute)
			if _, err := w.drive(w.input("witness", prompted("witness"))); err != nil {
				t.Fatal(err)
			}
			w.Now = began
		}
		ended := map[string]string{}
		due := map[string]time.Time{}
		inputs := map[string]Input{}
		for i := range runs {
			id := fmt.Sprintf("r%d", i)
			due[id] = began.Add(time.Duration(luck.IntN(40)) * time.Second)
			inputs[id] = w.input(id, prompted(id))
		}
		depth := 0
		step := func(id string) {
			_, name, err, died := w.once(inputs[id])
			switch {
			case ended[id] != "": // by another call of it, which came in between
			case died || name == named.Unavailable:
				due[id] = w.Now.Add(time.Duration(1+luck.IntN(8)) * time.Second)
			case name == named.WorkflowInDoubt:
				due[id] = w.Now.Add(time.Duration(luck.IntN(1000)) * time.Millisecond)
			case name == named.SubmitInDoubt:
				due[id] = w.Now.Add(time.Duration(luck.IntN(30)) * time.Second)
			case err != nil:
				ended[id] = name
				w.fail(id, err)
			default:
				ended[id] = "ok"
			}
		}
		// next returns the run that is due first, if one is by then.
		next := func(by time.Time) string {
			first := ""
			for i := range runs {
				id := fmt.Sprintf("r%d", i)
				if ended[id] == "" && (first == "" || due[id].Before(due[first])) {
					first = id
				}
			}
			if first == "" || due[first].After(by) {
				return ""
			}
			return first
		}
		w.Asleep = func() { // the others go on while one waits
			if id := next(w.Now); id != "" && depth < 3 {
				depth++
				due[id] = w.Now.Add(time.Hour) // while it is at work
				step(id)
				depth--
			}
		}
		w.Around = func(call string, do func() error) error {
			if luck.IntN(12) == 0 && depth < 3 {
				depth++
				id := fmt.Sprintf("r%d", luck.IntN(runs))
				if ended[id] == "" {
					step(id)
				}
				depth--
			}
			if luck.IntN(40) == 0 {
				w.Now = w.Now.Add(time.Duration(luck.IntN(20)) * time.Second)
			}
			chance := 40
			if call == "StartTask" {
				chance = 3
			}
			if luck.IntN(chance) == 0 {
				return fates[luck.IntN(7)].meet(w, call, do)
			}
			return do()
		}
		turns := 0
		for ; len(ended) < runs && turns < 5000; turns++ {
			id := next(w.Now)
			if id == "" {
				id = next(w.Now.Add(1000 * time.Hour))
				w.Now = due[id]
			}
			due[id] = w.Now.Add(time.Hour)
			step(id)
		}
		w.Around, w.Asleep = nil, nil
		for i := range runs {
			id := fmt.Sprintf("r%d", i)
			if paid := w.Cyberun.Paid(id); len(paid) > 1 {
				t.Errorf("seed %d: %s paid for %v", seed, id, paid)
			}
			record := w.Run(id)
			if record.TaskID != "" && w.Cyberun.Of(record.TaskID).Parameters["prompt"] != id {
				t.Errorf("seed %d: %s has %s, which is %s's", seed, id, record.TaskID, w.Cyberun.Of(record.TaskID).Parameters["prompt"])
			}
			if len(record.ExtraTasks) > 0 {
				t.Errorf("seed %d: %s has extra tasks: %v", seed, id, record.ExtraTasks)
			}
			switch {
			case ended[id] == named.SubmitOutcomeUnknown:
				unknown++
			case ended[id] != "ok":
				t.Errorf("seed %d: %s ended as %q", seed, id, ended[id])
			case record.Evidence == run.ByExclusion:
				adopted++
			}
			if record.Posts > 1 {
				again++
			}
		}
		if t.Failed() {
			t.Fatalf("after %d turns", turns)
		}
	}
	t.Logf("of %d runs %d were adopted, %d submitted again, and %d ended as SubmitOutcomeUnknown", runs*seeds, adopted, again, unknown)
	return adopted, again, unknown
}
