package explore

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda/messages"
	closerun "github.com/cyberun-cloud/cyberun-relay/functions/close-run/handler"
	copyresult "github.com/cyberun-cloud/cyberun-relay/functions/copy-result/handler"
	upload "github.com/cyberun-cloud/cyberun-relay/functions/on-upload/handler"
	poll "github.com/cyberun-cloud/cyberun-relay/functions/poll-status/handler"
	submit "github.com/cyberun-cloud/cyberun-relay/functions/submit/handler"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
)

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
	// tries are how often Step Functions calls a step in the search, and alone.
	tries, triesAlone = 2, 60
	awaitTime         = 300 * time.Second
)

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

// drive is the state machine of one life of the owner's execution, up to the state
// named; empty: to its end.
func (u *universe) drive(until string) {
	id, life := u.owner, u.execution().redrives
	live := func() bool { x := u.execution(); return x.state == executions.Running && x.redrives == life }
	liveIn := func(w *world) bool { x := w.exec(id); return x.state == executions.Running && x.redrives == life }
	tried := 0
	for live() && u.execution().at != until {
		at := u.execution().at
		next, failure := u.invoke(life)
		if !live() {
			return // nobody listens any more
		}
		u.forget(next, outcomeOf(failure), strconv.Itoa(tried))
		if failure == nil {
			if next != at {
				tried = 0
			} else if tried++; tried >= tries {
				return // it waits on: what follows the search goes on from here
			}
			u.sfn(id, "goes to "+next, func(w *world) {
				if !liveIn(w) {
					return
				}
				if w.exec(id).at = next; next == "Done" {
					w.end(id, executions.Succeeded, named.Error{})
				}
			})
			continue
		}
		pause, retried := pauses[failure.Name]
		if tried++; retried && (tried < tries || u.code == nil && tried < triesAlone) {
			u.sleep("before "+at+" of "+id+" is tried again", pause)
			continue
		}
		u.sfn(id, "fails as "+failure.Name, func(w *world) {
			if liveIn(w) {
				w.end(id, executions.Failed, *failure)
			}
		})
		return
	}
}

