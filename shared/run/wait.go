package run

import "time"

// Bounds of the wait between two polls, and of the history of a run's execution.
const (
	// MinWait and MaxWait bound the wait between two polls: a shorter one costs state
	// transitions, a longer one makes results late. EarlyWait begins with MinWait, and
	// so does the polling within a call (inlinePolling in functions/poll-status/handler);
	// local/waitreport and docs/waiting say the 3 s.
	MinWait = 3 * time.Second
	MaxWait = 60 * time.Second
	// waitShare is the next wait as a share of the time waited so far, so that a result is
	// late by at most about this share of what its task took.
	waitShare = 0.15

	// Step Functions keeps at most 25,000 events in the history of an execution, and
	// redrives only one that has fewer than 24,999. A poll with its choice and its wait
	// adds PollEvents, a wait for a webhook that times out 4, for which ParkEvents counts
	// one more to stay on the safe side, a retry of a state RetryEvents.
	PollEvents  = 9
	ParkEvents  = 5
	RetryEvents = 3
	// fillingHistory is the number of events from which the waits grow, so that the polls
	// which are left fit below FullHistory.
	fillingHistory = 20_000
	// FullHistory is the number of events at which a run ends as HistoryFull, while its
	// execution can still be redriven.
	FullHistory = 23_000
	// pollBudget is how many of the longest waits a run's time is divided into. The
	// shorter waits at its start come on top, some 50 of them: together a run
	// stays within 2,000 polls, well below fillingHistory.
	pollBudget = 1940
)

// NextWait returns how long to wait before the next poll of a run that has waited for
// waited and may still wait for left; events is how many events its execution's history
// has. The wait is 15 % of waited, from [MinWait] to [MaxWait], in whole seconds. It
// may be longer than MaxWait for a run of more than 32 hours, which would need too many
// polls, and once the history has 20,000 events.
func NextWait(waited, left time.Duration, events int) time.Duration {
	longest := max(MaxWait, (waited+left)/pollBudget)
	wait := min(max(time.Duration(waitShare*float64(waited)), MinWait), longest)
	if events >= fillingHistory {
		polls := max(1, (FullHistory-events)/PollEvents)
		wait = max(wait, left/time.Duration(polls))
	}
	return wait.Truncate(time.Second)
}

// EarlyWait returns how long to wait before the n-th poll, from 1, after a webhook that
// arrived although the task had not ended: [MinWait], doubled for each further poll up
// to [MaxWait].
func EarlyWait(n int) time.Duration {
	wait := MinWait
	for range n - 1 {
		wait = min(2*wait, MaxWait)
	}
	return wait
}
