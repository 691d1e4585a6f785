package handler

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/cyberun-cloud/cyberun-relay/shared/doubt"
	"github.com/cyberun-cloud/cyberun-relay/shared/eventstest"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

const (
	stateBucket  = functiontest.StateBucket
	outputBucket = functiontest.OutputBucket
	inboxBucket  = functiontest.InboxBucket
	workflowID   = functiontest.WorkflowID
	workflowRef  = functiontest.WorkflowRef
)

// began is when every case begins.
var began = functiontest.Began

// lambdaTime is the function's own time-out.
const lambdaTime = 15 * time.Minute

// world is everything around submit, and Step Functions' way of trying again.
type world struct {
	*functiontest.World
	inDoubt DoubtPolicy
}

// newWorld returns the world of a stack that has never had a task.
func newWorld(t *testing.T) *world {
	return &world{World: functiontest.New(t), inDoubt: PolicyVerify}
}

// witnessed returns the world of a stack that has had one run, minutes ago: it
// can tell by the task list that a task never started.
func witnessed(t *testing.T) *world {
	w := newWorld(t)
	w.Now = began.Add(-3 * time.Minute)
	if _, err := w.drive(w.input("r0", prompted("r0"))); err != nil {
		t.Fatal(err)
	}
	w.Now = began
	return w
}

// handler is a fresh one, as a fresh process has it.
func (w *world) handler() *Handler {
	runs := w.Runs()
	return &Handler{
		Cyberun: w.Cyberun, Runs: runs, Doubts: doubt.Investigator{Cyberun: w.Cyberun, Runs: runs, Now: w.Time}, Buckets: w.S3,
		OutputBucket: outputBucket, StateBucket: stateBucket, Waits: DefaultWaits, DoubtPolicy: w.inDoubt,
		Now: w.Time, Sleep: w.Sleep, NewID: w.NewID, Random: func(most time.Duration) time.Duration { return most / 2 },
	}
}

// input is what Step Functions sends for an execution of that name, which begins
// with the first of them.
func (w *world) input(runID, request string) Input {
	e := w.Executions.Begin(runID, request, w.Now)
	redrives := e.Redrives
	return Input{Call: lifecycle.Call{RunID: runID, ExecutionARN: e.ARN, StartedAt: e.StartedAt, Redrives: &redrives}, Request: json.RawMessage(request)}
}

// prompted is a request whose task can be told by its prompt.
func prompted(runID string) string {
	return fmt.Sprintf(`{"workflow":%q,"parameters":{"prompt":%q}}`, workflowRef, runID)
}

// fail ends a run's execution under an error and closes the run.
func (w *world) fail(runID string, err error) {
	w.T.Helper()
	if err == nil {
		w.T.Fatalf("the run %s was to fail", runID)
	}
	w.Executions.End(runID, executions.Failed, err)
	w.Close(runID)
}

// redrive sets a run going again that failed, and returns what is sent then.
func (w *world) redrive(in Input) Input {
	w.Executions.BeginAgain(in.RunID)
	return w.input(in.RunID, string(in.Request))
}

type killed struct{}

// once is one call of the function; died tells that it never answered.
func (w *world) once(in Input) (out Response, name string, err error, died bool) {
	return w.call(w.handler(), in)
}

func (w *world) call(h *Handler, in Input) (out Response, name string, err error, died bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(killed); !ok {
				panic(r)
			}
			died = true
		}
	}()
	out, err = h.Handle(w.Lambda(lambdaTime), in)
	if err != nil {
		name = observe.LambdaError(err).(messages.InvokeResponse_Error).Type
	}
	return out, name, err, false
}

// retriers returns how the state Submit retries an error, by the error's name.
func retriers(t testing.TB) map[string]eventstest.Retrier {
	t.Helper()
	byName := map[string]eventstest.Retrier{}
	for _, r := range eventstest.Machine(t)["Submit"].Retry {
		for _, name := range r.ErrorEquals {
			if _, twice := byName[name]; twice || r.IntervalSeconds == 0 || r.BackoffRate == 0 || r.MaxAttempts == 0 || r.JitterStrategy != "FULL" {
				t.Fatalf("%s is retried in a way that this test does not play: %+v", name, r)
			}
			byName[name] = r
		}
	}
	return byName
}

