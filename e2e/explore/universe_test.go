package explore

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	api "github.com/cyberun-cloud/cyberun-relay/functions/api/handler"
	closerun "github.com/cyberun-cloud/cyberun-relay/functions/close-run/handler"
	copyresult "github.com/cyberun-cloud/cyberun-relay/functions/copy-result/handler"
	upload "github.com/cyberun-cloud/cyberun-relay/functions/on-upload/handler"
	webhook "github.com/cyberun-cloud/cyberun-relay/functions/on-webhook/handler"
	poll "github.com/cyberun-cloud/cyberun-relay/functions/poll-status/handler"
	submit "github.com/cyberun-cloud/cyberun-relay/functions/submit/handler"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/doubt"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// universe is what the code of one caller runs in: in the search, where each of its
// I/Os is an op that waits for the search, or alone with a world of its own, before
// and after the search.
type universe struct {
	owner string     // the run that its POSTs are for
	code  *coroutine // in the search
	w     *world     // alone
	// fate is how a POST goes that is made alone.
	fate    fate
	refused bool // every POST is
}

// alone is a universe for one run in a world that nobody else changes.
func alone(w *world, owner string) *universe { return &universe{owner: owner, w: w} }

func (u *universe) call(o op) answer {
	if u.code != nil {
		return u.code.call(o)
	}
	if o.name == "POST run" && u.refused {
		return failed(&cyberun.StartError{NotStarted: true, Err: errNetwork})
	}
	if o.name == "POST run" && u.fate != proceed {
		return o.perform(u.w, u.fate).answer
	}
	return o.do(u.w, false)
}

func (u *universe) now() time.Time {
	if u.code != nil {
		return u.code.view.now
	}
	return u.w.now
}

// execution is the caller's own, as Step Functions tells it to whom it drives.
func (u *universe) execution() view {
	if u.code != nil {
		return u.code.view
	}
	return u.w.view(&actor{owner: u.owner})
}

// setUp begins the ids that were made before the search, or after it.
const setUp = "alone-"

// newID is another one for each thing that is written. It depends on the caller
// alone, not on what others have done.
func (u *universe) newID() string {
	if u.code != nil {
		u.code.serial++
		return fmt.Sprintf("%s-%d", u.code.name, u.code.serial)
	}
	u.w.serial++
	return fmt.Sprintf("%s%d", setUp, u.w.serial)
}

// newAttempt names a submission by its actor, so that it does not depend on how
// often anything was written before.
func (u *universe) newAttempt() string {
	if u.code == nil {
		return u.newID()
	}
	u.code.attempts++
	return fmt.Sprintf("%s-attempt-%d", u.code.name, u.code.attempts)
}

// forget is the end of a call: see [coroutine.forget].
func (u *universe) forget(kept ...string) {
	if u.code != nil {
		u.code.forget(kept...)
	}
}

// clock is that of the handlers that decide by time: what they read of it is among
// what they were answered. The records' own moments are no such decision.
func (u *universe) clock() time.Time {
	if u.code != nil {
		u.code.hear("clock", strconv.FormatInt(u.code.view.now.UnixMilli(), 36))
	}
	return u.now()
}

// brief is what a pause may last that takes no time: nothing the code decides by
// time is finer than that, and whatever it was to await may come before its end.
const brief = 5 * time.Second

// sleep is the wait of every handler, and of what calls it.
func (u *universe) sleep(name string, d time.Duration) {
	switch {
	case u.code == nil:
		u.w.now = u.w.now.Add(d)
	case d >= brief:
		until := u.now().Add(d)
		u.call(op{name: fmt.Sprintf("waits %s %s", d, name), touch: touch{key: timeKey, kind: writes}, clock: true, takes: d, do: func(w *world, _ bool) answer {
			w.passTo(until)
			return answer{}
		}})
	}
}

func (u *universe) wait(ctx context.Context, d time.Duration) error {
	u.sleep("", d)
	return ctx.Err()
}

func content(body []byte) storetest.Object { return storetest.Object{Body: body} }

var silent = slog.New(slog.DiscardHandler)

// ---- the handlers, each as a fresh process has it

func (u *universe) runs() *lifecycle.Runs {
	return &lifecycle.Runs{
		Store: &store.Store{S3: buckets{u}, Bucket: stateBucket, NoPause: true}, OutputS3: buckets{u}, Cyberun: service{u}, Executions: machine{u},
		Now: u.now, Sleep: u.wait, NewID: u.newID,
	}
}

func (u *universe) doubts() doubt.Investigator {
	return doubt.Investigator{Cyberun: service{u}, Runs: u.runs(), Now: u.clock}
}

func (u *universe) submit(inDoubt string) *submit.Handler {
	runs := u.runs()
	runs.OutputS3 = nil
	if inDoubt == "" {
		inDoubt = string(submit.PolicyVerify)
	}
	return &submit.Handler{
		Cyberun: service{u}, Runs: runs, Doubts: u.doubts(), Buckets: buckets{u}, OutputBucket: outputBucket, StateBucket: stateBucket,
		Waits: submit.DefaultWaits, DoubtPolicy: submit.DoubtPolicy(inDoubt), Now: u.clock, Sleep: u.wait, NewID: u.newAttempt,
		Random: func(most time.Duration) time.Duration { return most / 2 },
	}
}

func (u *universe) poll(webhooks bool) *poll.Handler {
	runs := u.runs()
	runs.OutputS3 = nil
	return &poll.Handler{Cyberun: service{u}, Runs: runs, Resumer: machine{u}, Webhooks: webhooks, Now: u.clock, Sleep: u.wait}
}

func (u *universe) copyResult() *copyresult.Handler {
	return &copyresult.Handler{
		Cyberun: service{u}, Runs: u.runs(), Concurrency: 1, Now: u.clock,
		NewCopier: func(time.Time, int) copyresult.Copier { return copier{u} },
	}
}

func (u *universe) closeRun() *closerun.Handler {
	return &closerun.Handler{
		Closer: lifecycle.Closer{Runs: u.runs(), Bucket: outputBucket}, Doubts: u.doubts(), Executions: machine{u}, Concurrency: 1,
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
		Cyberun: service{u}, Runs: u.runs(), Executions: machine{u}, OutputBucket: outputBucket, Concurrency: 1,
		Log: silent, Now: u.clock, NewID: u.newID, Sleep: func(context.Context, time.Duration) error { return nil },
	}
}

func (u *universe) onWebhook() *webhook.Handler {
	return &webhook.Handler{Enabled: true, Secrets: secrets{}, Runs: u.runs(), Resumer: machine{u}, Log: silent, Now: u.clock}
}

func (u *universe) onUpload() *upload.Handler {
	return &upload.Handler{Inbox: buckets{u}, Executions: machine{u}, Log: silent}
}

type secrets struct{}

func (secrets) Key(context.Context) (string, error)             { return webhookSecret, nil }
func (secrets) Refresh(context.Context, string) (string, error) { return webhookSecret, nil }
