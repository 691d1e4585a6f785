// Package functiontest has, for tests, what the functions talk to, in memory: S3,
// Cyberun and Step Functions on one clock. A test can make their calls fail, lose
// replies, and run other code in between. Loopback serves Cyberun over HTTP, for the
// real client and what stands before the service. It imports the clients' types,
// shared/lifecycle and shared/store with its S3 in memory.
package functiontest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// The names of the buckets.
const (
	StateBucket  = "state"
	OutputBucket = "outputs"
	InboxBucket  = "inbox"
	arnPrefix    = "arn:aws:states:eu-central-1:123456789012:execution:relay-run:"
)

// Began is the time on the clock of a new world.
var Began = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// ARN returns the ARN of a run's execution.
func ARN(runID string) string { return arnPrefix + runID }

// World is one stack and everything that it calls. Its clock moves only by TimePerCall for
// each call, and by what a sleep takes. Calls may come side by side: what they do is done
// one after the other.
type World struct {
	T          testing.TB
	S3         *storetest.S3
	Cyberun    *Cyberun
	Executions *Executions
	// Now is the time by the clock of the relay and of S3. Cyberun's clock is ahead of it
	// by Cyberun.Skew.
	Now time.Time
	// TimePerCall is how far each call moves the clock: 40 ms in a new world. A test that
	// asserts exact times sets it to 0.
	TimePerCall time.Duration
	// Around is called in place of each call; do does it, and nil for Around does every
	// call. Around may refuse a call (return an error without do), lose its reply (do,
	// then return an error), send it twice, or run other code before it.
	Around func(call string, do func() error) error
	// Asleep is called in each sleep, so that other code runs meanwhile; it may be nil.
	Asleep func()

	doing  sync.Mutex // held while a call is done
	mu     sync.Mutex // guards Now, serial and calls while calls run side by side
	serial int
	calls  []string // the names of the calls so far
}

// New returns a world with the workflow of [TextToImage], and without runs.
func New(t testing.TB) *World {
	w := &World{T: t, S3: &storetest.S3{}, Now: Began, TimePerCall: 40 * time.Millisecond}
	w.Cyberun = &Cyberun{world: w, Flow: TextToImage()}
	w.Executions = &Executions{world: w, known: map[string]*executions.Execution{}}
	w.S3.Now = w.Time
	w.S3.Around = func(c storetest.Call, do func() error) error { return w.Call(c.String(), do) }
	return w
}

// Time returns the time by the world's clock.
func (w *World) Time() time.Time { return w.pass(0) }

// pass moves the clock.
func (w *World) pass(d time.Duration) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Now = w.Now.Add(d)
	return w.Now
}

// NewID returns id-1, id-2 and so on.
func (w *World) NewID() string { return fmt.Sprintf("id-%d", w.next()) }

func (w *World) next() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.serial++
	return w.serial
}

// Call does one call, as Around says. The name of a call to S3 is such as "PutObject
// state/runs/r1.json", that of any other its method alone.
func (w *World) Call(name string, do func() error) error {
	w.mu.Lock()
	w.Now, w.calls = w.Now.Add(w.TimePerCall), append(w.calls, name)
	w.mu.Unlock()
	one := func() error {
		w.doing.Lock()
		defer w.doing.Unlock()
		return do()
	}
	if w.Around == nil {
		return one()
	}
	return w.Around(name, one)
}

// Calls returns how many calls have come whose name begins with prefix.
func (w *World) Calls(prefix string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range w.calls {
		if strings.HasPrefix(name, prefix) {
			n++
		}
	}
	return n
}

// OnS3 reports whether the name of a call, see [World.Call], is that of a call to S3.
func OnS3(call string) bool { return strings.Contains(call, " ") }

// Fails sets Around so that every call whose name begins with prefix fails with err.
func (w *World) Fails(prefix string, err error) {
	w.Around = func(call string, do func() error) error {
		if strings.HasPrefix(call, prefix) {
			return err
		}
		return do()
	}
}

// After sets Around so that then runs when the next call of a name has been done, before
// the caller has its reply. Every later call is done, those of then as well.
func (w *World) After(name string, then func()) {
	w.Around = func(call string, do func() error) error {
		err := do()
		if call == name {
			w.Around = nil
			then()
		}
		return err
	}
}

