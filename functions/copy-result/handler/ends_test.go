package handler

import (
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// TestTwoLiveCalls: the second delivers while the first stands still anywhere.
func TestTwoLiveCalls(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t).record(nil)
		count := 0
		w.around = func(call string, do func() error) error {
			if count++; count == n {
				around := w.around
				w.around = nil
				out, err := w.handle()
				if err != nil {
					t.Fatalf("the second call at %d: %v", n, err)
				}
				w.delivered(out, "output")
				w.around = around
			}
			err := do()
			// Should the first call die here, no sweep would find the run again.
			if o, _ := w.s3.Object(stateBucket, "runs/r1.json"); count >= n && !strings.Contains(string(o.Body), `"status":"succeeded"`) {
				t.Errorf("at %d, %s opened a delivered run again", n, call)
			}
			return err
		}
		out, err := w.handle()
		if err != nil {
			t.Fatalf("the first call at %d: %v", n, err)
		}
		w.around = nil
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
			w.around = func(_ string, do func() error) error {
				if count++; count == n {
					around := w.around
					w.around = nil
					past = w.get().Status == run.Delivering || w.get().Status == run.Succeeded
					if w.stop(); closed {
						w.closes("ABORTED", "")
					}
					w.around = around
				}
				return do()
			}
			out, err := w.handle()
			w.around = nil
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

func TestRefuses(t *testing.T) {
	tests := map[string]struct {
		change func(*run.Record)
		want   string
	}{
		"stopped":    {change: func(r *run.Record) { r.StopRequestedAt = began }, want: named.RunCancelled},
		"cancelled":  {change: func(r *run.Record) { r.Status = run.Cancelled }, want: named.Superseded},
		"failed":     {change: func(r *run.Record) { r.Status = run.Failed }, want: named.Superseded},
		"later life": {change: func(r *run.Record) { r.Life = 1 }, want: named.Superseded},
	}
	for name, test := range tests {
		w := newWorld(t).record(test.change)
		if _, err := w.handle(); !named.Is(err, test.want) || len(w.copies) > 0 || len(w.manifests()) > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := newWorld(t).handle()
	wantName(t, err, named.RunNotFound, "r1")
}

// TestRedrive delivers, and takes away what the failure left, wherever its prefix
// was filled in then.
func TestRedrive(t *testing.T) {
	for _, at := range []string{"runs/r1/error.json", "by/r1/error.json"} {
		w := newWorld(t).record(func(r *run.Record) {
			r.Status, r.EndedAt, r.Error, r.ErrorKey = run.Failed, began, named.Errorf(named.OutputTruncated, "x"), at
		})
		w.s3.Set(outputBucket, at, storetest.Object{Body: []byte("{}")})
		out, err := w.handleIn(1)
		if err != nil {
			t.Fatal(err)
		}
		w.delivered(out, "output")
	}
	// close-run died between error.json and its close.
	w := newWorld(t).record(nil)
	w.s3.Set(outputBucket, "runs/r1/error.json", storetest.Object{Body: []byte("{}")})
	out, err := w.handleIn(1)
	if err != nil {
		t.Fatal(err)
	}
	w.delivered(out, "output")
}

// TestClosedMeanwhile: the close of a failed execution comes at any call of a copy
// that is still alive. There is never a manifest beside an error.json, and what a
// redrive then does delivers.
func TestClosedMeanwhile(t *testing.T) {
	ended := map[run.Status]int{}
	for n := 1; ; n++ {
		w := newWorld(t).record(nil)
		count := 0
		w.around = func(_ string, do func() error) error {
			if count++; count == n {
				around := w.around
				w.closes("FAILED", "Lambda.Unknown")
				w.around = around
			}
			return do()
		}
		out, err := w.handle()
		w.around = nil
		status := w.get().Status
		ended[status]++
		switch {
		case err == nil:
			w.delivered(out, "output")
		case status == run.Failed:
			wantName(t, err, named.Superseded, "")
			if len(w.manifests()) > 0 {
				t.Errorf("at %d: %v", n, w.manifests())
			}
			if out, err = w.handleIn(1); err != nil {
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
	w.around = func(call string, do func() error) error {
		if strings.HasPrefix(call, "PutObject outputs/runs/r1/manifest.json") {
			return errNetwork
		}
		return do()
	}
	_, err := w.handle()
	wantName(t, err, named.Unavailable, "manifest.json")
	if got := w.get(); got.Status != run.Delivering || got.ManifestKey != "runs/r1/manifest.json" {
		t.Fatalf("%+v", got)
	}
	w.around = nil
	w.refuse, w.h.NewCopier = answered(404), nil
	for _, life := range []int{0, 1} {
		out, err := w.handleIn(life)
		if err != nil {
			t.Fatal(err)
		}
		w.delivered(out, "output")
	}
}
