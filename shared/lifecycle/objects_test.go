package lifecycle

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
	"github.com/google/go-cmp/cmp"
)

func TestProgress(t *testing.T) {
	w := newWorld(t)
	got, err := w.runs.Progress(t.Context(), "r1")
	if diff := cmp.Diff(run.Progress{RunID: "r1"}, got); err != nil || diff != "" {
		t.Errorf("before the first poll: %v\n%s", err, diff)
	}
	step := 3
	want := run.Progress{
		RunID: "r1", TaskStatus: "running", Fraction: 0.5, StepCurrent: &step, UpdatedAt: began, Polls: 2, HeldSeconds: 29.5,
		HistoryEvents: 18, EarlyPolls: 1, Missing: &run.Missing{Answers: 2, Since: began},
	}
	if err := w.runs.PutProgress(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if got, err = w.runs.Progress(t.Context(), "r1"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// A fraction is the remote's word: JSON has no NaN, and a bar no 300 %.
	for given, want := range map[float64]float64{math.NaN(): 0, math.Inf(1): 1, math.Inf(-1): 0, -0.1: 0, 3: 1, 1: 1} {
		if err := w.runs.PutProgress(t.Context(), run.Progress{RunID: "r1", Fraction: given}); err != nil {
			t.Errorf("%v: %v", given, err)
		}
		if got, err := w.runs.Progress(t.Context(), "r1"); err != nil || got.Fraction != want {
			t.Errorf("%v: %+v, %v", given, got, err)
		}
	}
	w.s3.Set(stateBucket, "progress/r1.json", storetest.Object{Body: []byte("{")})
	if got, err := w.runs.Progress(t.Context(), "r1"); err == nil || got.RunID != "r1" {
		t.Errorf("broken: %+v, %v", got, err)
	}
}

func TestCheckpoints(t *testing.T) {
	w := newWorld(t)
	ids := []string{"9.images.0", "9/images/0", "..", "", "größe", "manifest", "x"}
	for i, id := range ids {
		if got, err := w.runs.CopyState(t.Context(), "r1", id); err != nil || got != (CopyState{}) {
			t.Errorf("%q before it began: %+v, %v", id, got, err)
		}
		for _, c := range []CopyState{{Checkpoint: &transfer.Checkpoint{UploadID: "first"}}, {Checkpoint: &transfer.Checkpoint{UploadID: id, PartSize: int64(i), OriginFile: transfer.OriginFile{Total: -1}}}} {
			if err := w.runs.PutCopyState(t.Context(), "r1", id, c); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.runs.PutCopyState(t.Context(), "r10", "x", CopyState{Output: &run.Output{ID: "another run's"}}); err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		got, err := w.runs.CopyState(t.Context(), "r1", id)
		if diff := cmp.Diff(CopyState{Checkpoint: &transfer.Checkpoint{UploadID: id, PartSize: int64(i), OriginFile: transfer.OriginFile{Total: -1}}}, got); err != nil || diff != "" {
			t.Errorf("%q: %v\n%s", id, err, diff)
		}
	}
	if n := len(w.keys("copies/r1/")); n != len(ids) {
		t.Errorf("%d objects", n)
	}
	for range 2 {
		if err := w.runs.clearDelivery(t.Context(), "r1"); err != nil {
			t.Fatal(err)
		}
	}
	if left := w.keys("copies/"); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// TestAbortsUploads of a run that nothing goes on with, and forgets them, one after
// the other or side by side.
func TestAbortsUploads(t *testing.T) {
	for _, atOnce := range []int{0, 16} {
		t.Run(fmt.Sprint(atOnce, " at once"), func(t *testing.T) { checkAbortsUploads(t, atOnce) })
	}
}

func checkAbortsUploads(t *testing.T, atOnce int) {
	w := newWorld(t)
	w.runs.Concurrency = atOnce
	r := w.copied("r1", "t1")
	for id, c := range map[string]CopyState{
		"a": {Checkpoint: &transfer.Checkpoint{Key: "runs/r1/a.png", UploadID: "up1"}}, "b": {Output: &run.Output{ID: "b"}}, "c": {},
	} {
		if err := w.runs.PutCopyState(t.Context(), "r1", id, c); err != nil {
			t.Fatal(err)
		}
	}
	w.around = refuses("AbortMultipartUpload outputs/", 503)
	if err := w.runs.abortMultipartUploads(t.Context(), r.Record); !named.Is(err, named.Unavailable) || len(w.keys("copies/")) != 3 {
		t.Errorf("%v, %v", err, w.keys("copies/"))
	}
	w.around = nil
	if err := w.runs.abortMultipartUploads(t.Context(), r.Record); err != nil || fmt.Sprint(w.s3.Aborted()) != "[up1]" || len(w.keys("copies/")) > 0 {
		t.Errorf("%v, aborted %v, left %v", err, w.s3.Aborted(), w.keys("copies/"))
	}
}

// TestTokens: a webhook finds the run that delivers the task, and the token it
// last gave.
func TestTokens(t *testing.T) {
	w := newWorld(t)
	for _, token := range []string{"first", "AQ+/=later"} {
		if err := w.runs.PutTaskToken(t.Context(), "r1", token); err != nil {
			t.Fatal(err)
		}
	}
	own := func(taskID string, o run.Ownership) {
		t.Helper()
		if _, err := w.runs.addOwnership(t.Context(), taskID, o); err != nil {
			t.Fatal(err)
		}
	}
	own("t1", run.Ownership{StartedBy: "r1", Evidence: run.ByReceipt, DeliveredBy: "r1"})
	own("t2", run.Ownership{StartedBy: "r2", Evidence: run.ByReceipt, DeliveredBy: "r2"})
	own("t3", run.Ownership{StartedBy: "r1", Evidence: run.AsCandidate})
	own("t4", run.Ownership{StartedBy: "r9", Evidence: run.ByReceipt, DeliveredBy: "r1"})
	for taskID, want := range map[string][2]string{
		"t1": {"r1", "AQ+/=later"}, "t2": {"r2", ""}, "t3": {"", ""}, "t4": {"r1", "AQ+/=later"}, "t5": {"", ""},
	} {
		if runID, token, err := w.runs.TaskToken(t.Context(), taskID); err != nil || runID != want[0] || token != want[1] {
			t.Errorf("%s: %q, %q, %v", taskID, runID, token, err)
		}
	}
	w.s3.Set(stateBucket, "wake/r1.json", storetest.Object{Body: []byte("7")})
	if _, _, err := w.runs.TaskToken(t.Context(), "t1"); err == nil {
		t.Error("a broken token was read")
	}
}

// TestKeys: what the contract names, from outside.
func TestKeys(t *testing.T) {
	w := newWorld(t)
	w.doubt("r1")
	r := w.copied("r2", "t2")
	for _, put := range []error{
		w.runs.PutProgress(t.Context(), run.Progress{RunID: "r2"}), w.runs.PutTaskToken(t.Context(), "r2", "x"),
		w.runs.PutCopyState(t.Context(), "r2", "output", CopyState{}), w.runs.put(t.Context(), manifestBodyKey(r.RunID, "id"), "x"),
	} {
		if put != nil {
			t.Fatal(put)
		}
	}
	keys := w.keys("")
	for i, key := range keys {
		for _, cut := range []string{"index/", "copies/r2/"} {
			if len(key) > len(cut) && key[:len(cut)] == cut {
				keys[i] = cut + "…"
			}
		}
	}
	want := []string{
		"copies/r2/…", "doubt/wf-1/r1", "index/…", "index/…", "manifests/r2/id.json", "progress/r2.json", "runs/r1.json", "runs/r2.json", "submitting/wf-1/r1/a1", "tasks/t2", "wake/r2.json",
	}
	if !slices.Equal(keys, want) {
		t.Errorf("got %v", keys)
	}
}
