package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// watchFlags are those of every command that can wait for a run's end.
type watchFlags struct {
	Watch   bool          `short:"w" help:"Show progress until the run has ended, then where the outputs are."`
	Out     string        `short:"o" placeholder:"DIR" help:"Download the outputs into this folder; watches the run until then."`
	Timeout time.Duration `placeholder:"DURATION" help:"Stop watching after this long, such as 10m; the run goes on. Default: never."`
}

func (f watchFlags) check() error {
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
	// firstWait and longestWait are for how long one look is held by the API,
	// which answers early only when the run has ended. While things move we look
	// again soon, while nothing does every look may wait as long as it can.
	firstWait   = 2 * time.Second
	longestWait = 20 * time.Second
	// pace bounds the looks even if the API answers at once, whatever the wait.
	pace = time.Second
	// reopening is how long after a redrive a record may still tell the old end.
	reopening = 2 * time.Minute
)

var errTimeout = errors.New("--timeout passed")

// watch shows a run until it has ended, tells how it ended, and fetches its
// outputs if asked to. An end at the moment staleEnd is that from before a
// redrive.
func (s *session) watch(ctx context.Context, api *client, runID string, flags watchFlags, staleEnd time.Time) error {
	watching := ctx
	if flags.Timeout > 0 {
		var cancel context.CancelFunc
		watching, cancel = context.WithTimeoutCause(ctx, flags.Timeout, errTimeout)
		defer cancel()
	}
	v, err := s.until(watching, api, runID, staleEnd)
	switch {
	case errors.Is(context.Cause(watching), errTimeout) && err != nil:
		return &failure{code: codeTimedOut, what: "stopped watching after " + flags.Timeout.String() + "; the run " + runID + " goes on", advice: again(runID)}
	case ctx.Err() != nil:
		return &failure{code: codeInterrupted, what: "interrupted; the run " + runID + " goes on", advice: again(runID)}
	case err != nil:
		if f := failureFor(err); f.code == codeUnreachable {
			blind := *f
			blind.advice = again(runID) // we see nothing of it, but it goes on
			return &blind
		}
		return err
	}
	return s.ended(ctx, api, v, flags.Out)
}

// look is one answer of the API.
type look struct {
	view view
	err  error
}

// until returns the run once it has ended.
func (s *session) until(ctx context.Context, api *client, runID string, staleEnd time.Time) (view, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	looks := make(chan look)
	go s.lookOn(ctx, api, runID, staleEnd, looks)
	ticks, stop := s.ticks(time.Second)
	defer stop()
	shown := s.display()
	defer shown.close()
	for {
		select {
		case <-ticks:
			shown.tick()
		case <-ctx.Done():
			return view{}, context.Cause(ctx)
		case l := <-looks:
			if l.err != nil {
				return l.view, l.err
			}
			shown.show(l.view)
			if !l.view.Status.Open() {
				return l.view, nil
			}
		}
	}
}

// lookOn sends what the run looks like, until it has ended or cannot be seen.
func (s *session) lookOn(ctx context.Context, api *client, runID string, staleEnd time.Time, looks chan<- look) {
	begun := s.now()
	wait, before := time.Duration(0), ""
	for {
		asked := s.now()
		v, err := api.run(ctx, runID, wait, patienceWatching)
		stale := v.Status == run.Failed && !staleEnd.IsZero() && v.EndedAt.Equal(staleEnd)
		if err == nil && stale && s.now().Sub(begun) < reopening {
			v.Status, v.Error = run.Submitting, nil // the redriven execution has not reached its first step yet
		}
		select {
		case looks <- look{v, err}:
		case <-ctx.Done():
			return
		}
		if err != nil || !v.Status.Open() {
			return
		}
		if now := stateOf(v); now != before {
			before, wait = now, firstWait
		} else {
			wait = min(2*wait, longestWait)
		}
		if took := s.now().Sub(asked); took < pace {
			if s.sleep(ctx, pace-took) != nil {
				return
			}
		}
	}
}

// ended tells how a run ended.
func (s *session) ended(ctx context.Context, api *client, v view, out string) error {
	var err error
	if v.Status == run.Succeeded && out != "" {
		err = s.download(ctx, api, v, out)
	}
	if s.JSON {
		s.printJSON(v.raw)
	} else {
		s.printEnd(v)
	}
	if err != nil {
		return err
	}
	return endFailure(v)
}

func (s *session) printEnd(v view) {
	how := string(v.Status)
	if !v.StartedAt.IsZero() && !v.EndedAt.IsZero() {
		how += " after " + clock(v.EndedAt.Sub(v.StartedAt))
	}
	s.print("run %s %s%s", v.RunID, how, prefixed(", task ", v.TaskID))
	s.printOutputs(v)
}

func (s *session) printOutputs(v view) {
	if v.Status != run.Succeeded {
		return
	}
	rows := make([][]string, 0, len(v.Outputs)+1)
	for _, o := range v.Outputs {
		rows = append(rows, []string{size(o.Bytes), o.ContentType, o.S3URI})
	}
	if v.ManifestKey != "" {
		rows = append(rows, []string{"", "manifest", "s3://" + v.Bucket + "/" + v.ManifestKey})
	}
	table(s.stdout, rows)
}

// endFailure is how a run's end becomes an exit code.
func endFailure(v view) error {
	switch {
	case v.Status == run.Succeeded || v.Status.Open():
		return nil
	case v.Status == run.Cancelled:
		return &failure{code: codeCancelled, what: "the run " + v.RunID + " was cancelled"}
	case v.Error == nil:
		return &failure{code: codeFailed, what: "the run " + v.RunID + " " + string(v.Status), hint: "its error.json, or the execution in Step Functions, says why"}
	}
	return &failure{code: codeFailed, what: "the run failed: " + v.Error.Name + ": " + v.Error.Cause, hint: howOn(v)}
}

// howOn is the error's hint, with the command that it speaks of.
func howOn(v view) string {
	hint := v.Error.Hint
	switch {
	case v.Error.Name == named.SubmitOutcomeUnknown:
		hint = strings.ReplaceAll(hint, "decide RUN", "decide "+v.RunID)
		hint = strings.ReplaceAll(hint, "status RUN", "status "+v.RunID)
	case v.Error.Redrivable():
		hint += " (relay redrive " + v.RunID + ")"
	}
	return hint
}
