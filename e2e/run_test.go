package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"image/png"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// manifest is manifest.json as its readers know it.
type manifest struct {
	RunID    string `json:"run_id"`
	TaskID   string `json:"task_id"`
	Workflow string `json:"workflow"`
	Outputs  []struct {
		ID          string `json:"id"`
		Key         string `json:"key"`
		Bytes       int64  `json:"bytes"`
		CRC32       string `json:"crc32"`
		ContentType string `json:"content_type"`
		ETag        string `json:"etag"`
	} `json:"outputs"`
	Usage map[string]float64 `json:"usage"`
}

// delivered reads a run's manifest and checks every output against it.
func (s *stack) delivered(t *testing.T, v runView) manifest {
	t.Helper()
	if v.Status != "succeeded" {
		t.Fatalf("the run %s is %s: %+v", v.RunID, v.Status, v.Error)
	}
	raw := s.object(t, s.outputs, v.ManifestKey)
	var m manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatalf("manifest %s: %v", v.ManifestKey, err)
	}
	if m.RunID != v.RunID || m.TaskID != v.TaskID || len(m.Outputs) == 0 {
		t.Errorf("the manifest is of another run, or empty: %s", raw)
	}
	keys := map[string]bool{}
	for _, o := range m.Outputs {
		if keys[o.Key] {
			t.Errorf("two outputs share the key %s", o.Key)
		}
		keys[o.Key] = true
		body := s.object(t, s.outputs, o.Key)
		if int64(len(body)) != o.Bytes || fmt.Sprintf("%08x", crc32.ChecksumIEEE(body)) != o.CRC32 {
			t.Errorf("%s: the manifest says %d bytes, crc32 %s; S3 has %d bytes, crc32 %08x", o.Key, o.Bytes, o.CRC32, len(body), crc32.ChecksumIEEE(body))
		}
	}
	return m
}

// TestRunLandsItsFile is the main job: from an HTTP call to the file in S3.
func TestRunLandsItsFile(t *testing.T) {
	s := open(t)
	t.Parallel()
	word := uniqueWord(t)
	runID := s.start(t, mustJSON(t, map[string]any{"workflow": "text-to-image@2", "parameters": map[string]any{"prompt": word, "steps": 30}}))
	if v := s.view(t, runID, ""); v.RunID != runID {
		t.Errorf("right after the 202 the run is %+v", v)
	}
	v := s.end(t, runID)
	m := s.delivered(t, v)
	body := s.object(t, s.outputs, m.Outputs[0].Key)
	if _, err := png.Decode(bytes.NewReader(body)); err != nil {
		t.Errorf("the output is no PNG: %v", err)
	}
	if !bytes.Contains(body, []byte(word)) {
		t.Error("the PNG's metadata has not this run's prompt")
	}
	if paid := s.paid(t, word); len(paid) != 1 || paid[0].ID != v.TaskID {
		t.Errorf("paid for %+v; the run says %s", paid, v.TaskID)
	}
	s.checkURL(t, v, body)
	s.checkListing(t, v)
	s.checkExecution(t, v, word)
}

// checkURL fetches an output as the API's answer offers it.
func (s *stack) checkURL(t *testing.T, v runView, want []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, v.Outputs[0].URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := send(t, req); got.status != http.StatusOK || !bytes.Equal(got.body, want) {
		t.Errorf("the output's url: HTTP %d with %d bytes, want %d", got.status, len(got.body), len(want))
	}
	if want := "s3://" + s.outputs + "/" + v.Outputs[0].Key; v.Outputs[0].S3URI != want {
		t.Errorf("s3_uri %s, want %s", v.Outputs[0].S3URI, want)
	}
}

// checkListing: the manifest is the newest object under the run's prefix.
func (s *stack) checkListing(t *testing.T, v runView) {
	t.Helper()
	prefix := strings.TrimSuffix(v.ManifestKey, "manifest.json")
	out, err := s.s3.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &s.outputs, Prefix: &prefix})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Contents) != len(v.Outputs)+1 {
		t.Errorf("%d objects under %s, want %d", len(out.Contents), prefix, len(v.Outputs)+1)
	}
	var manifestAt, newest time.Time
	for _, o := range out.Contents {
		if o.LastModified.After(newest) {
			newest = *o.LastModified
		}
		if *o.Key == v.ManifestKey {
			manifestAt = *o.LastModified
		}
		head, err := s.s3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &s.outputs, Key: o.Key})
		if err != nil {
			t.Fatal(err)
		}
		if head.Metadata["cyberun-run-id"] != v.RunID || head.Metadata["cyberun-task-id"] != v.TaskID {
			t.Errorf("%s has the metadata %v", *o.Key, head.Metadata)
		}
	}
	if manifestAt.Before(newest) {
		t.Errorf("manifest.json (%v) is not the newest object (%v)", manifestAt, newest)
	}
}