// invoke calls the step that the owner's execution stands at, and returns the next one.
func (u *universe) invoke(life int) (next string, failure *named.Error) {
	id, at := u.owner, u.execution().at
	switch at {
	case "Submit":
		return "PollStatus", u.callSubmit(life)
	case "PollStatus":
		out, failure := once(func(ctx context.Context) (poll.Response, error) {
			return u.poll(u.execution().webhooks).Handle(ctx, poll.Input{Call: lifecycle.Call{RunID: id, Redrives: &life}})
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
		token := fmt.Sprintf("%s-%d-%s", id, life, u.newID())
		if _, failure := once(func(ctx context.Context) (poll.Response, error) {
			return u.poll(true).Handle(ctx, poll.Input{Call: lifecycle.Call{RunID: id, Redrives: &life}, TaskToken: token})
		}); failure != nil {
			return "", failure
		}
		if u.await(token) {
			return "PollStatus", nil
		}
		return at, nil
	}
	out, failure := once(func(ctx context.Context) (copyresult.Response, error) {
		return u.copyResult().Handle(ctx, copyresult.Input{Call: lifecycle.Call{RunID: id, Redrives: &life}})
	})
	if failure == nil && out.Done {
		return "Done", nil
	}
	return at, failure
}

func (u *universe) callSubmit(life int) *named.Error {
	if c := u.code; c != nil {
		c.inSubmit = true
		defer func() { c.inSubmit = false }()
	}
	_, failure := once(func(ctx context.Context) (submit.Response, error) {
		return u.submit(u.execution().inDoubt).Handle(ctx, submit.Input{
			Call: lifecycle.Call{RunID: u.owner, ExecutionARN: arnPrefix + u.owner, StartedAt: began, Redrives: &life}, Request: json.RawMessage(u.execution().request),
		})
	})
	return failure
}

// await waits for a task token, or its time-out.
func (u *universe) await(token string) bool {
	if u.code == nil {
		if slices.Contains(u.w.tokens, token) {
			return true
		}
		u.w.now = u.w.now.Add(awaitTime)
		return false
	}
	id := u.owner
	return u.call(op{
		name: id + " awaits a webhook", touch: touch{key: "token/" + token}, also: sfnKey(id), takes: awaitTime,
		awaits: func(w *world) bool { return slices.Contains(w.tokens, token) || !w.running(id) },
		do:     func(*world, bool) answer { return answer{} },
	}).err == nil
}

// deliverEvent is EventBridge's call of close-run, with Lambda's retries.
func (u *universe) deliverEvent(e endEvent) {
	for n := range 3 {
		_, failure := once(func(ctx context.Context) (closerun.Response, error) {
			return u.closeRun().Handle(ctx, closerun.Input{Detail: closerun.Detail{
				ExecutionARN: arnPrefix + e.id, Name: e.id, Status: e.status, Error: e.error, Cause: e.cause, RedriveCount: e.redrives,
			}})
		})
		if failure == nil {
			if u.code != nil {
				u.code.handled = true
			}
			return
		}
		u.forget(strconv.Itoa(n))
		u.sleep("before close-run is called again", time.Minute)
	}
}

func (u *universe) sweep() *named.Error {
	_, failure := once(func(ctx context.Context) (closerun.Response, error) {
		return u.closeRun().Handle(ctx, closerun.Input{Sweep: true})
	})
	return failure
}

// stop is a person's DELETE of the owner.
func (u *universe) stop() {
	code, body := u.http("DELETE /runs/{id}", "")
	if code == 202 && strings.Contains(body, `"status":"cancelled"`) && u.code != nil {
		u.code.cancelled = u.owner
	}
}

// http is a call of a route for the owner. A function's death is a panic here, which
// the API's own guard must not take for a fault of its code.
func (u *universe) http(route, body string) (code int, answer string) {
	out, failure := once(func(ctx context.Context) (events.APIGatewayV2HTTPResponse, error) {
		return u.api().Answer(ctx, events.APIGatewayV2HTTPRequest{RouteKey: route, PathParameters: map[string]string{"id": u.owner}, Body: body}), nil
	})
	if failure != nil {
		return 503, failure.Cause
	}
	return out.StatusCode, out.Body
}

// decide is a person's decision on the owner, in doubt, said again while the API is away.
func (u *universe) decide(decision string) {
	for n := range 3 {
		if code, _ := u.http("POST /runs/{id}/outcome", decision); code != 503 {
			return
		}
		u.forget(strconv.Itoa(n))
	}
}

// redrive continues the owner's execution and drives its new life.
func (u *universe) redrive(until string) {
	err := machine{u}.Redrive(context.Background(), arnPrefix+u.owner)
	if err == nil || errors.Is(err, executions.ErrNotRedrivable) && u.execution().state == executions.Running {
		u.drive(until)
	}
}

const webhookSecret = "whsec"

// webhook is Cyberun's message that a task has completed.
func (u *universe) webhook(taskID string) {
	body := fmt.Sprintf(`{"task_id":%q,"task_status":"completed"}`, taskID)
	mac := hmac.New(sha256.New, []byte(webhookSecret))
	mac.Write([]byte(body))
	headers := map[string]string{"x-webhook-signature-256": "sha256=" + hex.EncodeToString(mac.Sum(nil))}
	for n := range 4 { // Cyberun delivers a webhook four times
		out, failure := once(func(ctx context.Context) (events.APIGatewayV2HTTPResponse, error) {
			return u.onWebhook().Handle(ctx, events.APIGatewayV2HTTPRequest{Body: body, Headers: headers})
		})
		if failure == nil && out.StatusCode < 300 {
			return
		}
		u.forget(strconv.Itoa(n))
	}
}

// uploaded is S3's event of an upload, delivered until it is taken.
func (u *universe) uploaded(event upload.Input) (started []string) {
	for n := range 3 {
		out, failure := once(func(ctx context.Context) (upload.Response, error) { return u.onUpload().Handle(ctx, event) })
		if failure == nil {
			return out.Started
		}
		u.forget(strconv.Itoa(n))
	}
	return nil
}
