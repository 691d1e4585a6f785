package run

import "time"

// The bounds of the waits between two polls, and of an execution's history.
const (
	// MinWait and MaxWait bound a wait between two polls: shorter costs
	// transitions, longer costs the user's time. CheckWait begins with MinWait, and so
	// does the polling within a call (inlinePolling in functions/poll-status/handler);
	// local/waitreport and docs/waiting say the 3 s.
	MinWait = 3 * time.Second
	MaxWait = 60 * time.Second
	// waitShare of the time waited so far is the next wait: a result is late by
	// at most about this share of what the task took.
	waitShare = 0.15

	// A history of Step Functions holds 25,000 events, and a redrive needs one that
	// has fewer than 24,999. PollEvents are written by a poll with its choice and
	// its wait, ParkEvents by a wait for a webhook that times out, AttemptEvents by
	// a retry.
	PollEvents    = 9
	ParkEvents    = 5
	AttemptEvents = 3
	// From fillingHistory on, the waits grow so that the polls which are left fit
	// below FullHistory, where the run ends, to be redriven.
	fillingHistory = 20_000
	FullHistory    = 23_000
	// pollBudget is how many of the longest waits a run's time is divided into. The
	// shorter waits at its start come on top, some 50 of them: together a run
	// stays within 2,000 polls, well below fillingHistory.
	pollBudget = 1940
)

// NextWait returns how long to wait before the next poll of a run that has waited
// for waited, may wait for left, and has so many events in its history. It is in
// whole seconds. Very long runs, and those whose retries have filled the history,
// wait longer.
func NextWait(waited, left time.Duration, events int) time.Duration {
	longest := max(MaxWait, (waited+left)/pollBudget)
	wait := min(max(time.Duration(waitShare*float64(waited)), MinWait), longest)
	if events >= fillingHistory {
		polls := max(1, (FullHistory-events)/PollEvents)
		wait = max(wait, left/time.Duration(polls))
	}
	return wait.Truncate(time.Second)
}

// CheckWait returns how long to wait before the n-th poll after a webhook that came
// although the task had not ended: 3 s, doubling to 60 s.
func CheckWait(n int) time.Duration {
	wait := MinWait
	for range n - 1 {
		if wait = 2 * wait; wait >= MaxWait {
			return MaxWait
		}
	}
	return wait
}
