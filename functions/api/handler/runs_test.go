package handler

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// deliver puts a run there that has its outputs.
func (w *world) deliver(id string) {
	w.t.Helper()
	key := "runs/" + id + "/manifest.json"
	w.record(run.Record{RunID: id, Status: run.Succeeded, TaskID: "t1", TaskStatus: "completed", Workflow: "text-to-image@2", ManifestKey: key, EndedAt: began})
	manifest, err := json.Marshal(run.Manifest{RunID: id, Outputs: []run.Output{{ID: "output", Key: "runs/" + id + "/output.png", Bytes: 7, CRC32: "0000beef", ContentType: "image/png"}}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.s3.Set(outputBucket, key, storetest.Object{Body: manifest})
}

func TestShowsDelivered(t *testing.T) {
	w := newWorld(t)
	w.deliver("r1")
	a := w.call("GET", "/runs/r1", "")
	if a.status != 200 || a.body["status"] != "succeeded" || a.body["bucket"] != outputBucket || a.body["manifest_key"] != "runs/r1/manifest.json" {
		t.Fatalf("%+v", a)
	}
	output := a.body["outputs"].([]any)[0].(map[string]any)
	if output["s3_uri"] != "s3://outputs/runs/r1/output.png" || output["url"] != "https://signed.example/outputs/runs/r1/output.png?for=15m0s" || output["bytes"] != 7. || output["id"] != "output" {
		t.Errorf("%v", output)
	}
	if list := w.call("GET", "/runs", ""); strings.Contains(list.raw, "signed.example") {
		t.Errorf("signed addresses in a list: %s", list.raw)
	}
}

// TestOutputsInPages: 1,000 an answer, each with an address of its own, and the
// next from the last one's id on.
func TestOutputsInPages(t *testing.T) {
	w := newWorld(t)
	w.deliver("r1")
	const all = 2500
	var outputs []run.Output
	for i := range all {
		outputs = append(outputs, run.Output{ID: fmt.Sprintf("9.images.%d&a=ä", i), Key: fmt.Sprintf("runs/r1/%d.png", i)})
	}
	manifest, err := json.Marshal(run.Manifest{RunID: "r1", Outputs: outputs})
	if err != nil {
		t.Fatal(err)
	}
	w.s3.Set(outputBucket, "runs/r1/manifest.json", storetest.Object{Body: manifest})
	after, seen := "", 0
	for pages := 1; ; pages++ {
		a := w.call("GET", "/runs/r1?outputs_after="+url.QueryEscape(after), "")
		list, _ := a.body["outputs"].([]any)
		if a.status != 200 || len(list) != min(maxSigned, all-seen) {
			t.Fatalf("page %d: %d, %d outputs", pages, a.status, len(list))
		}
		for _, o := range list {
			if o := o.(map[string]any); o["id"] != outputs[seen].ID || o["url"] == nil {
				t.Fatalf("%v, want %s", o, outputs[seen].ID)
			}
			seen++
		}
		if after, _ = a.body["outputs_next"].(string); after == "" {
			break
		}
	}
	if seen != all {
		t.Errorf("%d of %d", seen, all)
	}
	if a := w.call("GET", "/runs/r1?outputs_after=nope", ""); a.status != 400 || fmt.Sprint(a.violations()) != "[outputs_after]" {
		t.Errorf("%d %s", a.status, a.raw)
	}
	// Exactly a page has no next.
	manifest, err = json.Marshal(run.Manifest{RunID: "r1", Outputs: outputs[:maxSigned]})
	if err != nil {
		t.Fatal(err)
	}
	w.s3.Set(outputBucket, "runs/r1/manifest.json", storetest.Object{Body: manifest})
	if a := w.call("GET", "/runs/r1", ""); a.body["outputs_next"] != nil || len(a.body["outputs"].([]any)) != maxSigned {
		t.Errorf("%v", a.body["outputs_next"])
	}
}

// TestSignsItsOwnKeysAlone: others may write to the user's bucket, and whoever can
// change a manifest must not get at everything else in it.
func TestSignsItsOwnKeysAlone(t *testing.T) {
	keys := map[string]bool{
		"runs/r1/a.png": true, "runs/r1/sub/a.png": true, "runs/r1/manifest.json": false, "runs/r1/error.json": false,
		"runs/r10/a.png": false, "runs/r2/a.png": false, "secrets.txt": false, "runs/r1": false, "": false, "/runs/r1/a.png": false,
	}
	w := newWorld(t)
	w.deliver("r1")
	var outputs []run.Output
	for key := range keys {
		outputs = append(outputs, run.Output{ID: key, Key: key})
	}
	manifest, err := json.Marshal(run.Manifest{RunID: "r1", Outputs: outputs})
	if err != nil {
		t.Fatal(err)
	}
	w.s3.Set(outputBucket, "runs/r1/manifest.json", storetest.Object{Body: manifest})
	list := w.call("GET", "/runs/r1", "").body["outputs"].([]any)
	if len(list) != len(keys) {
		t.Fatalf("%v", list)
	}
	for _, o := range list {
		o := o.(map[string]any)
		if signed := o["url"] != nil; signed != keys[o["id"].(string)] || o["s3_uri"] != "s3://outputs/"+o["id"].(string) {
			t.Errorf("%v", o)
		}
	}
}

// TestShowsDelivering as copying, and nothing of its outputs yet.
func TestShowsDelivering(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{RunID: "r1", Status: run.Delivering, TaskID: "t1", ManifestKey: "runs/r1/manifest.json", ManifestBody: "manifests/r1/fixed.json"})
	if a := w.call("GET", "/runs/r1", ""); a.body["status"] != "copying" || a.body["manifest_key"] != nil || a.body["outputs"] != nil {
		t.Errorf("%s", a.raw)
	}
	for status, want := range map[string]int{"copying": 1, "waiting": 0} {
		if a := w.call("GET", "/runs?status="+status, ""); len(a.body["runs"].([]any)) != want {
			t.Errorf("%s: %s", status, a.raw)
		}
	}
	if a := w.call("GET", "/runs?status=delivering", ""); a.status != 400 {
		t.Errorf("%d", a.status)
	}
}

// TestShowsCandidates of a run in doubt, the cancel of a stopped one, and what was
// paid for beside.
func TestShowsCandidates(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{
		RunID: "r1", Status: run.Failed, Submission: &run.Submission{Attempt: "secret-attempt"}, EndedAt: began, Error: named.Errorf(named.SubmitOutcomeUnknown, "x"),
		Candidates: []run.Candidate{{TaskID: "t7", CreatedAt: began, TaskStatus: "running", DeliveredBy: "r9"}},
	})
	candidate := w.call("GET", "/runs/r1", "").body["candidates"].([]any)[0].(map[string]any)
	if candidate["task_id"] != "t7" || candidate["created_at"] != "2026-11-23T12:00:00Z" || candidate["task_status"] != "running" || candidate["delivered_by"] != "r9" {
		t.Errorf("%v", candidate)
	}
	w.record(run.Record{RunID: "r2", Status: run.Cancelled, TaskID: "t2", EndedAt: began, Cancel: &run.Cancel{AskedAt: began, EndedAs: "completed"}, ExtraTasks: []run.ExtraTask{{TaskID: "t3", Cancelled: true}}})
	a := w.call("GET", "/runs/r2", "")
	if a.body["cancel"].(map[string]any)["ended_as"] != "completed" || a.body["extra_tasks"].([]any)[0].(map[string]any)["task_id"] != "t3" {
		t.Errorf("%s", a.raw)
	}
}

