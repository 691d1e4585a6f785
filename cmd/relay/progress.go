package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/schollz/progressbar/v3"
)

// display shows a run while it is watched.
type display interface {
	show(view)
	tick() // a second has passed
	close()
}

func (s *session) display() display {
	begun := s.now()
	elapsed := func(v view) string {
		since := begun
		if !v.StartedAt.IsZero() && v.StartedAt.Before(begun) {
			since = v.StartedAt
		}
		return clock(s.now().Sub(since))
	}
	if !s.terminal {
		return &lines{app: s.app, elapsed: elapsed}
	}
	width := min(barWidth, s.width()/4)
	return &bar{app: s.app, elapsed: elapsed, width: width, bar: progressbar.NewOptions(100,
		// It would draw once for the percentage and once for the words: we draw.
		progressbar.OptionSetWriter(io.Discard), progressbar.OptionSetWidth(width),
		progressbar.OptionSetTheme(barTheme), progressbar.OptionShowDescriptionAtLineEnd(),
		// The library's own clock runs from the bar's first line, ours from the run's start.
		progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false),
	)}
}

const (
	barWidth = 24 // at most; a narrow terminal needs its columns for the words
	// barFrame is what stands on the bar's line besides it and the words: the
	// percentage, the bar's ends, blanks, and a last column left free, since a
	// full line makes some terminals go on to the next.
	barFrame = len(" 100% || ") + 2
)

var barTheme = progressbar.Theme{Saucer: "█", SaucerPadding: "░", BarStart: "│", BarEnd: "│"}

// bar redraws one line of a terminal.
type bar struct {
	app     *app
	elapsed func(view) string
	bar     *progressbar.ProgressBar
	width   int
	last    view
}

func (b *bar) show(v view) {
	b.last = v
	if !v.Status.Open() {
		return // what comes next is the result
	}
	words := b.elapsed(v) + "  " + oneLine(stateOf(v))
	_ = b.bar.Set(percent(v)) // fails only beyond 100
	b.bar.Describe(clip(words, b.app.width()-b.width-barFrame))
	b.app.draw(strings.TrimRight(strings.TrimPrefix(b.bar.String(), "\r"), " "))
}

func (b *bar) tick() {
	if b.last.RunID != "" {
		b.show(b.last)
	}
}

func (b *bar) close() { b.app.draw("") }

// draw puts text in place of the terminal's last line.
func (a *app) draw(text string) { _, _ = io.WriteString(a.stderr, eraseLine+text) }

// eraseLine is the control sequence for it, which every terminal since the VT100 has.
const eraseLine = "\r\x1b[2K"

// lines writes one for each change: what a log file can hold.
type lines struct {
	app     *app
	elapsed func(view) string
	before  string
}

func (l *lines) show(v view) {
	state := stateOf(v)
	if p := percent(v); p > 0 && v.Status.Open() {
		state = fmt.Sprintf("%3d%%  %s", p, state)
	}
	if state == l.before || !v.Status.Open() {
		return
	}
	l.before = state
	l.app.say("%s  %s", l.elapsed(v), oneLine(state))
}

func (l *lines) tick()  {}
func (l *lines) close() {}

// percent is how far the task is. Copying comes after it.
func percent(v view) int {
	if v.Status == run.Copying {
		return 100
	}
	if v.Progress == nil {
		return 0
	}
	const slack = 1e-9 // 0.29*100 is 28.999…
	return int(min(max(v.Progress.Progress, 0), 1)*100 + slack)
}

// taskWords say what a task's states mean to someone who waits.
var taskWords = map[string]string{
	"pending":      "accepted by Cyberun",
	"waiting":      "waiting for a free machine",
	"provisioning": "a machine starts",
	"queued":       "queued on a machine",
	"completed":    "completed",
}

// stateOf says what a run is doing, without how long: it changes only when
// something happens.
func stateOf(v view) string {
	switch {
	case v.Status == run.Copying:
		return "copying the outputs to S3"
	case v.Status != run.Waiting:
		return string(v.Status)
	}
	words := []string{cmp.Or(taskWords[v.TaskStatus], v.TaskStatus, "waiting")}
	if p := v.Progress; p != nil && v.TaskStatus == "running" {
		if p.Stage != "" {
			words = append(words, "stage "+p.Stage)
		}
		if p.StepCurrent != nil && p.StepTotal != nil {
			words = append(words, fmt.Sprintf("step %d/%d", *p.StepCurrent, *p.StepTotal))
		}
		if p.CurrentNode != "" {
			words = append(words, "node "+p.CurrentNode)
		}
		if p.Message != "" {
			words = append(words, p.Message)
		}
	}
	return strings.Join(words, ", ")
}

// took is how long a run has taken, or took.
func (s *session) took(v view) time.Duration {
	switch {
	case v.StartedAt.IsZero():
		return 0
	case v.EndedAt.IsZero():
		return s.now().Sub(v.StartedAt)
	}
	return v.EndedAt.Sub(v.StartedAt)
}
