package transfer

import (
	"os"
	"runtime"
	"testing"
	"time"
)

// After a thousand copies, most of them with faults, nothing is left running
// and nothing open.
func TestNothingLeftBehind(t *testing.T) {
	rows := append(originFaults(), s3Faults()...)
	before, filesBefore := runtime.NumGoroutine(), openFiles(t)
	for i := range 1000 {
		t.Run("copy", func(t *testing.T) { // its clean-up closes servers and clients
			f := newFixture(t, 2*testPart+1)
			f.origin.noRanges = i%3 == 0
			if rows[i%len(rows)].set(f); f.copier.attempts == 0 {
				f.copier.attempts = 2
			}
			_, _ = f.copy()
		})
	}
	for range 100 { // servers and cancelled dials end a moment later
		if runtime.NumGoroutine() <= before && openFiles(t) <= filesBefore {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("%d goroutines, %d before; %d descriptors, %d before\n%s", runtime.NumGoroutine(), before, openFiles(t), filesBefore, stacks[:runtime.Stack(stacks, true)])
}

func openFiles(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Logf("descriptors are not counted here: %v", err)
	}
	return len(entries)
}
