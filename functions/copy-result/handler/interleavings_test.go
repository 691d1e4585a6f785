package handler

import (
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// TestEveryFault: whatever happens to any call, before it or after, the step that
// is tried again delivers, and moves no output's bytes twice that it has recorded.
func TestEveryFault(t *testing.T) {
	fates := map[string]func(do func() error) error{
		"lost":         func(func() error) error { return functiontest.ErrNetwork },
		"reply lost":   func(do func() error) error { _ = do(); return functiontest.ErrNetwork },
		"500":          func(func() error) error { return storetest.Error(500, "InternalError") },
		"killed":       func(func() error) error { panic("killed") },
		"killed after": func(do func() error) error { _ = do(); panic("killed") },
	}
	for name, fate := range fates {
		for n := 1; ; n++ {
			w := newWorld(t).record(nil)
			w.S3.Set(outputBucket, "runs/r1/error.json", storetest.Object{})
			count := 0
			w.Around = func(call string, do func() error) error {
				if count++; count == n && (!strings.HasPrefix(name, "killed") || !strings.Contains(call, "copies/") && !strings.HasPrefix(call, "Copy")) {
					return fate(do)
				}
				return do() // a panic in a copy's own goroutine would end the test
			}
			func() {
				defer func() { _ = recover() }()
				if out, err := w.handle(); err == nil && count >= n && !out.Done {
					t.Errorf("%s at %d: nobody knows", name, n)
				}
			}()
			met := count >= n
			w.Around = nil
			out, err := w.handle()
			if err != nil {
				t.Fatalf("%s at %d: %v", name, n, err)
			}
			if w.delivered(out, "output"); t.Failed() {
				t.Fatalf("%s at %d", name, n)
			}
			if w.copies["output"] != 1 {
				t.Errorf("%s at %d: copied %d times", name, n, w.copies["output"])
			}
			if !met {
				if n < 15 {
					t.Errorf("only %d calls", n)
				}
				break
			}
		}
	}
}

// TestTwoLiveCalls: the second delivers while the first stands still anywhere.
func TestTwoLiveCalls(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t).record(nil)
		count := 0
		w.Around = func(call string, do func() error) error {
			if count++; count == n {
				around := w.Around
				w.Around = nil
				out, err := w.handle()
				if err != nil {
					t.Fatalf("the second call at %d: %v", n, err)
				}
				w.delivered(out, "output")
				w.Around = around
			}
			err := do()
			// Should the first call die here, no sweep would find the run again.
			if o, _ := w.S3.Object(stateBucket, "runs/r1.json"); count >= n && !strings.Contains(string(o.Body), `"status":"succeeded"`) {
				t.Errorf("at %d, %s opened a delivered run again", n, call)
			}
			return err
		}
		out, err := w.handle()
		if err != nil {
			t.Fatalf("the first call at %d: %v", n, err)
		}
		w.Around = nil
		record := w.get()
		if !out.Done || record.Status != run.Succeeded || len(w.manifests()) != 1 {
			t.Fatalf("at %d: %+v, %+v", n, out, record)
		}
		if count < n {
			return
		}
	}
}

// TestStops at whatever call the person's stop comes: either the run is delivered
// whole, or there is no manifest. From the point of no return on it is delivered.
func TestStops(t *testing.T) {
	for _, closed := range []bool{false, true} {
		stopped, delivered := 0, 0
		for n := 1; ; n++ {
			w := newWorld(t).record(nil)
			count, past := 0, false
			w.Around = func(_ string, do func() error) error {
				if count++; count == n {
					around := w.Around
					w.Around = nil
					past = w.get().Status == run.Delivering || w.get().Status == run.Succeeded
					if w.stop(); closed {
						w.closes("ABORTED", "")
					}
					w.Around = around
				}
				return do()
			}
			out, err := w.handle()
			w.Around = nil
			if err != nil {
				stopped++
				if e, _ := named.As(err); e.Name != named.RunCancelled && !(closed && e.Name == named.Superseded) || past {
					t.Errorf("closed %v, at %d: %v", closed, n, err)
				}
				if record := w.get(); len(w.manifests()) > 0 || record.Status == run.Succeeded || closed && record.Status != run.Cancelled {
					t.Errorf("closed %v, at %d: %v, %+v", closed, n, w.manifests(), record)
				}
			} else {
				delivered++
				w.delivered(out, "output")
			}
			if count < n {
				break
			}
		}
		if stopped < 5 || delivered < 4 {
			t.Errorf("stopped at %d calls, delivered at %d", stopped, delivered)
		}
	}
}

// TestClosedMeanwhile: the close of a failed execution comes at any call of a copy
// that is still alive. There is never a manifest beside an error.json, and what a
// redrive then does delivers.
func TestClosedMeanwhile(t *testing.T) {
	ended := map[run.Status]int{}
	for n := 1; ; n++ {
		w := newWorld(t).record(nil)
		count := 0
		w.Around = func(_ string, do func() error) error {
			if count++; count == n {
				around := w.Around
				w.closes("FAILED", "Lambda.Unknown")
				w.Around = around
			}
			return do()
		}
		out, err := w.handle()
		w.Around = nil
		status := w.get().Status
		ended[status]++
		switch {
		case err == nil:
			w.delivered(out, "output")
		case status == run.Failed:
			namedtest.Want(t, err, named.Superseded, "")
			if len(w.manifests()) > 0 {
				t.Errorf("at %d: %v", n, w.manifests())
			}
			if out, err = w.handle(1); err != nil {
				t.Fatalf("at %d, redriven: %v", n, err)
			}
			w.delivered(out, "output")
		default:
			t.Errorf("at %d: %s, %v", n, status, err)
		}
		if count < n {
			break
		}
	}
	if ended[run.Failed] < 5 || ended[run.Succeeded] < 4 {
		t.Errorf("ended as %v", ended)
	}
}

// TestDiesWhileDelivering: copy-result was killed past its point of no return, and
// nothing of the remote is asked again.
func TestDiesWhileDelivering(t *testing.T) {
	w := newWorld(t).record(nil)
	w.Around = func(call string, do func() error) error {
		if strings.HasPrefix(call, "PutObject outputs/runs/r1/manifest.json") {
			return functiontest.ErrNetwork
		}
		return do()
	}
	_, err := w.handle()
	namedtest.Want(t, err, named.Unavailable, "manifest.json")
	if got := w.get(); got.Status != run.Delivering || got.ManifestKey != "runs/r1/manifest.json" {
		t.Fatalf("%+v", got)
	}
	w.Around = nil
	w.Fails("Result", functiontest.Answered(404))
	w.h.NewCopier = nil
	for _, life := range []int{0, 1} {
		out, err := w.handle(life)
		if err != nil {
			t.Fatal(err)
		}
		w.delivered(out, "output")
	}
}