// checkExecution: the output is the completion notice, and nothing that is
// secret or the user's own stands in the history.
func (s *stack) checkExecution(t *testing.T, v runView, prompt string) {
	t.Helper()
	execution := s.execution(t, v.RunID)
	want := map[string]string{"run_id": v.RunID, "task_id": v.TaskID, "bucket": s.outputs, "manifest_key": v.ManifestKey}
	var got map[string]string
	if err := json.Unmarshal([]byte(aws.ToString(execution.Output)), &got); err != nil || mustJSON(t, got) != mustJSON(t, want) {
		t.Errorf("the execution's output is %s (%v), want %s", aws.ToString(execution.Output), err, mustJSON(t, want))
	}
	s.checkHistory(t, v.RunID, prompt)
}

// secrets are what must never be in a history or a record.
func (s *stack) secrets() []string { return []string{s.key, "X-Amz-Signature", "X-Amz-Credential"} }

func (s *stack) checkHistory(t *testing.T, runID, prompt string) int {
	t.Helper()
	events := s.history(t, runID)
	for _, e := range events {
		text := mustJSON(t, e)
		for _, secret := range s.secrets() {
			if strings.Contains(text, secret) {
				t.Errorf("event %d (%s) holds %q", e.Id, e.Type, secret)
			}
		}
		input := e.Type == sfntypes.HistoryEventTypeExecutionStarted || e.StateEnteredEventDetails != nil && aws.ToString(e.StateEnteredEventDetails.Name) == "Submit"
		// The request is Submit's payload, which a real history shows where the call is scheduled.
		scheduled := e.Type == sfntypes.HistoryEventTypeTaskScheduled || e.Type == sfntypes.HistoryEventTypeLambdaFunctionScheduled
		if strings.Contains(text, prompt) && !input && !scheduled {
			t.Errorf("event %d (%s) holds a parameter: %s", e.Id, e.Type, text)
		}
	}
	record := s.object(t, s.state, "runs/"+runID+".json")
	for _, secret := range append(s.secrets(), prompt) {
		if bytes.Contains(record, []byte(secret)) {
			t.Errorf("the record holds %q", secret)
		}
	}
	return len(events)
}

// TestSeveralOutputs lands every output of a cloud-dispatched task, under keys
// of its own, for workflows that name their outputs in every way.
func TestSeveralOutputs(t *testing.T) {
	s := open(t)
	for _, workflow := range []string{"multi-image", "both-urls", "odd-names"} {
		t.Run(workflow, func(t *testing.T) {
			t.Parallel()
			request := map[string]any{"workflow": workflow}
			if workflow != "odd-names" { // that one takes no prompt
				request["parameters"] = map[string]any{"prompt": uniqueWord(t)}
			}
			v := s.end(t, s.start(t, mustJSON(t, request)))
			m := s.delivered(t, v)
			if len(m.Outputs) < 2 {
				t.Errorf("%d outputs", len(m.Outputs))
			}
			ids := map[string]bool{}
			for _, o := range m.Outputs {
				if ids[o.ID] {
					t.Errorf("the output %s is there twice", o.ID)
				}
				ids[o.ID] = true
			}
		})
	}
}

// withPolling skips on a stack that holds streams.
func (s *stack) withPolling(t *testing.T) {
	t.Helper()
	if hold := s.setting(t, "PollStatusFunction", "HOLD_SECONDS"); hold != "0" {
		t.Skipf("this stack holds streams for %s s; `make e2e` runs this test on one that polls", hold)
	}
}

// TestPolledRun: a run of 30 s without a held stream stays small.
func TestPolledRun(t *testing.T) {
	s := open(t)
	s.withPolling(t)
	t.Parallel()
	word := uniqueWord(t)
	v := s.end(t, s.start(t, mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": word, "seconds": 30}})))
	m := s.delivered(t, v)
	const most = 100
	if n := s.checkHistory(t, v.RunID, word); n >= most {
		t.Errorf("%d events of history, want fewer than %d", n, most)
	} else {
		t.Logf("%d events of history, usage %v", n, m.Usage)
	}
}

// setting is a deployed function's.
func (s *stack) setting(t *testing.T, function, name string) string {
	t.Helper()
	out, err := s.lambda.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: aws.String(s.resources[function])})
	if err != nil {
		t.Fatal(err)
	}
	return out.Environment.Variables[name]
}

// TestManyFaultsAtOnce: everything that is wrong is told in one answer, and
// nothing is paid for.
func TestManyFaultsAtOnce(t *testing.T) {
	s := open(t)
	t.Parallel()
	word := uniqueWord(t)
	a := s.call(t, http.MethodPost, "/runs", mustJSON(t, map[string]any{
		"workflow":    "text-to-image@2",
		"colour":      "red",
		"destination": map[string]any{"prefix": "/results/"},
		"parameters":  map[string]any{"prompt": 7, "steps": 1000, "stpes": 30, "mark": word},
	}))
	if a.status != http.StatusBadRequest || a.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("HTTP %d %s: %s", a.status, a.header.Get("Content-Type"), a.body)
	}
	var p struct {
		Type, Title, Detail string
		Status              int
		Errors              []struct{ Parameter, Message string }
	}
	a.into(t, &p)
	var named []string
	for _, e := range p.Errors {
		named = append(named, e.Parameter)
		if e.Message == "" {
			t.Errorf("%s has no message", e.Parameter)
		}
	}
	slices.Sort(named)
	// The prefix has two: its root, and that it is not this run's own.
	want := []string{"colour", "destination.prefix", "destination.prefix", "mark", "prompt", "steps", "stpes"}
	if !slices.Equal(named, want) || p.Status != http.StatusBadRequest || p.Title != "InvalidRequest" {
		t.Errorf("faults %v, want %v; %s", named, want, a.body)
	}
	if paid := s.paid(t, word); len(paid) != 0 {
		t.Errorf("paid for %+v", paid)
	}
}