// TestBucketIsTheUsers: a manifest that was moved or has expired is no fault.
func TestBucketIsTheUsers(t *testing.T) {
	w := newWorld(t)
	w.deliver("r1")
	w.s3.Set(outputBucket, "runs/r1/manifest.json", storetest.Object{Body: []byte("not a manifest")})
	if a := w.call("GET", "/runs/r1", ""); a.status != 503 {
		t.Errorf("%+v", a)
	}
	w.s3.Remove(outputBucket, "runs/r1/manifest.json")
	if a := w.call("GET", "/runs/r1", ""); a.status != 200 || a.body["outputs"] != nil || a.body["manifest_key"] == nil {
		t.Errorf("%+v", a)
	}
}

func TestShowsProgress(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{RunID: "r1", Status: run.Waiting, TaskID: "t1", Adopted: true, Workflow: "x"})
	if err := w.runs.PutProgress(t.Context(), run.Progress{RunID: "r1", TaskStatus: "running", Progress: 0.5, StepCurrent: ptr(15), StepTotal: ptr(30), Polls: 1}); err != nil {
		t.Fatal(err)
	}
	a := w.call("GET", "/runs/r1", "")
	progress := a.body["progress"].(map[string]any)
	if a.body["task_id"] != "t1" || a.body["task_status"] != "running" || a.body["adopted"] != true || progress["progress"] != 0.5 || progress["step_current"] != 15. {
		t.Errorf("%s", a.raw)
	}
}

