package run

import "time"

const (
	// MinWait and MaxWait bound a wait between two polls: shorter costs
	// transitions, longer costs the user's time.
	MinWait = 3 * time.Second
	MaxWait = 60 * time.Second
	// waitShare of the time waited so far is the next wait: a result is late by
	// at most about this share of what the task took.
	waitShare = 0.15
	// pollBudget keeps a run's history under Step Functions' 25,000 events: a
	// poll writes 9 of them, and the copy and retries need some too.
	pollBudget = 2000
)

// NextWait is how long to wait before the next poll. Very long runs wait longer,
// or their polls would not fit into one history.
func NextWait(waited, maxRun time.Duration) time.Duration {
	longest := max(MaxWait, maxRun/pollBudget)
	return min(max(time.Duration(waitShare*float64(waited)), MinWait), longest).Truncate(time.Second)
}
