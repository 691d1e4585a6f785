package run

import (
	"testing"
	"time"
)

func TestNextWait(t *testing.T) {
	const day = 24 * time.Hour
	tests := []struct {
		name         string
		waited, left time.Duration
		events       int
		want         time.Duration
	}{
		{name: "at once", left: day, want: MinWait},
		{name: "before it began: two clocks", waited: -time.Minute, left: day, want: MinWait},
		{name: "half a minute", waited: 30 * time.Second, left: day, want: 4 * time.Second},
		{name: "15 % of a minute", waited: time.Minute, left: day, want: 9 * time.Second},
		{name: "whole seconds only", waited: 65 * time.Second, left: day, want: 9 * time.Second},
		{name: "the longest", waited: time.Hour, left: day, want: MaxWait},
		{name: "the longest of a very long run", waited: 2 * day, left: 5 * day, want: 311 * time.Second},
		{name: "the start of a very long run", left: 7 * day, want: MinWait},
		{name: "a run of a second", left: time.Second, want: MinWait},
		{name: "long after the deadline", waited: 8 * day, left: -day, want: 311 * time.Second},
		{name: "a history that begins to fill", waited: time.Hour, left: 6 * day, events: fillingHistory, want: 1556 * time.Second},
		{name: "just before that", waited: time.Hour, left: day, events: fillingHistory - 1, want: MaxWait},
		{name: "a full history", waited: time.Hour, left: day, events: FullHistory, want: day},
		{name: "a filling history near the deadline", waited: time.Hour, left: time.Minute, events: fillingHistory, want: MaxWait},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := NextWait(test.waited, test.left, test.events); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// maxPolls is what design.md allows a run: 9 of 25,000 history events for each.
const maxPolls = 2000

// Whatever max_seconds a run has, its polls fit into one history, and each wait
// into its bounds. Runs whose longest wait is the same wait alike, so that one
// walk along the time serves all of them.
func TestPollsFitIntoOneHistory(t *testing.T) {
	var waited, longest time.Duration
	polls, most := 0, 0
	for s := 1; s <= MaxMaxSeconds; s++ {
		maxRun := time.Duration(s) * time.Second
		if l := NextWait(maxRun, 0, 0); l != longest && maxRun > time.Hour || s == 1 {
			waited, polls, longest = 0, 0, max(l, MaxWait)
		}
		for waited < maxRun {
			wait := NextWait(waited, maxRun-waited, 0)
			if wait < MinWait || wait > longest || wait != wait.Truncate(time.Second) {
				t.Fatalf("max_seconds %d, after %v: a wait of %v", s, waited, wait)
			}
			waited += wait
			polls++
		}
		if polls > maxPolls || polls*PollEvents >= fillingHistory {
			t.Fatalf("max_seconds %d takes %d polls", s, polls)
		}
		most = max(most, polls)
	}
	t.Logf("at most %d polls", most)
}

// The same without the shortcut, each run walked for itself.
func TestPollsOfOneRun(t *testing.T) {
	for s := 1; s <= MaxMaxSeconds; s += 3571 { // a prime: 170 runs of all lengths
		maxRun := time.Duration(s) * time.Second
		polls := 0
		for waited := time.Duration(0); waited < maxRun; polls++ {
			waited += NextWait(waited, maxRun-waited, polls*PollEvents)
		}
		if polls > maxPolls {
			t.Errorf("max_seconds %d takes %d polls", s, polls)
		}
	}
}

// However early retries fill the history, the polls that are left fit below the
// end of it.
func TestFullHistoryIsNotReached(t *testing.T) {
	for _, maxRun := range []time.Duration{time.Hour, 24 * time.Hour, MaxRunTime} {
		for at := time.Duration(0); at < maxRun; at += maxRun / 50 {
			events := fillingHistory
			for waited := at; waited < maxRun; events += PollEvents {
				waited += NextWait(waited, maxRun-waited, events)
			}
			if events > FullHistory {
				t.Errorf("a run of %s, its history filled after %s, ends with %d events", maxRun, at, events)
			}
		}
	}
}

// A result is late by the last wait at most: 15 % of what the task took, or the
// shortest wait, until the longest one is reached.
func TestWaitsGrowWithTheTask(t *testing.T) {
	last := time.Duration(0)
	for waited := time.Duration(0); waited < time.Hour; waited += time.Second {
		wait := NextWait(waited, 24*time.Hour-waited, 0)
		if wait < last || wait > max(MinWait, min(MaxWait, waited*15/100)) {
			t.Fatalf("after %v: %v, before that %v", waited, wait, last)
		}
		last = wait
	}
}

func TestEarlyWait(t *testing.T) {
	for n, want := range map[int]time.Duration{0: 3 * time.Second, 1: 3 * time.Second, 2: 6 * time.Second, 3: 12 * time.Second, 5: 48 * time.Second, 6: MaxWait, 1000: MaxWait} {
		if got := EarlyWait(n); got != want {
			t.Errorf("check %d waits %v, want %v", n, got, want)
		}
	}
}
