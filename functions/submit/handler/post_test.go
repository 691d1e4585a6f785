package handler

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// TestRefused: these surely started nothing, so the mark is taken back and the
// next try, if there is one, posts at once.
func TestRefused(t *testing.T) {
	tests := []struct {
		status int
		want   string
	}{
		{status: http.StatusBadRequest, want: named.RunRejected},
		{status: http.StatusUnauthorized, want: named.Unauthorized},
		{status: http.StatusPaymentRequired, want: named.RunRejected},
		{status: http.StatusForbidden, want: named.FeatureNotLicensed},
		{status: http.StatusNotFound, want: named.WorkflowNotFound},
		{status: http.StatusMethodNotAllowed, want: named.RunRejected},
		{status: http.StatusRequestEntityTooLarge, want: named.RunRejected},
		{status: http.StatusUnsupportedMediaType, want: named.RunRejected},
		{status: http.StatusUnprocessableEntity, want: named.RunRejected},
		{status: http.StatusTooManyRequests, want: named.Unavailable},
		{status: 0, want: named.Unavailable}, // the headers were never written
	}
	for _, test := range tests {
		t.Run(http.StatusText(test.status), func(t *testing.T) {
			w := newWorld(t)
			in := w.input("r1", prompted("r1"))
			w.Cyberun.Refuse = func() error {
				if test.status == 0 {
					return &cyberun.StartError{NotStarted: true, Err: &cyberun.NetworkError{Err: errNetwork}}
				}
				return functiontest.Refused(test.status)
			}
			_, _, err, _ := w.once(in)
			namedtest.Want(t, err, test.want, "")
			record := w.Run("r1")
			if record.Submission != nil || record.Posts != 0 {
				t.Errorf("the mark stands: %+v", record.Record)
			}
			w.checkNoTraces("r1")
			w.Cyberun.Refuse = nil
			out, _, err, _ := w.once(in)
			if err != nil {
				t.Fatal(err)
			}
			w.checkSettled("r1", out)
		})
	}
}

// TestDoubted: of these nobody can say, so nothing is posted again before the
// list was read. A page that is not Cyberun's says nothing, whatever its status.
func TestDoubted(t *testing.T) {
	for _, status := range []int{301, 408, 409, 500, 502, 503, 504} {
		for _, started := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, started %v", http.StatusText(status), started), func(t *testing.T) {
				w := witnessed(t)
				in := w.input("r1", prompted("r1"))
				w.Around = func(call string, do func() error) error {
					if call != "StartTask" {
						return do()
					}
					w.Around = nil
					if started {
						_ = do()
					}
					return functiontest.Answered(status)
				}
				_, _, err, _ := w.once(in)
				namedtest.Want(t, err, named.SubmitInDoubt, "")
				if record := w.Run("r1"); !record.InDoubt() || len(w.S3.Keys(stateBucket, "submitting/wf-1/r1/")) != 1 || len(w.S3.Keys(stateBucket, "doubt/wf-1/r1")) != 1 {
					t.Errorf("no mark: %+v", record.Record)
				}
				w.submits("r1", in)
				if record := w.Run("r1"); record.Adopted != started || record.Evidence == run.ByExclusion != started {
					t.Errorf("adopted: %v, %s", record.Adopted, record.Evidence)
				}
			})
		}
	}
}

// TestTaskIDLost: the task is there, and its id stands nowhere but in the error. It
// is tried for as long as the call lives.
func TestTaskIDLost(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	posted := time.Time{}
	w.Around = func(call string, do func() error) error {
		if call == "StartTask" {
			posted = w.Now
		}
		if !posted.IsZero() && call == "PutObject state/runs/r1.json" {
			return errNetwork
		}
		return do()
	}
	_, _, err, _ := w.once(in)
	if len(w.Cyberun.Started) != 1 {
		t.Fatalf("%v", w.Cyberun.Started)
	}
	namedtest.Want(t, err, named.Unavailable, "the task "+w.Cyberun.Started[0].ID+" is this run's")
	if tried := w.Now.Sub(posted); tried < lambdaTime-time.Minute {
		t.Errorf("tried for %s of %s", tried, lambdaTime)
	}
	w.Around = nil
	w.submits("r1", in)
}

// TestRateLimited: minutes of 429 are minutes of waiting.
func TestRateLimited(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	until := w.Now.Add(10 * time.Minute)
	w.Cyberun.Refuse = func() error {
		if w.Now.Before(until) {
			return functiontest.Refused(http.StatusTooManyRequests)
		}
		return nil
	}
	w.submits("r1", in)
}

// TestNeverStarts: a POST that gets through and never makes a task is not made
// for ever.
func TestNeverStarts(t *testing.T) {
	w := witnessed(t)
	in := w.input("r1", prompted("r1"))
	posts := 0
	w.Cyberun.Refuse = func() error {
		posts++
		return &cyberun.APIError{Method: "POST", Path: "/r/workflows/slug/w/run", Status: http.StatusInternalServerError, Message: "pq: unsupported Unicode escape sequence", JSON: true}
	}
	_, err := w.drive(in)
	namedtest.Want(t, err, named.RunRejected, "5 submissions")
	namedtest.Want(t, err, named.RunRejected, "Cyberun answered 500 to POST /r/workflows/slug/w/run: pq: unsupported Unicode escape sequence")
	if posts != maxPosts {
		t.Errorf("%d posts", posts)
	}
}

// TestSlowMark: a state bucket that eats the POST's time leaves nothing in doubt.
func TestSlowMark(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	slow := true
	w.Around = func(call string, do func() error) error {
		if slow && strings.HasPrefix(call, "PutObject state/submitting/wf-1/r1/") {
			slow = false
			w.Now = w.Now.Add(DefaultWaits.Post)
		}
		return do()
	}
	_, _, err, _ := w.once(in)
	namedtest.Want(t, err, named.Unavailable, "nothing was submitted")
	if len(w.Cyberun.Started) > 0 || w.Run("r1").InDoubt() {
		t.Error("paid, or in doubt")
	}
	w.submits("r1", in)
}

// TestSlowWorkflow: the window of a lost reply is counted from the Date header,
// so the POST's time must not begin when a slow answer with an old Date arrives.
func TestSlowWorkflow(t *testing.T) {
	w := witnessed(t)
	in := w.input("r1", prompted("r1"))
	w.Around = func(call string, do func() error) error {
		err := do()
		if call == "Workflow" {
			w.Now = w.Now.Add(18 * time.Second)
		}
		return err
	}
	h := w.handler()
	h.Cyberun = latest{w.Cyberun, w}
	if _, err := h.Handle(t.Context(), in); !named.Is(err, named.SubmitInDoubt) {
		t.Fatal(err)
	}
	w.Around = nil
	w.submits("r1", in)
}

// latest starts its task at the last moment that a POST has, and loses the reply.
type latest struct {
	*functiontest.Cyberun
	world *world
}

func (l latest) StartTask(ctx context.Context, _ string, parameters map[string]any) (string, error) {
	deadline, _ := ctx.Deadline()
	l.world.Now = l.world.Now.Add(time.Until(deadline))
	l.Start(parameters)
	return "", &cyberun.StartError{Err: context.DeadlineExceeded}
}
