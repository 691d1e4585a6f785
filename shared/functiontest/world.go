// Package functiontest is the world around the functions, in memory: S3, Cyberun
// and Step Functions with one clock, whose calls fail, lose their replies, or let
// others in between, where a test says so. Loopback serves Cyberun over HTTP, for
// the real client and what stands before the service. It imports the clients' types,
// shared/lifecycle and shared/store with its S3 in memory.
package functiontest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// The buckets, the state machine's executions, and when every world begins.
const (
	StateBucket  = "state"
	OutputBucket = "outputs"
	InboxBucket  = "inbox"
	arnPrefix    = "arn:aws:states:eu-central-1:123456789012:execution:relay-run:"
)

// Began is when every world begins.
var Began = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// ARN returns the execution's of a run.
func ARN(runID string) string { return arnPrefix + runID }

// ioTime is what every call costs of the world's time.
const ioTime = 40 * time.Millisecond

// World is one stack with all it talks to. Its clock stands still but for what
// calls cost and what sleeps take.
type World struct {
	T          testing.TB
	S3         *storetest.S3
	Cyberun    *Cyberun
	Executions *Executions
	// Now is the relay's clock, and S3's. Cyberun's is Cyberun.Skew off.
	Now time.Time
	// Around stands in for the wire of every call: nil does it. It may refuse one
	// (return without do), lose its reply (do, then an error), send it twice, or
	// call back into the tested code first.
	Around func(call string, do func() error) error
	// Asleep lets others act while a call sleeps; nil: nobody does.
	Asleep func()

	mu     sync.Mutex // guards Now and serial while calls run side by side
	serial int
}

// New returns an empty world.
func New(t testing.TB) *World {
	w := &World{T: t, S3: &storetest.S3{}, Now: Began}
	w.Cyberun = &Cyberun{world: w, Flow: TextToImage()}
	w.Executions = &Executions{world: w, known: map[string]*execution{}}
	w.S3.Now = w.Time
	w.S3.Around = func(c storetest.Call, do func() error) error { return w.Call(c.String(), do) }
	return w
}

// Time is the world's clock.
func (w *World) Time() time.Time { return w.pass(0) }

// pass moves the clock.
func (w *World) pass(d time.Duration) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Now = w.Now.Add(d)
	return w.Now
}

// NewID returns id-1, id-2 …
func (w *World) NewID() string { return fmt.Sprintf("id-%d", w.next()) }

func (w *World) next() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.serial++
	return w.serial
}

// Call is the wire that all I/O goes over. A call to S3 is named as
// "PutObject state/runs/r1.json", another by its method alone.
func (w *World) Call(name string, do func() error) error {
	w.pass(ioTime)
	if w.Around == nil {
		return do()
	}
	return w.Around(name, do)
}

// OnS3 reports whether a call's name is one of S3's.
func OnS3(call string) bool { return strings.Contains(call, " ") }

// Fails answers every call whose name begins so with an error.
func (w *World) Fails(prefix string, err error) {
	w.Around = func(call string, do func() error) error {
		if strings.HasPrefix(call, prefix) {
			return err
		}
		return do()
	}
}

// Undisturbed does what a test does beside the tested code: no call of it fails.
func (w *World) Undisturbed(do func()) {
	around := w.Around
	w.Around = nil
	defer func() { w.Around = around }()
	do()
}

type lambdaKey struct{}

// lambda is one call of a function: it is over at a moment of the world's time.
type lambda struct {
	ends   time.Time
	cancel context.CancelFunc
}

// Lambda returns the context of one call of a function that may take that long.
// It ends when a sleep goes beyond that.
func (w *World) Lambda(timeout time.Duration) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	w.T.Cleanup(cancel)
	return context.WithValue(ctx, lambdaKey{}, lambda{ends: w.Now.Add(timeout), cancel: cancel})
}

// Sleep moves the world's clock, or ends with the call that sleeps.
func (w *World) Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w.pass(d)
	if w.Asleep != nil {
		w.Asleep()
	}
	if l, ok := ctx.Value(lambdaKey{}).(lambda); ok && !w.Now.Before(l.ends) {
		l.cancel()
	}
	return ctx.Err()
}

// Store returns the state bucket.
func (w *World) Store() *store.Store {
	return &store.Store{S3: w.S3, Bucket: StateBucket, NoPause: true}
}

// Runs returns the runs of the stack, with all that a verb may need.
func (w *World) Runs() *lifecycle.Runs {
	return &lifecycle.Runs{
		Store: w.Store(), Outputs: w.S3, Cyberun: w.Cyberun, Executions: w.Executions,
		Now: w.Time, Sleep: w.Sleep, NewID: w.NewID,
	}
}

// Run reads a run's record, which must be there.
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

// Close closes a run as close-run does when its execution has ended.
func (w *World) Close(runID string) {
	w.T.Helper()
	w.Undisturbed(func() {
		ctx := context.Background()
		closer := lifecycle.Closer{Runs: w.Runs(), Bucket: OutputBucket}
		e, sure, ok, err := closer.Ended(ctx, w.Executions.Event(runID))
		if err != nil || !ok {
			w.T.Fatalf("close %s: nothing to close, %v", runID, err)
		}
		if _, err := closer.Close(ctx, e, sure); err != nil {
			w.T.Fatalf("close %s: %v", runID, err)
		}
	})
}
