package handler

import (
	"slices"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

// TestUploadBesideTheClose: a copy stores an upload before whatever call of close-run.
// Either close-run ends it, or the copy finds the record closed and ends it itself.
func TestUploadBesideTheClose(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t)
		w.record(run.Record{Status: run.Copying, TaskID: "t1", WorkflowID: "wf-1"})
		w.execution("r1", "ABORTED", "", "")
		refused := false
		met := w.before(n, func() {
			if err := w.runs.PutCopyState(t.Context(), "r1", "a", lifecycle.CopyState{Checkpoint: &transfer.Checkpoint{Key: "runs/r1/a.png", UploadID: "up1"}}); err != nil {
				t.Fatal(err)
			}
			r, err := w.runs.Get(t.Context(), "r1") // as copy-result's save does
			if err == nil {
				_, err = w.runs.Reread(t.Context(), r)
			}
			refused = err != nil
		})
		if _, err := w.close("r1"); err != nil {
			t.Fatalf("before %s: %v", *met, err)
		}
		if *met == "" {
			return
		}
		if !refused && !slices.Contains(w.S3.Aborted(), "up1") {
			t.Errorf("stored before %s, the upload is nobody's", *met)
		}
	}
}