// Undisturbed calls do without Around: for what a test does itself, beside the tested
// code.
func (w *World) Undisturbed(do func()) {
	around := w.Around
	w.Around = nil
	defer func() { w.Around = around }()
	do()
}

// lambdaKey is the key of the function in a context that ends the context when its time
// has come by the world's clock.
type lambdaKey struct{}

// Lambda returns the context of one call of a function that may take timeout. A sleep
// that goes on for longer ends it.
func (w *World) Lambda(timeout time.Duration) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	w.T.Cleanup(cancel)
	ends := w.Now.Add(timeout)
	return context.WithValue(ctx, lambdaKey{}, func() {
		if !w.Now.Before(ends) {
			cancel()
		}
	})
}

// Sleep moves the world's clock by d. It returns the context's error if that has ended
// by then.
func (w *World) Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w.pass(d)
	if w.Asleep != nil {
		w.Asleep()
	}
	if end, ok := ctx.Value(lambdaKey{}).(func()); ok {
		end()
	}
	return ctx.Err()
}

// Store returns the store of the state bucket.
func (w *World) Store() *store.Store {
	return &store.Store{S3: w.S3, Bucket: StateBucket, NoPause: true}
}

// Runs returns the stack's runs, with everything that one of their methods needs.
func (w *World) Runs() *lifecycle.Runs {
	return &lifecycle.Runs{
		Store: w.Store(), OutputS3: w.S3, Cyberun: w.Cyberun, Executions: w.Executions,
		Now: w.Time, Sleep: w.Sleep, NewID: w.NewID,
	}
}

// Run reads a run's record, and fails the test if there is none.
func (w *World) Run(runID string) (r lifecycle.Run) {
	w.T.Helper()
	w.Undisturbed(func() {
		var err error
		if r, err = w.Runs().Get(context.Background(), runID); err != nil {
			w.T.Fatalf("the run %s: %v", runID, err)
		}
	})
	return r
}

// Set puts an object into the state bucket, as JSON and without a call, as another
// function does.
func (w *World) Set(key string, v any) {
	w.T.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		w.T.Fatal(err)
	}
	w.S3.Set(StateBucket, key, storetest.Object{Body: body})
}

// Record puts a run's record there with its place in the list of runs, and the ownership
// of its task if the record says how that is known. It fills in the ARN of the execution,
// and the start, the bucket and the prefix where they are empty.
func (w *World) Record(r run.Record) {
	w.T.Helper()
	r.ExecutionARN, r.Bucket, r.Prefix = ARN(r.RunID), cmp.Or(r.Bucket, OutputBucket), cmp.Or(r.Prefix, "runs/"+r.RunID+"/")
	if r.StartedAt.IsZero() {
		r.StartedAt = Began
	}
	w.Set("index/"+lifecycle.CursorOf(r), nil)
	w.Set("runs/"+r.RunID+".json", r)
	if r.TaskID != "" && r.Evidence != "" {
		w.Set("tasks/"+r.TaskID, run.Ownership{StartedBy: r.RunID, Evidence: r.Evidence, DeliveredBy: r.RunID})
	}
}

// Change changes a run's record, without a call, as another function does.
func (w *World) Change(runID string, how func(*run.Record)) {
	w.T.Helper()
	r := w.Run(runID).Record
	how(&r)
	r.WriteID += "+"
	w.Set("runs/"+runID+".json", r)
}

// Close closes a run whose execution has ended, as close-run does, and fails the test
// if there is nothing to close.
func (w *World) Close(runID string) {
	w.T.Helper()
	w.Undisturbed(func() {
		ctx := context.Background()
		closer := lifecycle.Closer{Runs: w.Runs(), Bucket: OutputBucket}
		e, sure, ok, err := closer.Ended(ctx, *w.Executions.Of(runID))
		if err != nil || !ok {
			w.T.Fatalf("close %s: nothing to close, %v", runID, err)
		}
		if _, err := closer.Close(ctx, e, sure); err != nil {
			w.T.Fatalf("close %s: %v", runID, err)
		}
	})
}
