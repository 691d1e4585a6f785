package crash

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"time"
)

// scale shortens every wait alike: the function's own by its settings, and those
// of the state machine's Retry. What cannot be shortened is the service's clock,
// whose Date header has whole seconds.
const scale = 20

// The submit protocol's waits, divided by scale.
var settings = []string{"SUBMIT_POST=1250ms", "SUBMIT_SETTLE=500ms", "SUBMIT_BETWEEN=1500ms", "SUBMIT_ABSENCE=3s", "SUBMIT_PATIENCE=15s", "SUBMIT_SPREAD=3s"}

// longPost is SUBMIT_POST where a stop takes place within the POST: close-run has
// to start and to close the run before the reply is given up.
const longPost = "SUBMIT_POST=6s"

// settled is when a look in the task list counts: POST, settle, and a second for
// the Date header.
const settled = 2900 * time.Millisecond

// machine is the Retry of the state Submit, read from the state machine itself.
type machine struct{ retries []retrier }

type retrier struct {
	ErrorEquals                                                []string
	IntervalSeconds, BackoffRate, MaxDelaySeconds, MaxAttempts float64
}

func readMachine(file string) (machine, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return machine{}, err
	}
	var definition struct {
		States map[string]struct{ Retry []retrier }
	}
	if err := json.Unmarshal(raw, &definition); err != nil {
		return machine{}, fmt.Errorf("%s: %w", file, err)
	}
	m := machine{definition.States["Submit"].Retry}
	if len(m.retries) == 0 {
		return m, fmt.Errorf("%s: the state Submit has no Retry", file)
	}
	return m, nil
}

// tries counts one execution's retries, as Step Functions does: each retrier for
// itself.
type tries struct {
	machine machine
	used    map[int]float64
}

// again says whether an error is retried, and after how long.
func (t *tries) again(name string) (time.Duration, bool) {
	for i, r := range t.machine.retries {
		if !slices.Contains(r.ErrorEquals, name) {
			continue
		}
		n := t.used[i]
		if n >= r.MaxAttempts {
			return 0, false
		}
		t.used[i]++
		most := min(r.IntervalSeconds*math.Pow(r.BackoffRate, n), r.MaxDelaySeconds)
		const meanOfFullJitter = 0.5
		return time.Duration(most * meanOfFullJitter / scale * float64(time.Second)), true
	}
	return 0, false
}

// failure reads an error as Lambda passes it on.
func failure(body []byte) answer {
	var e struct {
		Type    string `json:"errorType"`
		Message string `json:"errorMessage"`
	}
	if err := json.Unmarshal(body, &e); err != nil || e.Type == "" {
		return answer{name: "Unreadable", message: string(body)}
	}
	return answer{name: e.Type, message: e.Message}
}
