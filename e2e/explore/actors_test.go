package explore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda/messages"
	api "github.com/cyberun-cloud/cyberun-relay/functions/api/handler"
	closerun "github.com/cyberun-cloud/cyberun-relay/functions/close-run/handler"
	copyresult "github.com/cyberun-cloud/cyberun-relay/functions/copy-result/handler"
	webhook "github.com/cyberun-cloud/cyberun-relay/functions/on-webhook/handler"
	poll "github.com/cyberun-cloud/cyberun-relay/functions/poll-status/handler"
	submit "github.com/cyberun-cloud/cyberun-relay/functions/submit/handler"
	"github.com/cyberun-cloud/cyberun-relay/shared/doubt"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

func object(body []byte) storetest.Object { return storetest.Object{Body: body} }

var silent = slog.New(slog.DiscardHandler)

// ---- the handlers, each as a fresh process has it

func (u *universe) newID() string {
	if u.quiet || u.cur == nil {
		u.serial++
		return fmt.Sprintf("drain-%d", u.serial)
	}
	u.cur.serial++
	return fmt.Sprintf("%s-%d", u.cur.name, u.cur.serial)
}

// newAttempt names a submission by its actor, so that it does not depend on how
// often anything was written before.
func (u *universe) newAttempt() string {
	if u.quiet || u.cur == nil {
		return u.newID()
	}
	u.cur.attempts++
	return fmt.Sprintf("%s-attempt-%d", u.cur.name, u.cur.attempts)
}

// forget is the end of a call: what its function was answered is gone with it, and
// the caller keeps no more than what is given.
func (u *universe) forget(kept ...string) {
	if a := u.cur; a != nil && !u.quiet {
		a.calls++
		u.keep(a)
		a.holds, a.answers, a.told, a.heard = a.holds[:0], a.answers[:0], 0, mix(0, kept...)
	}
}

// clock is that of the handlers that decide by time: what they read of it is among
// what they were answered. The records' own moments are no such decision.
func (u *universe) clock() time.Time {
	if a := u.cur; a != nil && !u.quiet {
		a.hear("clock", strconv.FormatInt(u.now.UnixMilli(), 36))
	}
	return u.now
}

func (u *universe) wait(ctx context.Context, d time.Duration) error {
	u.sleep("", d)
	return ctx.Err()
}

func (u *universe) runs() *lifecycle.Runs {
	return &lifecycle.Runs{
		Store: &store.Store{S3: u.s3, Bucket: stateBucket, NoPause: true}, Outputs: u.s3, Cyberun: service{u}, Executions: machine{u},
		Now: func() time.Time { return u.now }, Sleep: u.wait, NewID: u.newID,
	}
}

func (u *universe) doubts() doubt.Investigator {
	return doubt.Investigator{Cyberun: service{u}, Runs: u.runs(), Now: u.clock}
}

func (u *universe) submit() *submit.Handler {
	runs := u.runs()
	runs.Outputs = nil
	return &submit.Handler{
		Cyberun: service{u}, Runs: runs, Doubts: u.doubts(), Buckets: u.s3, OutputBucket: outputBucket, StateBucket: stateBucket,
		Waits: submit.DefaultWaits, InDoubt: submit.InDoubt(u.setting()), Now: u.clock, Sleep: u.wait, NewID: u.newAttempt,
		Random: func(most time.Duration) time.Duration { return most / 2 },
	}
}

func (u *universe) setting() string {
	if u.inDoubt == "" {
		return string(submit.Verify)
	}
	return u.inDoubt
}

func (u *universe) poll(webhooks bool) *poll.Handler {
	runs := u.runs()
	runs.Outputs = nil
	return &poll.Handler{Cyberun: service{u}, Runs: runs, Resumer: machine{u}, Webhooks: webhooks, Now: u.clock, Sleep: u.wait}
}

func (u *universe) copyResult() *copyresult.Handler {
	return &copyresult.Handler{
		Cyberun: service{u}, Runs: u.runs(), AtOnce: 1, Now: u.clock,
		NewCopier: func(time.Time, int) copyresult.Copier { return copier{u} },
	}
}

func (u *universe) closeRun() *closerun.Handler {
	return &closerun.Handler{
		Closer: lifecycle.Closer{Runs: u.runs(), Bucket: outputBucket}, Doubts: u.doubts(), Executions: machine{u}, Sweepers: 1,
		Now: u.clock, Sleep: func(ctx context.Context, d time.Duration) error {
			if d < time.Second {
				return nil // the pace of calls to Step Functions
			}
			return u.wait(ctx, d)
		},
	}
}

