package handler

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// deliver puts a run there that has its outputs.
func (w *world) deliver(id string) {
	w.T.Helper()
	key := "runs/" + id + "/manifest.json"
	w.Record(run.Record{RunID: id, Status: run.Succeeded, TaskID: "t1", TaskStatus: "completed", Workflow: "text-to-image@2", ManifestKey: key, EndedAt: began})
	manifest, err := json.Marshal(run.Manifest{RunID: id, Outputs: []run.Output{{ID: "output", Key: "runs/" + id + "/output.png", Bytes: 7, CRC32: "0000beef", ContentType: "image/png"}}})
	if err != nil {
		w.T.Fatal(err)
	}
	w.S3.Set(outputBucket, key, storetest.Object{Body: manifest})
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
	w.S3.Set(outputBucket, "runs/r1/manifest.json", storetest.Object{Body: manifest})
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
	w.S3.Set(outputBucket, "runs/r1/manifest.json", storetest.Object{Body: manifest})
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
	w.S3.Set(outputBucket, "runs/r1/manifest.json", storetest.Object{Body: manifest})
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

// TestBucketIsTheUsers: a manifest that was moved or has expired is no fault.
func TestBucketIsTheUsers(t *testing.T) {
	w := newWorld(t)
	w.deliver("r1")
	w.S3.Set(outputBucket, "runs/r1/manifest.json", storetest.Object{Body: []byte("not a manifest")})
	if a := w.call("GET", "/runs/r1", ""); a.status != 503 {
		t.Errorf("%+v", a)
	}
	w.S3.Remove(outputBucket, "runs/r1/manifest.json")
	if a := w.call("GET", "/runs/r1", ""); a.status != 200 || a.body["outputs"] != nil || a.body["manifest_key"] == nil {
		t.Errorf("%+v", a)
	}
}

// TestOutputBucketOfThatTime: a run's outputs stay where they were written, whatever
// bucket the stack writes to by now.
func TestOutputBucketOfThatTime(t *testing.T) {
	const before, key = "outputs-before", "runs/r1/manifest.json"
	w := newWorld(t)
	w.Record(run.Record{RunID: "r1", Status: run.Succeeded, TaskID: "t1", Bucket: before, ManifestKey: key})
	w.S3.Set(before, key, storetest.Object{Body: []byte(`{"run_id":"r1","outputs":[{"id":"output","key":"runs/r1/output.png"}]}`)})
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
			w.Record(run.Record{RunID: "r1", Status: run.Succeeded, Prefix: c.prefix, ManifestKey: c.prefix + run.ManifestName})
			var outputs []run.Output
			for i := range all {
				id := fmt.Sprintf("%s.%d", c.id, i)
				outputs = append(outputs, run.Output{ID: id, Key: c.prefix + run.OutputName(id, "a.png", ""), Bytes: 1 << 30, CRC32: "0000beef", ContentType: "image/png", ETag: `"` + strings.Repeat("e", 34) + `"`})
			}
			manifest, err := json.MarshalIndent(run.Manifest{RunID: "r1", Outputs: outputs}, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			w.S3.Set(outputBucket, c.prefix+run.ManifestName, storetest.Object{Body: manifest})
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
