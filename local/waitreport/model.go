package main

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// Model computes the runs that take too long to measure: the clock of a function
// cannot be scaled. It follows poll-status, its waits come from run.NextWait, and
// what a call takes comes from the measured runs. The report compares it with
// each of them.
type Model struct {
	Hold time.Duration // HoldSeconds
	Loop bool          // the 3 s loop, not the relay

	Lead time.Duration // from the task's start to the first poll
	Call map[string]Call
}

const (
	// As in poll-status.
	glance = time.Second
	young  = 2 * run.MinWait
	// loopWait is the loop's.
	loopWait = 3 * time.Second
	// maxRun is the template's default max_seconds, which NextWait asks for.
	maxRun = 24 * time.Hour
)

const (
	callSubmit  = "submit"
	callPoll    = "poll-status"
	callCopy    = "copy-result"
	callWebhook = "on-webhook"
)

// run computes one run whose task takes so long.
func (m Model) run(task time.Duration) Sample {
	s := Sample{Task: task.Seconds(), Scale: 1, Calls: []Call{m.Call[callSubmit]}}
	at, done := m.Lead, false
	if m.Loop {
		at += loopWait
	}
	for !done {
		began := at
		at, done = m.poll(began, task)
		call := m.Call[callPoll]
		call.Seconds = (at - began).Seconds()
		s.Calls = append(s.Calls, call)
		s.Polls++
		if !done {
			at += m.wait(at)
		}
	}
	s.Calls = append(s.Calls, m.Call[callCopy])
	s.Delay = (at + seconds(m.Call[callCopy].Seconds) - task).Seconds()
	s.Transitions, s.Events = m.states(s.Polls)
	return s
}

// poll is one call of poll-status that begins then: when it ends, and whether it
// saw the task's end.
func (m Model) poll(at, task time.Duration) (time.Duration, bool) {
	look := seconds(m.Call[callPoll].Seconds)
	if m.Loop {
		return at + look, at+look >= task
	}
	if m.Hold > 0 && at+look < task {
		budget := max(m.Hold-at, glance)
		return min(at+budget, task) + look, at+budget >= task
	}
	at += look
	for m.Hold == 0 && at < task && at < young {
		at += run.MinWait
	}
	return at, at >= task
}

func (m Model) wait(at time.Duration) time.Duration {
	if m.Loop {
		return loopWait
	}
	return seconds(max(1, math.Ceil(run.NextWait(at, maxRun-at, 0).Seconds())))
}

// states are the transitions and events of a run that polled so often.
func (m Model) states(polls int) (transitions, events int) {
	lambdas, others := polls+2, 2*polls-1+2 // Submit, CopyResult; each poll's choice and wait, IsCopied, Done
	if m.Loop {
		others = 2 * polls // each poll's wait and choice; the copy is the last state
	}
	transitions = lambdas + others
	return transitions, eventsOfExecution + transitions*eventsOfState + lambdas*eventsOfLambda
}

// delay is the mean over tasks that end half a minute earlier or later: where
// between two polls a task of an hour ends is chance.
func (m Model) delay(task time.Duration) (mean, worst float64) {
	const around = 30
	for off := -around; off <= around; off++ {
		d := m.run(task + time.Duration(off)*time.Second).Delay
		mean += d / (2*around + 1)
		worst = max(worst, d)
	}
	return mean, worst
}

// callOf is what a function's call takes: the middle of those measured.
func callOf(list []Sample, function string) Call {
	var all []Call
	for _, s := range list {
		for _, c := range s.Calls {
			if c.Function == function {
				all = append(all, c)
			}
		}
	}
	if len(all) == 0 {
		return Call{Function: function}
	}
	return middle(all)
}

// middle is the median by time; there is at least one.
func middle(calls []Call) Call {
	slices.SortFunc(calls, func(a, b Call) int { return cmp.Compare(a.Seconds, b.Seconds) })
	return calls[len(calls)/2]
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