func (u *universe) api() *api.Handler {
	return &api.Handler{
		Cyberun: service{u}, Runs: u.runs(), Executions: machine{u}, OutputBucket: outputBucket,
		Log: silent, Now: u.clock, NewID: u.newID, Sleep: func(context.Context, time.Duration) error { return nil },
	}
}

// ---- what drives them

// once is one invocation of a function; a kill ends it and not its caller.
func once[T any](handle func(context.Context) (T, error)) (out T, failure *named.Error) {
	defer func() {
		if r := recover(); r != nil {
			if _, dies := r.(killed); !dies {
				panic(r)
			}
			failure = named.Errorf(died, "the function died")
		}
	}()
	out, err := handle(context.Background())
	if err != nil {
		e := observe.LambdaError(err).(messages.InvokeResponse_Error)
		failure = named.Parse(e.Type, e.Message)
	}
	return out, failure
}

const (
	tries     = 2
	awaitTime = 300 * time.Second
)

// request is what every run of the scenarios asks for.
const request = `{"workflow":"w","parameters":{}}`

// start begins an execution, before the search.
func (u *universe) start(id, request string) {
	u.execs[id] = &execution{state: executions.Running, at: "Submit", request: request, before: &executions.Execution{}}
}

// drive is the state machine of one life of an execution, up to the state named;
// empty: to its end.
func (u *universe) drive(id, until string) {
	m, x := machine{u}, u.execs[id]
	life := x.redrives
	live := func() bool { return x.state == executions.Running && x.redrives == life }
	tried := 0
	for live() && x.at != until {
		next, failure := u.invoke(id, life)
		if !live() {
			return // nobody listens any more
		}
		u.forget(next, outcomeOf(failure), strconv.Itoa(tried))
		if failure == nil {
			if next != x.at {
				tried = 0
			} else if tried++; tried >= tries {
				return // it waits on: the drain goes on from here
			}
			u.sfn(id, "goes to "+next, func() {
				if !live() {
					return
				}
				if x.at = next; next == "Done" {
					m.end(id, executions.Succeeded, named.Error{})
				}
			})
			continue
		}
		pause, retried := pauses[failure.Name]
		if tried++; retried && (tried < tries || u.quiet && tried < 60) {
			u.sleep("before "+x.at+" of "+id+" is tried again", pause)
			continue
		}
		u.sfn(id, "fails as "+failure.Name, func() {
			if live() {
				m.end(id, executions.Failed, *failure)
			}
		})
		return
	}
}

// pauses are what the state machine waits before it tries again.
var pauses = map[string]time.Duration{
	named.SubmitInDoubt: 36 * time.Second, named.WorkflowInDoubt: time.Second, named.Unavailable: 2 * time.Second, died: 2 * time.Second,
}

const died = "Lambda.Unknown"

// outcomeOf is what the state machine keeps of a call: a death is retried as an
// outage is.
func outcomeOf(failure *named.Error) string {
	switch {
	case failure == nil:
		return ""
	case failure.Name == died:
		return named.Unavailable
	}
	return failure.Name
}

// sfn is Step Functions' own write of an execution.
func (u *universe) sfn(id, what string, do func()) {
	_ = u.call(op{name: id + " " + what, key: "sfn/" + arnPrefix + id, kind: writes}, func() error { do(); return nil }, nil)
}

// invoke calls the step that an execution stands at, and returns the next one.
func (u *universe) invoke(id string, life int) (next string, failure *named.Error) {
	x := u.execs[id]
	at := x.at
	switch at {
	case "Submit":
		return "PollStatus", u.callSubmit(id, life)
	case "PollStatus":
		out, failure := once(func(ctx context.Context) (poll.Output, error) {
			return u.poll(u.webhooks()).Handle(ctx, poll.Input{RunID: id, RedriveCount: &life})
		})
		switch {
		case failure != nil:
			return "", failure
		case out.Done:
			return "CopyResult", nil
		case out.Park:
			return "AwaitWebhook", nil
		}
		u.sleep("for the next poll of "+id, time.Duration(out.WaitSeconds)*time.Second)
		return at, nil
	case "AwaitWebhook":
		token := fmt.Sprintf("%s-%d-%d", id, life, u.nextToken())
		if _, failure := once(func(ctx context.Context) (poll.Output, error) {
			return u.poll(true).Handle(ctx, poll.Input{RunID: id, RedriveCount: &life, TaskToken: token})
		}); failure != nil {
			return "", failure
		}
		if u.await(id, token) {
			return "PollStatus", nil
		}
		return at, nil
	}
	out, failure := once(func(ctx context.Context) (copyresult.Output, error) {
		return u.copyResult().Handle(ctx, copyresult.Input{RunID: id, RedriveCount: &life})
	})
	if failure == nil && out.Done {
		return "Done", nil
	}
	return at, failure
}

