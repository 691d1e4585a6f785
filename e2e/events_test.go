package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// sample reads one of events/, its example names put right for this stack and
// its run id made this test's own.
func (s *stack) sample(t *testing.T, file, suffix string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "events", file))
	if err != nil {
		t.Fatal(err)
	}
	execution := strings.Replace(s.stateMachineARN, ":stateMachine:", ":execution:", 1)
	return strings.NewReplacer(
		"cyberun-relay-inboxbucket-example", s.inbox,
		"arn:aws:states:us-east-1:123456789012:execution:cyberun-relay-run", execution,
		"2026-11-23T20:18:39.123Z", time.Now().UTC().Format(time.RFC3339Nano), // a run that began long ago has timed out
		`"run_id": "sample-run"`, `"run_id": "sample-run`+suffix+`"`,
	).Replace(string(raw))
}

// invoke calls a function as the platform does; failed is the error's name.
func (s *stack) invoke(t *testing.T, function, payload string) (answer map[string]any, failed string) {
	t.Helper()
	out, err := s.lambda.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String(s.resources[function]), Payload: []byte(payload)})
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out.Payload, &answer); err != nil {
		t.Fatalf("%s answered %s", function, out.Payload)
	}
	if out.FunctionError != nil {
		failed, _ = answer["errorType"].(string)
	}
	return answer, failed
}

// TestSampleEvents invokes every sample on the deployed functions.
func TestSampleEvents(t *testing.T) {
	s := open(t)
	const photoKey = "files/upscale/image/my photo+1 ä.png"
	s.put(t, s.inbox, photoKey, s.photo(t), nil)
	photo, err := s.s3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &s.inbox, Key: aws.String(photoKey)})
	if err != nil {
		t.Fatal(err)
	}
	s.put(t, s.inbox, "jobs/sunset.json", []byte(`{"workflow":"text-to-image","parameters":{"prompt":"a sunset"}}`), nil)
	suffix := runName(t)[len(runName(t))-6:]
	functions := map[string]string{
		"submit": "SubmitFunction", "poll-status": "PollStatusFunction", "copy-result": "CopyResultFunction", "api": "ApiFunction",
		"on-upload": "OnUploadFunction", "on-webhook": "OnWebhookFunction", "close-run": "CloseRunFunction",
		"call-container": "CallContainerFunction",
	}
	// In the order of a run's life: later ones need what earlier ones left.
	cases := []struct {
		file   string
		failed string // the error's name
		field  string // of the answer
		want   any
	}{
		{"submit.json", "", "run_id", "sample-run" + suffix},
		{"submit-invalid.json", "InvalidRequest", "errorType", "InvalidRequest"},
		{"submit-rescue.json", "InvalidRequest", "errorType", "InvalidRequest"}, // no such task here
		{"poll-status.json", "", "done", true},
		{"copy-result.json", "", "done", true},
		{"api-start-run.json", "", "statusCode", 202.},
		{"api-start-run-base64.json", "", "statusCode", 202.},
		{"api-start-run-five-faults.json", "", "statusCode", 400.},
		{"api-start-run-unknown-workflow.json", "", "statusCode", 404.},
		{"api-list-runs.json", "", "statusCode", 200.},
		{"api-get-run.json", "", "statusCode", 404.},
		{"api-stop-run.json", "", "statusCode", 404.},
		{"api-list-workflows.json", "", "statusCode", 200.},
		{"api-get-workflow.json", "", "statusCode", 200.},
		{"api-list-workflows-base-path.json", "", "statusCode", 200.},
		{"api-stop-run-base-path.json", "", "statusCode", 404.},
		{"api-stop-run-odd-id.json", "", "statusCode", 404.},
		{"api-stop-run-control-characters.json", "", "statusCode", 404.},
		{"api-get-workflow-odd-slug.json", "", "statusCode", 404.},
		{"api-no-route.json", "", "statusCode", 404.},
		{"on-upload-job.json", "", "started", 1},
		{"on-upload-file.json", "", "started", 1},
		{"on-upload-classic.json", "", "started", 2},
		{"on-upload-test-event.json", "", "started", nil},
		{"on-upload-version.json", "", "started", 1},
		{"on-upload-encoded.json", "", "started", 1},
		{"on-upload-classic-version.json", "", "started", 1},
		{"on-upload-copy.json", "", "started", 1},       // nothing lay there before it
		{"on-upload-multipart.json", "", "ignored", 1.}, // no such object here
		{"on-upload-empty.json", "", "ignored", 1.},
		{"on-webhook.json", "", "statusCode", 404.}, // webhooks are off in this stack
		{"on-webhook-base64.json", "", "statusCode", 404.},
		{"on-webhook-forged.json", "", "statusCode", 404.},
		{"call-container-list.json", "", "statusCode", 200.},
		{"call-container-show.json", "", "statusCode", 200.},
		{"call-container-chat.json", "", "statusCode", 200.},
		{"call-container-binary.json", "", "statusCode", 200.},
		{"call-container-odd-path.json", "", "statusCode", 200.},
		{"call-container-climbs.json", "", "statusCode", 400.},
		{"call-container-unknown.json", "", "statusCode", 404.},
		{"call-container-stopped.json", "", "statusCode", 409.},
		{"close-run-aborted.json", "", "closed", 0.},   // its execution does not exist, and it is not old enough for that to mean anything
		{"close-run-failed.json", "", "closed", 0.},    // its execution does not exist, and it is not old enough for that to mean anything
		{"close-run-timed-out.json", "", "closed", 0.}, // its execution does not exist, and it is not old enough for that to mean anything
		{"close-run-sweep.json", "", "failed", nil},
	}
	tested := map[string]bool{}
	for _, c := range cases {
		tested[c.file] = true
		name, _, _ := strings.Cut(strings.TrimSuffix(c.file, ".json"), ".")
		var function string
		for prefix, id := range functions {
			if strings.HasPrefix(name, prefix) {
				function = id
			}
		}
		payload := strings.NewReplacer(
			"IYV3p45BT0ac8hjHg1houSdS1a.Mro8e", aws.ToString(photo.VersionId),
			"b1946ac92492d2347c6235b4d2611184", strings.Trim(aws.ToString(photo.ETag), `"`),
		).Replace(s.sample(t, c.file, suffix))
		answer, failed := s.invoke(t, function, payload)
		for until := time.Now().Add(patience); c.field == "done" && failed == "" && answer["done"] != c.want && time.Now().Before(until); {
			answer, failed = s.invoke(t, function, payload) // what the state machine's loops do
		}
		got := answer[c.field]
		if list, ok := got.([]any); ok {
			got = len(list)
		}
		if failed != c.failed || got != c.want {
			t.Errorf("%s: %s=%v, error %q; want %v, %q: %v", c.file, c.field, got, failed, c.want, c.failed, answer)
		}
	}
	files, err := filepath.Glob("../events/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !tested[filepath.Base(file)] {
			t.Errorf("%s is in no test", file)
		}
	}
}

// TestUploadTakenBack: an upload that is no longer there, under its name as it is
// or decoded, starts nothing and is no failure.
func TestUploadTakenBack(t *testing.T) {
	s := open(t)
	event := strings.Replace(s.sample(t, "on-upload-file.json", ""), "my photo+1 ä.png", "taken+back.png", 1)
	answer, failed := s.invoke(t, "OnUploadFunction", event)
	if failed != "" || answer["started"] != nil || answer["ignored"] != 1. {
		t.Errorf("%v, failed with %q", answer, failed)
	}
}
