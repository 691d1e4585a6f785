package handler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// TestGone: a task counts as gone after five looks over ten minutes, and only if
// the task list, read whole, lacks it. Whatever stands before Cyberun may say 404.
func TestGone(t *testing.T) {
	empty := func(w *world) { w.Cyberun.Started = nil }
	others := func(w *world) {
		w.Cyberun.Started, w.Cyberun.PerPage = nil, 1
		w.Cyberun.Strangers(3, "another", began)
	}
	listed := func(w *world) { // on the third page, by an id in capitals
		w.Cyberun.PerPage = 1
		w.Cyberun.Strangers(2, "another", began)
		w.Cyberun.Spoil = func(list *cyberun.TaskList) { list.Tasks[0].ID = strings.ToUpper(list.Tasks[0].ID) }
	}
	tests := []struct {
		name  string
		looks []look // the last one stays
		every time.Duration
		list  func(*world) // what the task list has; nil: nobody is to read it
		gone  int          // the look that ends the run; 0: none of twenty
		read  string
	}{
		{name: "404, and the list lacks it", looks: []look{{err: answered(404)}}, every: 150 * time.Second, list: others, gone: 5, read: "[list 1 list 2 list 3]"},
		{name: "404, and the list is empty", looks: []look{{err: answered(404)}}, every: 150 * time.Second, list: empty, gone: 5, read: "[list 1]"},
		{name: "410, 403 and pages of both", looks: []look{{err: answered(410)}, {err: answered(403)}, {err: page(404)}, {err: page(403)}, {err: page(404)}}, every: 150 * time.Second, list: empty, gone: 5, read: "[list 1]"},
		{name: "five looks within less than ten minutes", looks: []look{{err: answered(404)}}, every: time.Minute, list: empty, gone: 11, read: "[list 1]"},
		{name: "three looks over an hour", looks: []look{{err: answered(404)}, {err: answered(404)}, {err: answered(404)}, {status: "running"}}, every: 20 * time.Minute},
		{name: "it is found between", looks: []look{{err: answered(404)}, {err: answered(404)}, {err: answered(404)}, {err: answered(404)}, {status: "running"}, {err: answered(404)}, {err: answered(404)}, {err: answered(404)}, {err: answered(404)}, {status: "running"}}, every: 5 * time.Minute},
		{name: "the list still has it", looks: []look{{err: answered(404)}}, every: 150 * time.Second, list: listed},
		{name: "the list cannot be read", looks: []look{{err: answered(404)}}, every: 150 * time.Second, list: func(w *world) { w.Fails("Tasks", page(404)) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.looks...).record(func(r *run.Record) { r.MaxSeconds = 7 * 86400 })
			if test.list != nil {
				w.lists = true
				test.list(w)
			}
			for n := 1; n <= 20; n++ {
				w.Now = w.Now.Add(test.every)
				out, err := w.handle()
				if n == test.gone {
					namedtest.Want(t, err, named.TaskFailed, "no longer knows the task t1")
					if fmt.Sprint(w.did("list")) != test.read {
						t.Errorf("read %v", w.did("list"))
					}
					return
				}
				if err != nil || out.Done || out.WaitSeconds < 1 {
					t.Fatalf("look %d: %+v, %v", n, out, err)
				}
			}
			if test.gone != 0 {
				t.Error("it never ends")
			}
		})
	}
}

// TestPagesForFiveMinutes: 404 by a page on every call, then health: it is delivered.
func TestPagesForFiveMinutes(t *testing.T) {
	w := newWorld(t, look{err: page(404)}).record(nil)
	for w.Now.Before(began.Add(5 * time.Minute)) {
		out, err := w.handle()
		if err != nil || out.Status != "unknown" {
			t.Fatalf("%+v, %v", out, err)
		}
		w.Now = w.Now.Add(time.Duration(out.WaitSeconds) * time.Second)
	}
	w.looks = []look{{status: "completed"}}
	if out, err := w.handle(); err != nil || !out.Done || w.progress().Missing != nil {
		t.Errorf("%+v, %v, %+v", out, err, w.progress())
	}
}

// TestStateBucketAway: the record is needed, the progress is not.
func TestStateBucketAway(t *testing.T) {
	w := newWorld(t, look{status: cyberun.StatusCompleted}).record(nil)
	w.Around = func(call string, do func() error) error {
		if strings.Contains(call, " state/progress/") {
			return errNetwork
		}
		return do()
	}
	if out, err := w.handle(); err != nil || !out.Done {
		t.Errorf("%+v, %v", out, err)
	}
	w.Fails("GetObject ", errNetwork)
	_, err := w.handle()
	namedtest.Want(t, err, named.Unavailable, "")
}

// TestLostWrite: the task's end is recorded although the reply to the write is lost.
func TestLostWrite(t *testing.T) {
	w := newWorld(t, look{status: cyberun.StatusFailed}).record(nil)
	w.Around = func(call string, do func() error) error {
		err := do()
		if call == "PutObject state/runs/r1.json" {
			w.Around = nil
			return errNetwork
		}
		return err
	}
	_, err := w.handle()
	namedtest.Want(t, err, named.Unavailable, "")
	_, err = w.handle()
	namedtest.Want(t, err, named.TaskFailed, "")
}