// delay returns how long Step Functions waits before it retries for the n-th time, from 0:
// the mean of full jitter.
func delay(r eventstest.Retrier, n int) time.Duration {
	seconds := r.IntervalSeconds * math.Pow(r.BackoffRate, float64(n))
	if r.MaxDelaySeconds > 0 {
		seconds = min(seconds, r.MaxDelaySeconds)
	}
	return time.Duration(seconds / 2 * float64(time.Second))
}

// drive tries the step as the state machine does, to its end, each time in a fresh
// process.
func (w *world) drive(in Input) (Response, error) {
	return w.tryWith(in, w.once)
}

// driveWith is drive in one process.
func (w *world) driveWith(h *Handler, in Input) (Response, error) {
	return w.tryWith(in, func(in Input) (Response, string, error, bool) { return w.call(h, in) })
}

func (w *world) tryWith(in Input, once func(Input) (Response, string, error, bool)) (Response, error) {
	tried, retried := map[string]int{}, retriers(w.T)
	for {
		out, name, err, died := once(in)
		if died {
			name = "Lambda.Unknown"
		} else if err == nil {
			return out, nil
		}
		retrier, found := retried[name]
		if !found {
			return out, err
		}
		n := tried[name]
		if tried[name]++; n == retrier.MaxAttempts {
			return out, fmt.Errorf("given up after %d of %s: %w", n, name, err)
		}
		w.Now = w.Now.Add(delay(retrier, n))
	}
}

// ownership reads who started a task and who delivers it.
func (w *world) ownership(taskID string) (o run.Ownership) {
	w.T.Helper()
	w.Undisturbed(func() {
		var err error
		if o, _, err = w.Runs().OwnershipOf(w.T.Context(), taskID); err != nil {
			w.T.Fatal(err)
		}
	})
	return o
}

// submits drives a run until it has its task, and checks what it left.
func (w *world) submits(runID string, in Input) {
	w.T.Helper()
	out, err := w.drive(in)
	if err != nil {
		w.T.Fatal(err)
	}
	w.checkSettled(runID, out)
}

// checkSettled holds the state bucket against the ledger for a run that has its task.
func (w *world) checkSettled(runID string, out Response) {
	w.T.Helper()
	w.Around = nil
	paid := w.Cyberun.Paid(runID)
	record := w.Run(runID)
	if len(paid) != 1 || out.TaskID != paid[0] || record.TaskID != paid[0] || out.RunID != runID {
		w.T.Errorf("paid %v, answered %+v, recorded %q", paid, out, record.TaskID)
	}
	if record.InDoubt() || record.Candidates != nil || record.Status != run.Waiting || record.TaskKnownAt.IsZero() || len(record.ExtraTasks) > 0 {
		w.T.Errorf("the record is not settled: %+v", record.Record)
	}
	o := w.ownership(record.TaskID)
	if o.DeliveredBy != runID || o.Evidence.Proves() && o.StartedBy != runID || !o.Evidence.Proves() && record.Evidence != run.ByRescue {
		w.T.Errorf("ownership %+v of a task that the record knows by %s", o, record.Evidence)
	}
	w.checkNoTraces(runID)
	if len(w.S3.Keys(stateBucket, "index/")) == 0 {
		w.T.Error("no place in the list of runs")
	}
}

// checkNoTraces holds that a run left nothing that others would wait for.
func (w *world) checkNoTraces(runID string) {
	w.T.Helper()
	for _, prefix := range []string{"submitting/", "doubt/"} {
		for _, key := range w.S3.Keys(stateBucket, prefix) {
			if strings.Contains(key+"/", "/"+runID+"/") {
				w.T.Errorf("left behind: %s", key)
			}
		}
	}
}