func TestShowsFailure(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{RunID: "r1", TaskID: "t1", Status: run.Failed, EndedAt: began, Error: named.Errorf(named.TaskFailed, "CUDA out of memory")})
	a := w.call("GET", "/runs/r1", "")
	e := a.body["error"].(map[string]any)
	if a.status != 200 || e["name"] != "TaskFailed" || e["cause"] != "CUDA out of memory" || e["hint"] == "" || a.body["ended_at"] != "2026-11-23T12:00:00Z" {
		t.Errorf("%s", a.raw)
	}
}

// TestShowsUnrecorded: 200 from the moment of the 202 on, and also of a run that
// ended before it had a record.
func TestShowsUnrecorded(t *testing.T) {
	w := newWorld(t)
	id := w.post(body).body["run_id"].(string)
	a := w.call("GET", "/runs/"+id, "")
	if a.status != 200 || a.body["status"] != "submitting" || a.body["workflow"] != "text-to-image@2" || a.body["started_at"] == nil {
		t.Errorf("%s", a.raw)
	}
	for status, want := range map[executions.State]string{
		executions.Succeeded: "succeeded", executions.Failed: "failed", executions.TimedOut: "failed", executions.Aborted: "cancelled", executions.Running: "submitting",
	} {
		w.start("x", `{"workflow":5}`, status)
		if status.Ended() {
			w.machine.runs["x"].Error = named.Errorf(named.RunCancelled, "x")
			if status == executions.Failed || status == executions.TimedOut {
				w.machine.runs["x"].Error = named.Errorf(named.Unavailable, "S3 is away")
			}
		}
		a := w.call("GET", "/runs/x", "")
		ended := want == "failed" || want == "cancelled"
		if a.status != 200 || a.body["status"] != want || (want == "failed") != strings.Contains(a.raw, "S3 is away") || ended != (a.body["error"] != nil) {
			t.Errorf("%s: %s", status, a.raw)
		}
	}
}

// TestReadsAreLate: Step Functions may not know yet what it has just accepted.
func TestReadsAreLate(t *testing.T) {
	w := newWorld(t)
	w.onSleep = func() {
		if w.slept > time.Second {
			w.start("late", body, executions.Running)
		}
	}
	if a := w.call("GET", "/runs/late", ""); a.status != 200 || a.body["status"] != "submitting" {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if a := w.call("GET", "/runs/never", ""); a.status != 404 || w.slept > 10*time.Second {
		t.Errorf("%d after %s", a.status, w.slept)
	}
}

func TestNoSuchRun(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"nope", "a%2Fb", "..%2F..%2Fsecret", "%00", "x%20y", strings.Repeat("x", 81), "%C3%A4"} {
		for _, method := range []string{"GET", "DELETE"} {
			if a := w.call(method, "/runs/"+id, ""); a.status != 404 || a.body["title"] != "RunNotFound" {
				t.Errorf("%s %s: %d %s", method, id, a.status, a.raw)
			}
		}
	}
}

func TestUnicodeRunID(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{RunID: "größe", Status: run.Waiting})
	for _, path := range []string{"/runs/gr%C3%B6%C3%9Fe", "/runs/größe"} {
		if a := w.call("GET", path, ""); a.status != 200 || a.body["run_id"] != "größe" {
			t.Errorf("%s: %s", path, a.raw)
		}
	}
}