// keep notes the receipt of a call that has ended.
func (u *universe) keep(a *actor) {
	if a.receipt != "" {
		u.receipts, a.receipt = append(u.receipts, a.receipt), ""
	}
}

func (u *universe) callSubmit(id string, life int) *named.Error {
	if a := u.cur; a != nil {
		a.inSubmit = true
		defer func() { a.inSubmit = false }()
	}
	_, failure := once(func(ctx context.Context) (submit.Output, error) {
		return u.submit().Handle(ctx, submit.Input{
			RunID: id, ExecutionARN: arnPrefix + id, StartedAt: began, RedriveCount: &life, Request: json.RawMessage(u.execs[id].request),
		})
	})
	return failure
}

func (u *universe) webhooks() bool { return u.token["webhooks are on"] }

func (u *universe) nextToken() int {
	u.serial++
	return u.serial
}

// await waits for a task token, or its time-out.
func (u *universe) await(id, token string) bool {
	if u.quiet {
		if !u.token[token] {
			u.now = u.now.Add(awaitTime)
		}
		return u.token[token]
	}
	err := u.call(op{name: id + " awaits a webhook", key: "token/" + token, also: "sfn/" + arnPrefix + id, takes: awaitTime, awaits: func() bool { return u.token[token] || u.execs[id].state != executions.Running }}, func() error { return nil }, nil)
	return err == nil
}

// deliverEvent is EventBridge's call of close-run, with Lambda's retries.
func (u *universe) deliverEvent(e endEvent) {
	for n := range 3 {
		_, failure := once(func(ctx context.Context) (closerun.Output, error) {
			return u.closeRun().Handle(ctx, closerun.Input{Detail: closerun.Detail{
				ExecutionARN: arnPrefix + e.id, Name: e.id, Status: e.status, Error: e.error, Cause: e.cause, RedriveCount: e.redrives,
			}})
		})
		if failure == nil {
			return
		}
		u.forget(strconv.Itoa(n))
		u.sleep("before close-run is called again", time.Minute)
	}
}

func (u *universe) sweep() *named.Error {
	_, failure := once(func(ctx context.Context) (closerun.Output, error) {
		return u.closeRun().Handle(ctx, closerun.Input{Sweep: true})
	})
	return failure
}

// stop is a person's DELETE.
func (u *universe) stop(id string) {
	code, body := u.http("DELETE /runs/{id}", id, "")
	if code == 202 && strings.Contains(body, `"status":"cancelled"`) {
		u.told[id] = true
	}
}

// http is a call of a route for the run. A function's death is a panic here, which
// the API's own guard must not take for a fault of its code.
func (u *universe) http(route, id, body string) (code int, answer string) {
	out, failure := once(func(ctx context.Context) (events.APIGatewayV2HTTPResponse, error) {
		return u.api().Answer(ctx, events.APIGatewayV2HTTPRequest{RouteKey: route, PathParameters: map[string]string{"id": id}, Body: body}), nil
	})
	if failure != nil {
		return 503, failure.Cause
	}
	return out.StatusCode, out.Body
}

// decide is a person's word on a run in doubt, said again while the API is away.
func (u *universe) decide(id, word string) {
	for n := range 3 {
		if code, _ := u.http("POST /runs/{id}/outcome", id, word); code != 503 {
			return
		}
		u.forget(strconv.Itoa(n))
	}
}

// redrive continues an execution and drives its new life.
func (u *universe) redrive(id, until string) {
	err := machine{u}.Redrive(context.Background(), arnPrefix+id)
	if err == nil || errors.Is(err, executions.ErrNotRedrivable) && u.execs[id].state == executions.Running {
		u.drive(id, until)
	}
}

type secrets struct{}

func (secrets) Key(context.Context) (string, error)             { return "whsec", nil }
func (secrets) Refresh(context.Context, string) (string, error) { return "whsec", nil }

func (u *universe) webhook(taskID string) {
	body := fmt.Sprintf(`{"task_id":%q,"task_status":"completed"}`, taskID)
	h := &webhook.Handler{Enabled: true, Secrets: secrets{}, Runs: u.runs(), Resumer: machine{u}, Log: silent, Now: u.clock}
	for n := range 4 { // Cyberun delivers a webhook four times
		out, failure := once(func(ctx context.Context) (events.APIGatewayV2HTTPResponse, error) {
			return h.Handle(ctx, events.APIGatewayV2HTTPRequest{Body: body, Headers: map[string]string{"x-webhook-signature-256": signature(body)}})
		})
		if failure == nil && out.StatusCode < 300 {
			return
		}
		u.forget(strconv.Itoa(n))
	}
}
