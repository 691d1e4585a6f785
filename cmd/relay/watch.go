package main

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// watchFlags are the flags of every command that can wait for a run's end.
type watchFlags struct {
	Watch   bool          `short:"w" help:"Show progress until the run has ended, then where the outputs are."`
	Out     string        `short:"o" placeholder:"DIR" help:"Download the outputs into this folder; watches the run until then."`
	Timeout time.Duration `placeholder:"DURATION" help:"Stop watching after this long, such as 10m; the run goes on. Default: never."`
}

// Validate refuses a --timeout that is negative, or of a command that does not watch.
func (f watchFlags) Validate() error {
	switch {
	case f.Timeout < 0:
		return &failure{code: codeUsage, what: "--timeout must not be negative"}
	case f.Timeout > 0 && !f.asked():
		return &failure{code: codeUsage, what: "--timeout is for watching", hint: "add --watch; a run's own limit is --max-seconds"}
	}
	return nil
}

func (f watchFlags) asked() bool { return f.Watch || f.Out != "" }

const (
	// firstWait and longestWait bound how long the API holds a question, which it
	// answers early only when the run has ended. While things move it is asked again
	// soon, while nothing does it holds each question longer.
	firstWait   = 2 * time.Second
	longestWait = 20 * time.Second
	// minInterval is the least time between two questions, even if the API answers at
	// once, whatever the wait.
	minInterval = time.Second
	// reopenTime is how long after a redrive a record may still be the old end's.
	reopenTime = 2 * time.Minute
)

var errTimeout = errors.New("--timeout passed")

// watch shows a run until it has ended, reports how it ended, and fetches its outputs if
// asked to. An end at the moment staleEnd is that from before a redrive.
func (s *session) watch(ctx context.Context, relay *client, runID string, flags watchFlags, staleEnd time.Time) error {
	watching := ctx
	if flags.Timeout > 0 {
		var cancel context.CancelFunc
		watching, cancel = context.WithTimeoutCause(ctx, flags.Timeout, errTimeout)
		defer cancel()
	}
	v, err := s.waitForEnd(watching, relay, runID, staleEnd)
	switch {
	case errors.Is(context.Cause(watching), errTimeout) && err != nil:
		return &failure{code: codeTimedOut, what: "stopped watching after " + flags.Timeout.String() + "; the run " + runID + " goes on", followUps: followUps(runID)}
	case ctx.Err() != nil:
		return &failure{code: codeInterrupted, what: "interrupted; the run " + runID + " goes on", followUps: followUps(runID)}
	case err != nil:
		f := *failureFor(err)
		if f.code == codeUnreachable {
			f.followUps = followUps(runID) // nothing is seen of the run, but it goes on
		}
		return &f
	}
	if v.Status == run.Succeeded && flags.Out != "" {
		err = s.download(ctx, relay, v, expandHome(flags.Out))
	}
	_ = s.show(v.raw, func() {
		s.console.resultf("run %s %s%s", v.RunID, statusLine(v, s.now()), withPrefix(", task ", v.TaskID))
		s.console.outputs(v)
	})
	return cmp.Or(err, endFailure(v))
}

// observation holds how a run is, or why that cannot be said. shown is closed once the
// observation of an open run has been printed, so that what the next question prints comes
// after it.
type observation struct {
	view  view
	err   error
	shown chan struct{}
}

// waitForEnd shows a run's progress and returns the run once it has ended.
func (s *session) waitForEnd(ctx context.Context, relay *client, runID string, staleEnd time.Time) (view, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan observation)
	go s.poll(ctx, relay, runID, staleEnd, answers)
	ticks := s.ticks(time.Second)
	shown := &progress{console: s.console, now: s.now, begun: s.now()}
	defer shown.close()
	for {
		select {
		case <-ticks:
			shown.tick()
		case <-ctx.Done():
			return view{}, context.Cause(ctx)
		case a := <-answers:
			if a.err != nil || !a.view.Status.Open() {
				return a.view, a.err
			}
			shown.show(a.view)
			close(a.shown)
		}
	}
}

// poll asks how the run is and sends the answers, until the run has ended or there is
// no answer.
func (s *session) poll(ctx context.Context, relay *client, runID string, staleEnd time.Time, answers chan<- observation) {
	begun := s.now()
	wait, before := time.Duration(0), ""
	for {
		asked := s.now()
		v, err := relay.run(ctx, runID, wait, patienceWatching)
		stale := v.Status == run.Failed && !staleEnd.IsZero() && v.EndedAt.Equal(staleEnd)
		if err == nil && stale && s.now().Sub(begun) < reopenTime {
			v.Status, v.Error = run.Submitting, nil // the redriven execution has not reached its first step yet
		}
		a := observation{v, err, make(chan struct{})}
		select {
		case answers <- a:
		case <-ctx.Done():
			return
		}
		if err != nil || !v.Status.Open() {
			return
		}
		select {
		case <-a.shown:
		case <-ctx.Done():
			return
		}
		if now := stateOf(v); now != before {
			before, wait = now, firstWait
		} else {
			wait = min(2*wait, longestWait)
		}
		if took := s.now().Sub(asked); took < minInterval && s.sleep(ctx, minInterval-took) != nil {
			return
		}
	}
}

// outputs prints where the outputs of a run are that succeeded.
func (c *console) outputs(v view) {
	if v.Status != run.Succeeded {
		return
	}
	rows := make([][]string, 0, len(v.Outputs)+1)
	for _, o := range v.Outputs {
		rows = append(rows, []string{formatBytes(o.Bytes), o.ContentType, o.S3URI})
	}
	if v.OutputsNext != "" {
		rows = append(rows, []string{"", "…", "and more: the manifest has them all, --out saves them all"})
	}
	if v.ManifestKey != "" {
		rows = append(rows, []string{"", "manifest", "s3://" + v.Bucket + "/" + v.ManifestKey})
	}
	c.table(rows)
}

// endFailure explains the end of a run that did not succeed; of one that did it is nil.
func endFailure(v view) error {
	switch {
	case v.Status == run.Succeeded:
		return nil
	case v.Status == run.Cancelled:
		return &failure{code: codeCancelled, what: "the run " + v.RunID + " was cancelled"}
	case v.Error == nil:
		return &failure{code: codeFailed, what: "the run " + v.RunID + " " + string(v.Status), hint: "its error.json, or the execution in Step Functions, says why"}
	}
	return &failure{code: codeFailed, what: "the run failed: " + v.Error.Name + ": " + v.Error.Cause, hint: errorHint(v)}
}

// errorHint returns the hint of a run's error, with the command that it speaks of.
func errorHint(v view) string {
	hint := v.Error.Hint
	switch {
	case v.Error.Name == named.SubmitOutcomeUnknown && v.TaskID == "": // with a task its receipt has come, and nothing is left to decide
		hint = strings.NewReplacer("decide RUN", "decide "+v.RunID, "status RUN", "status "+v.RunID).Replace(hint)
	case v.Error.Redrivable():
		hint += " (relay redrive " + v.RunID + ")"
	}
	return hint
}