func TestShowFails(t *testing.T) {
	w := newWorld(t)
	w.s3.Around = func(storetest.Call, func() error) error { return errNetwork }
	for _, target := range []string{"/runs/r1", "/runs"} {
		if a := w.call("GET", target, ""); a.status != 503 || a.headers["retry-after"] == "" {
			t.Errorf("%s: %d %s", target, a.status, a.raw)
		}
	}
	w = newWorld(t)
	w.machine.fail = func(string) error { return errNetwork }
	if a := w.call("GET", "/runs/r1", ""); a.status != 503 {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// TestWaits: ?wait answers early only when the run has ended.
func TestWaits(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{RunID: "r1", Status: run.Waiting})
	for wait, want := range map[string]time.Duration{"0": 0, "7": 7 * time.Second, "20": 20 * time.Second, "3600": 20 * time.Second} {
		w.slept = 0
		if a := w.call("GET", "/runs/r1?wait="+wait, ""); a.status != 200 || a.body["status"] != "waiting" || w.slept != want {
			t.Errorf("wait=%s: %s after %s", wait, a.raw, w.slept)
		}
	}
	for _, bad := range []string{"-1", "x", "1.5", "99999999999999999999"} {
		if a := w.call("GET", "/runs/r1?wait="+bad, ""); a.status != 400 || fmt.Sprint(a.violations()) != "[wait]" {
			t.Errorf("wait=%s: %d %s", bad, a.status, a.raw)
		}
	}
	w.slept = 0
	w.onSleep = func() {
		if w.slept == 3*time.Second {
			w.record(run.Record{RunID: "r1", Status: run.Succeeded, EndedAt: w.now})
		}
	}
	if a := w.call("GET", "/runs/r1?wait=20", ""); a.body["status"] != "succeeded" || w.slept != 3*time.Second {
		t.Errorf("%s after %s", a.raw, w.slept)
	}
	w.h.Sleep = func(ctx context.Context, _ time.Duration) error { return context.DeadlineExceeded }
	w.record(run.Record{RunID: "r2", Status: run.Waiting})
	if a := w.call("GET", "/runs/r2?wait=20", ""); a.status != 503 {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// TestLists pages through runs, with and without a status, over holes in the index.
func TestLists(t *testing.T) {
	w := newWorld(t)
	w.s3.PageSize = 7
	statuses := []run.Status{run.Succeeded, run.Failed, run.Waiting}
	var all []string
	for i := range 31 {
		id := fmt.Sprintf("r%02d", i)
		w.record(run.Record{RunID: id, Status: statuses[i%3], StartedAt: began.Add(time.Duration(i) * time.Second)})
		if i%5 == 4 { // its record has expired, or was never made
			w.s3.Remove(stateBucket, "runs/"+id+".json")
			continue
		}
		all = append([]string{id}, all...)
	}
	for _, status := range []string{"", "succeeded", "waiting", "copying"} {
		for _, limit := range []int{1, 3, 10, 100} {
			var want, got []string
			for _, id := range all {
				var i int
				if _, err := fmt.Sscanf(id, "r%d", &i); err != nil {
					t.Fatal(err)
				}
				if status == "" || statuses[i%3] == run.Status(status) {
					want = append(want, id)
				}
			}
			cursor, pages := "", 0
			for {
				a := w.call("GET", fmt.Sprintf("/runs?status=%s&limit=%d&cursor=%s", status, limit, url.QueryEscape(cursor)), "")
				runs, ok := a.body["runs"].([]any)
				if a.status != 200 || !ok || len(runs) > limit {
					t.Fatalf("%d %s", a.status, a.raw)
				}
				for _, r := range runs {
					got = append(got, r.(map[string]any)["run_id"].(string))
				}
				if cursor, _ = a.body["next_cursor"].(string); cursor == "" {
					break
				}
				if pages++; pages > 50 {
					t.Fatal("it never ends")
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("status %q, limit %d: %v, want %v", status, limit, got, want)
			}
		}
	}
}

// TestListsOnce: two calls that begin one run may leave two entries in the index.
func TestListsOnce(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{RunID: "r1", Status: run.Waiting})
	for _, start := range []time.Time{began.Add(time.Millisecond), began.Add(-time.Second)} {
		w.set("index/"+lifecycle.CursorOf(run.Record{RunID: "r1", StartedAt: start}), nil)
	}
	if a := w.call("GET", "/runs", ""); len(a.body["runs"].([]any)) != 1 || len(w.s3.Keys(stateBucket, "index/")) != 3 {
		t.Errorf("%s", a.raw)
	}
}

// TestListIsBounded: a rare status does not make one call read everything.
func TestListIsBounded(t *testing.T) {
	w := newWorld(t)
	for i := range maxScanned + 100 {
		w.record(run.Record{RunID: fmt.Sprint(i), Status: run.Succeeded, StartedAt: began.Add(-time.Duration(i) * time.Second)})
	}
	w.record(run.Record{RunID: "old", Status: run.Failed, StartedAt: began.Add(-24 * time.Hour)})
	a := w.call("GET", "/runs?status=failed&limit=100", "")
	cursor, _ := a.body["next_cursor"].(string)
	if len(a.body["runs"].([]any)) != 0 || cursor == "" {
		t.Fatal(a.raw)
	}
	if reads := len(w.s3.Calls("GetObject")); reads > maxScanned+100 {
		t.Errorf("%d reads", reads)
	}
	a = w.call("GET", "/runs?status=failed&limit=100&cursor="+cursor, "")
	if len(a.body["runs"].([]any)) != 1 || a.body["next_cursor"] != nil {
		t.Error(a.raw)
	}
}

func TestListFaults(t *testing.T) {
	w := newWorld(t)
	for query, want := range map[string]string{
		"status=done": "[status]", "limit=0": "[limit]", "limit=101": "[limit]", "limit=x": "[limit]", "cursor=%21": "[cursor]",
		"cursor=_w": "[cursor]", "cursor=" + strings.Repeat("YWFh", 500): "[cursor]", "status=x&limit=x&cursor=%21": "[status limit cursor]",
	} {
		if a := w.call("GET", "/runs?"+query, ""); a.status != 400 || fmt.Sprint(a.violations()) != want {
			t.Errorf("%s: %d %s", query, a.status, a.raw)
		}
	}
	if a := w.call("GET", "/runs", ""); a.raw != "{\"runs\":[]}\n" {
		t.Error(a.raw)
	}
}

// TestOutputBucketOfThatTime: a run's outputs stay where they were written, whatever
// bucket the stack writes to by now.
func TestOutputBucketOfThatTime(t *testing.T) {
	const before, key = "outputs-before", "runs/r1/manifest.json"
	w := newWorld(t)
	w.record(run.Record{RunID: "r1", Status: run.Succeeded, TaskID: "t1", Bucket: before, ManifestKey: key})
	w.s3.Set(before, key, storetest.Object{Body: []byte(`{"run_id":"r1","outputs":[{"id":"output","key":"runs/r1/output.png"}]}`)})
	a := w.call("GET", "/runs/r1", "")
	outputs, _ := a.body["outputs"].([]any)
	if a.body["bucket"] != before || len(outputs) != 1 || outputs[0].(map[string]any)["s3_uri"] != "s3://"+before+"/runs/r1/output.png" {
		t.Errorf("%s", a.raw)
	}
}

// TestAnswersFitLambda: however long the keys of its outputs are, every answer about
// a run of 1,000 and more is below what Lambda hands over, with addresses as a role signs
// them, and the pages together name all of them.
func TestAnswersFitLambda(t *testing.T) {
	const all, lambdaAnswer = maxSigned + 1, 6 << 20
	token := strings.Repeat("IQoJb3JpZ2luX2Vj", 1024/16) // as long as a role's session tokens are
	signer := s3.NewPresignClient(s3.New(s3.Options{Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("ASIAEXAMPLE", "secret", token)}))
	for name, c := range map[string]struct{ prefix, id string }{
		"as they are":               {prefix: "runs/r1/", id: "9.images"},
		"the longest and not ASCII": {prefix: strings.Repeat("写", 640/3) + "/", id: strings.Repeat("i", 190)}, // OutputPrefix and the run's own
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.h.Presign = signer
			w.record(run.Record{RunID: "r1", Status: run.Succeeded, Prefix: c.prefix, ManifestKey: c.prefix + run.ManifestName})
			var outputs []run.Output
			for i := range all {
				id := fmt.Sprintf("%s.%d", c.id, i)
				outputs = append(outputs, run.Output{ID: id, Key: c.prefix + run.OutputName(id, "a.png", ""), Bytes: 1 << 30, CRC32: "0000beef", ContentType: "image/png", ETag: `"` + strings.Repeat("e", 34) + `"`})
			}
			manifest, err := json.MarshalIndent(run.Manifest{RunID: "r1", Outputs: outputs}, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			w.s3.Set(outputBucket, c.prefix+run.ManifestName, storetest.Object{Body: manifest})
			pages, seen, largest := 0, 0, 0
			for after := ""; pages == 0 || after != ""; pages++ {
				out, err := w.h.Handle(t.Context(), httpEvent("GET", "/runs/r1?outputs_after="+url.QueryEscape(after), ""))
				if err != nil || out.StatusCode != 200 {
					t.Fatalf("%d, %v", out.StatusCode, err)
				}
				handed, err := json.Marshal(out) // as aws-lambda-go hands it over
				if err != nil {
					t.Fatal(err)
				}
				largest = max(largest, len(handed))
				var page struct {
					Outputs []struct{ ID, URL string }
					Next    string `json:"outputs_next"`
				}
				if err := json.Unmarshal([]byte(out.Body), &page); err != nil {
					t.Fatal(err)
				}
				for _, o := range page.Outputs {
					if o.ID != outputs[seen].ID || !strings.Contains(o.URL, "X-Amz-Signature") {
						t.Fatalf("%s behind %d others", o.ID, seen)
					}
					seen++
				}
				after = page.Next
			}
			if seen != all || pages != 2 || largest > lambdaAnswer {
				t.Errorf("%d outputs in %d pages, the largest answer has %d bytes", seen, pages, largest)
			}
			t.Logf("manifest %d bytes, %d pages, the largest answer %d bytes", len(manifest), pages, largest)
		})
	}
}
