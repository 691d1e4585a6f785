package handler

import (
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// TestBrokenAssumptions: whatever Cyberun does against what the relay counts on,
// no task is paid twice. It ends with the condition that failed, or decides rightly.
func TestBrokenAssumptions(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(c *functiontest.Cyberun)
		text  string
		// found: the task is seen all the same
		found bool
	}{
		{name: "snapshot ids", spoil: func(c *functiontest.Cyberun) { c.SnapshotID = "wf-1-v2" }, text: `under the workflow id "wf-1-v2" instead of "wf-1"`},
		{name: "ids in capitals", spoil: func(c *functiontest.Cyberun) { c.SnapshotID = "WF-1" }, text: `under the workflow id "WF-1" instead of "wf-1"`},
		{name: "live tasks only", spoil: func(c *functiontest.Cyberun) {
			c.LiveOnly = true
			for i := range c.Started {
				c.Started[i].Status = cyberun.StatusCompleted
			}
		}, text: "does not show the task"},
		{name: "local time, ahead", spoil: func(c *functiontest.Cyberun) { c.Shifted = 8 * time.Hour }, text: "its times are not those of Cyberun's clock"},
		{name: "local time, behind", spoil: func(c *functiontest.Cyberun) { c.Shifted = -8 * time.Hour }, text: "its times are not those of Cyberun's clock"},
		{name: "a cached answer", spoil: func(c *functiontest.Cyberun) { c.Cached = 10 * time.Minute }, text: "came from a cache, 10m0s old"},
		{name: "a cache that does not say so, with its old Date", spoil: func(c *functiontest.Cyberun) {
			c.StaleRows = 10 * time.Minute
			c.Spoil = func(l *cyberun.TaskList) { l.Date = l.Date.Add(-10 * time.Minute) }
		}, text: "off what Cyberun's clock said at the submission"},
		{name: "a cache that does not say so, from before the witness", spoil: func(c *functiontest.Cyberun) { c.StaleRows = 30 * time.Minute }, text: "does not show the task"},
		{name: "no Date", spoil: func(c *functiontest.Cyberun) { c.NoDate = true }, text: "page 1 of the task list has no Date header"},
		{name: "a cache that shows the task", spoil: func(c *functiontest.Cyberun) {
			c.Spoil = func(l *cyberun.TaskList) { l.Age = 30 * time.Second }
		}, text: "came from a cache, 30s old"},
		{name: "a cache that shows the task, and then is gone", spoil: func(c *functiontest.Cyberun) {
			looks := 0
			c.Spoil = func(l *cyberun.TaskList) {
				if looks++; looks < 3 {
					l.Age = 30 * time.Second
				}
			}
		}, found: true},
		{name: "a late start", spoil: func(c *functiontest.Cyberun) {
			late := c.Of(c.Paid("r1")[0])
			late.CreatedAt.Time = began.Add(DefaultWaits.Post + 6*time.Second)
		}, text: "after the submission, and it is not known who started it"},
		{name: "the oldest first", spoil: func(c *functiontest.Cyberun) { c.Ascending = true }, found: true},
		{name: "rows by strangers since", spoil: func(c *functiontest.Cyberun) {
			c.Started[len(c.Started)-1].CreatedAt.Time = began.Add(-time.Hour) // its own is where nobody looks
			c.Strangers(1, workflowID, began.Add(33*time.Second))
		}, text: "it is not known who started it"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w, in := doubtful(t, true)
			test.spoil(w.Cyberun)
			out, err := w.drive(in)
			if test.found {
				if err != nil {
					t.Fatal(err)
				}
				w.checkSettled("r1", out)
				return
			}
			namedtest.Want(t, err, named.SubmitOutcomeUnknown, test.text)
			if paid := w.Cyberun.Paid("r1"); len(paid) != 1 {
				t.Errorf("paid %v", paid)
			}
			// A person finishes it.
			w.fail("r1", err)
			w.decide("r1", run.Decision{TaskID: w.Cyberun.Paid("r1")[0]})
			w.submits("r1", w.redrive(in))
		})
	}
}

// TestLag: a task that the list shows only after minutes is not paid twice as long
// as a younger receipt shows that the list lags. Without one the second look, over
// 84 s after the POST, is what a lag is measured by.
func TestLag(t *testing.T) {
	tests := []struct {
		name  string
		lag   time.Duration
		newer bool // another run got its receipt while the POST was under way
		want  string
	}{
		{name: "84 s", lag: 84 * time.Second},
		{name: "84 s, and a newer receipt", lag: 84 * time.Second, newer: true},
		{name: "9 minutes, and a newer receipt", lag: 9 * time.Minute, newer: true, want: "does not show the task"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := witnessed(t)
			in := w.input("r1", prompted("r1"))
			w.Around = func(call string, do func() error) error {
				if call != "StartTask" {
					return do()
				}
				if w.Around = nil; test.newer {
					if _, err := w.drive(w.input("r2", prompted("r2"))); err != nil {
						t.Fatal(err)
					}
				}
				_ = do()
				return errNetwork
			}
			w.Cyberun.Lag = test.lag
			_, err := w.drive(in)
			if paid := w.Cyberun.Paid("r1"); len(paid) != 1 {
				t.Errorf("paid %v", paid)
			}
			if test.want != "" {
				namedtest.Want(t, err, named.SubmitOutcomeUnknown, test.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}
