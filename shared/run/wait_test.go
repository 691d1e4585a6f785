package run

import (
	"testing"
	"time"
)

func TestNextWait(t *testing.T) {
	const day = 24 * time.Hour
	tests := []struct {
		name           string
		waited, maxRun time.Duration
		want           time.Duration
	}{
		{"at once", 0, day, MinWait},
		{"before it began: two clocks", -time.Minute, day, MinWait},
		{"half a minute", 30 * time.Second, day, 4 * time.Second},
		{"15 % of a minute", time.Minute, day, 9 * time.Second},
		{"whole seconds only", 65 * time.Second, day, 9 * time.Second},
		{"the longest", time.Hour, day, MaxWait},
		{"the longest of a very long run", 2 * day, 7 * day, 302 * time.Second},
		{"the start of a very long run", 0, 7 * day, MinWait},
		{"a run of a second", 0, time.Second, MinWait},
		{"long after the deadline", 1000 * day, day, MaxWait},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := NextWait(test.waited, test.maxRun); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// maxPolls is what design.md allows a run: 9 of 25,000 history events for each.
const maxPolls = 2500

// Whatever max_seconds a run has, its polls fit into one history, and each wait
// into its bounds. Runs whose longest wait is the same wait alike, so that one
// walk along the time serves all of them.
func TestPollsFitIntoOneHistory(t *testing.T) {
	var waited, longest time.Duration
	polls, most := 0, 0
	for s := 1; s <= MaxMaxSeconds; s++ {
		maxRun := time.Duration(s) * time.Second
		if l := NextWait(1<<55, maxRun); l != longest {
			waited, polls, longest = 0, 0, l
		}
		for waited < maxRun {
			wait := NextWait(waited, maxRun)
			if wait < MinWait || wait > longest || wait != wait.Truncate(time.Second) {
				t.Fatalf("max_seconds %d, after %v: a wait of %v", s, waited, wait)
			}
			waited += wait
			polls++
		}
		if polls > maxPolls {
			t.Fatalf("max_seconds %d takes %d polls", s, polls)
		}
		most = max(most, polls)
	}
	t.Logf("at most %d polls", most)
}

// The same without the shortcut, each run walked for itself; and a retry's worth
// of polls is left.
func TestPollsOfOneRun(t *testing.T) {
	for s := 1; s <= MaxMaxSeconds; s += 3571 { // a prime: 170 runs of all lengths
		maxRun := time.Duration(s) * time.Second
		polls := 0
		for waited := time.Duration(0); waited < maxRun; polls++ {
			waited += NextWait(waited, maxRun)
		}
		if polls > maxPolls {
			t.Errorf("max_seconds %d takes %d polls", s, polls)
		}
	}
}

// A result is late by the last wait at most: 15 % of what the task took, or the
// shortest wait, until the longest one is reached.
func TestWaitsGrowWithTheTask(t *testing.T) {
	last := time.Duration(0)
	for waited := time.Duration(0); waited < time.Hour; waited += time.Second {
		wait := NextWait(waited, 24*time.Hour)
		if wait < last || wait > max(MinWait, min(MaxWait, waited*15/100)) {
			t.Fatalf("after %v: %v, before that %v", waited, wait, last)
		}
		last = wait
	}
}
