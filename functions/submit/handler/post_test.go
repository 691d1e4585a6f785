package handler

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// TestRefused: these surely started nothing, so the mark is taken back and the
// next try, if there is one, posts at once.
func TestRefused(t *testing.T) {
	tests := []struct {
		status int
		want   string
	}{
		{http.StatusBadRequest, named.RunRejected},
		{http.StatusUnauthorized, named.Unauthorized},
		{http.StatusPaymentRequired, named.RunRejected},
		{http.StatusForbidden, named.FeatureNotLicensed},
		{http.StatusNotFound, named.WorkflowNotFound},
		{http.StatusMethodNotAllowed, named.RunRejected},
		{http.StatusRequestEntityTooLarge, named.RunRejected},
		{http.StatusUnsupportedMediaType, named.RunRejected},
		{http.StatusUnprocessableEntity, named.RunRejected},
		{http.StatusTooManyRequests, named.Unavailable},
		{0, named.Unavailable}, // the headers were never written
	}
	for _, test := range tests {
		t.Run(http.StatusText(test.status), func(t *testing.T) {
			w := newWorld(t)
			in := w.input("r1", prompted("r1"))
			w.service.refuse = func() error {
				err := error(&cyberun.NetworkError{Err: errNetwork})
				if test.status > 0 {
					err = answered(test.status)
				}
				return &cyberun.RunError{Outcome: cyberun.NotStarted, Err: err}
			}
			_, _, err, _ := w.once(in)
			wantName(t, err, test.want, "")
			record, _ := w.records().Get(t.Context(), "r1")
			if record.Submission != nil || record.Posts != 0 || len(w.s3.Keys(stateBucket, "submitting/")) > 0 {
				t.Errorf("the mark stands: %+v", record)
			}
			w.service.refuse = nil
			out, _, err, _ := w.once(in)
			if err != nil {
				t.Fatal(err)
			}
			w.checkSettled("r1", out)
		})
	}
}

// TestDoubted: of these nobody can say, so nothing is posted again before the
// list was read.
func TestDoubted(t *testing.T) {
	for _, status := range []int{301, 402 + 6, 409, 500, 502, 503, 504} {
		for _, started := range []bool{true, false} {
			t.Run(http.StatusText(status), func(t *testing.T) {
				w := newWorld(t)
				in := w.input("r1", prompted("r1"))
				w.around = func(call string, do func() error) error {
					if call != "Run" {
						return do()
					}
					w.around = nil
					if started {
						_ = do()
					}
					return answered(status)
				}
				_, _, err, _ := w.once(in)
				wantName(t, err, named.SubmitInDoubt, "")
				if record, _ := w.records().Get(t.Context(), "r1"); !record.InDoubt() || len(w.s3.Keys(stateBucket, "submitting/wf-1/r1/")) != 1 {
					t.Errorf("no mark: %+v", record)
				}
				out, err := w.drive(in)
				if err != nil {
					t.Fatal(err)
				}
				w.checkSettled("r1", out)
				if record, _ := w.records().Get(t.Context(), "r1"); record.Adopted != started {
					t.Errorf("adopted: %v", record.Adopted)
				}
			})
		}
	}
}

// TestUnstored: the task is there, and its id stands nowhere but in the error.
func TestUnstored(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	posted := false
	w.around = func(call string, do func() error) error {
		posted = posted || call == "Run"
		if posted && call == "PutObject state/runs/r1.json" {
			return errNetwork
		}
		return do()
	}
	_, _, err, _ := w.once(in)
	if len(w.service.tasks) != 1 {
		t.Fatalf("%v", w.service.tasks)
	}
	for _, task := range w.service.tasks {
		wantName(t, err, named.Unavailable, "the task "+task.ID)
	}
	w.around = nil
	out, err := w.drive(in)
	if err != nil {
		t.Fatal(err)
	}
	w.checkSettled("r1", out)
}

// TestRateLimited: minutes of 429 are minutes of waiting.
func TestRateLimited(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	until := w.now.Add(10 * time.Minute)
	w.service.refuse = func() error {
		if w.now.Before(until) {
			return &cyberun.RunError{Outcome: cyberun.NotStarted, Err: answered(http.StatusTooManyRequests)}
		}
		return nil
	}
	out, err := w.drive(in)
	if err != nil {
		t.Fatal(err)
	}
	w.checkSettled("r1", out)
}

// TestNeverStarts: a POST that gets through and never makes a task is not made
// for ever.
func TestNeverStarts(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	posts := 0
	w.service.refuse = func() error { posts++; return answered(http.StatusBadGateway) }
	_, err := w.drive(in)
	wantName(t, err, named.RunRejected, "5 submissions")
	if posts != maxPosts {
		t.Errorf("%d posts", posts)
	}
}

// TestSlowMark: a state bucket that eats the POST's time leaves nothing in doubt.
func TestSlowMark(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	w.around = func(call string, do func() error) error {
		if call == "PutObject state/submitting/wf-1/r1/id-1" {
			w.now = w.now.Add(DefaultWaits.Post)
		}
		return do()
	}
	_, _, err, _ := w.once(in)
	wantName(t, err, named.Unavailable, "nothing was submitted")
	if len(w.service.tasks) > 0 {
		t.Error("paid")
	}
	out, err := w.drive(in)
	if err != nil {
		t.Fatal(err)
	}
	w.checkSettled("r1", out)
}

// TestSlowWorkflow: the window of a lost reply is counted from the Date header,
// so the POST's time must not begin when a slow answer with an old Date arrives.
func TestSlowWorkflow(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	w.service.skew = -3 * time.Minute
	w.around = func(call string, do func() error) error {
		err := do()
		if call == "Workflow" {
			w.now = w.now.Add(18 * time.Second)
		}
		return err
	}
	h := w.handler()
	h.Cyberun = latest{w.service}
	if _, err := h.Handle(t.Context(), in); !named.Is(err, named.SubmitInDoubt) {
		t.Fatal(err)
	}
	w.around = nil
	out, err := w.drive(in)
	if err != nil {
		t.Fatal(err)
	}
	w.checkSettled("r1", out)
}

// latest starts its task at the last moment that a POST has, and loses the reply.
type latest struct{ *service }

func (s latest) Run(ctx context.Context, _ string, parameters map[string]any) (cyberun.RunReceipt, error) {
	deadline, _ := ctx.Deadline()
	s.now = s.now.Add(time.Until(deadline))
	s.start(parameters)
	return cyberun.RunReceipt{}, &cyberun.RunError{Outcome: cyberun.InDoubt, Err: context.DeadlineExceeded}
}

func TestStateBucketFailsAfterTheReceipt(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	down := false
	w.around = func(call string, do func() error) error {
		if down && onS3(call) {
			return errNetwork
		}
		err := do()
		down = down || call == "Run"
		return err
	}
	_, _, err, _ := w.once(in)
	wantName(t, err, named.Unavailable, "")
	w.around = nil
	out, err := w.drive(in)
	if err != nil {
		t.Fatal(err)
	}
	w.checkSettled("r1", out)
}

// TestReceiptOutweighsCandidate: another run in doubt named this run's task as a
// candidate between the receipt and the claim.
func TestReceiptOutweighsCandidate(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	w.around = func(call string, do func() error) error {
		err := do()
		if call == "Run" {
			w.around = nil
			if _, err := w.records().Claim(context.Background(), w.service.tasks[0].ID, candidateOf("r9")); err != nil {
				t.Error(err)
			}
		}
		return err
	}
	out, err := w.drive(in)
	if err != nil {
		t.Fatal(err)
	}
	w.checkSettled("r1", out)
}