// TestRefusals: each kind of bad request has a status, a name and something to do.
func TestRefusals(t *testing.T) {
	s := open(t)
	cases := []struct {
		name, method, path, body string
		status                   int
		title                    string
	}{
		{"unknown workflow", "POST", "/runs", `{"workflow":"text-to-imagine"}`, 404, "WorkflowNotFound"},
		{"disabled workflow", "POST", "/runs", `{"workflow":"legacy-sketch","parameters":{"prompt":"x"}}`, 400, "WorkflowDisabled"},
		{"missing parameter", "POST", "/runs", `{"workflow":"text-to-image"}`, 400, "InvalidRequest"},
		{"not JSON", "POST", "/runs", `workflow=text-to-image`, 400, "InvalidRequest"},
		{"neither workflow nor task", "POST", "/runs", `{}`, 400, "InvalidRequest"},
		{"no such run", "GET", "/runs/nothing-here", ``, 404, "RunNotFound"},
		{"stop no such run", "DELETE", "/runs/nothing-here", ``, 404, "RunNotFound"},
		{"bad status filter", "GET", "/runs?status=done", ``, 400, "InvalidRequest"},
		{"no such workflow", "GET", "/workflows/nothing-here", ``, 404, "WorkflowNotFound"},
		{"no such route", "GET", "/nothing-here", ``, 404, "NotFound"},
		{"no such method", "PUT", "/runs", ``, 404, "NotFound"},
		{"an id with a number sign", "GET", "/runs/a%23b", ``, 404, "RunNotFound"},
		{"an id with a NUL", "GET", "/runs/%00", ``, 404, "RunNotFound"},
		{"an id with a percent sign", "DELETE", "/runs/a%25", ``, 404, "RunNotFound"},
		{"a workflow with a percent sign", "GET", "/workflows/50%25off", ``, 404, "WorkflowNotFound"},
		{"a workflow with a line end", "GET", "/workflows/a%0Ab", ``, 404, "WorkflowNotFound"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := s.call(t, c.method, c.path, c.body)
			var p struct {
				Title, Detail string
				Status        int
			}
			a.into(t, &p)
			if a.status != c.status || p.Status != c.status || p.Title != c.title || p.Detail == "" {
				t.Errorf("HTTP %d: %s; want %d %s", a.status, a.body, c.status, c.title)
			}
		})
	}
}

// TestUnsigned: nobody without AWS credentials starts or sees a run.
func TestUnsigned(t *testing.T) {
	s := open(t)
	for _, path := range []string{"/runs", "/workflows"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.apiURL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a := send(t, req); a.status != http.StatusForbidden {
			t.Errorf("GET %s unsigned: HTTP %d", path, a.status)
		}
	}
}

// TestDiscovery pages through the workflows, and through the runs.
func TestDiscovery(t *testing.T) {
	s := open(t)
	s.start(t, mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": uniqueWord(t)}}))
	s.start(t, mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": uniqueWord(t)}}))
	for _, list := range []struct{ path, field, id string }{{"/workflows", "workflows", "workflow_slug"}, {"/runs", "runs", "run_id"}} {
		seen := map[string]bool{}
		cursor := ""
		for pages := 0; pages < 3; pages++ {
			var page map[string]json.RawMessage
			s.call(t, http.MethodGet, list.path+"?limit=1"+cursor, "").into(t, &page)
			var rows []map[string]any
			if err := json.Unmarshal(page[list.field], &rows); err != nil || len(rows) > 1 {
				t.Fatalf("%s: %v, %d rows", list.path, err, len(rows))
			}
			for _, row := range rows {
				id := fmt.Sprint(row[list.id])
				if seen[id] {
					t.Errorf("%s: %s comes twice", list.path, id)
				}
				seen[id] = true
			}
			var next string
			if page["next_cursor"] == nil || json.Unmarshal(page["next_cursor"], &next) != nil {
				break
			}
			cursor = "&cursor=" + next
		}
		if len(seen) < 2 {
			t.Errorf("%s: %d over several pages", list.path, len(seen))
		}
	}
	a := s.call(t, http.MethodGet, "/workflows/text-to-image@1", "")
	var w struct {
		Slug    string `json:"workflow_slug"`
		Version int    `json:"version"`
	}
	if a.into(t, &w); w.Slug != "text-to-image" || w.Version != 1 {
		t.Errorf("GET /workflows/text-to-image@1: %s", a.body)
	}
}
