package handler

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/cyberun-cloud/cyberun-relay/shared/eventstest"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/google/go-cmp/cmp"
)

// TestSamples puts each of events/api-*.json through the types and the routes.
func TestSamples(t *testing.T) {
	want := map[string]int{
		"api-start-run.json": 202, "api-start-run-base64.json": 202, "api-start-run-five-faults.json": 400, "api-start-run-unknown-workflow.json": 404,
		"api-get-run.json": 200, "api-list-runs.json": 200, "api-stop-run.json": 202, "api-list-workflows.json": 200, "api-get-workflow.json": 200,
		"api-no-route.json": 404, "api-list-workflows-base-path.json": 200, "api-stop-run-base-path.json": 202,
		"api-stop-run-odd-id.json": 404, "api-stop-run-control-characters.json": 404, "api-get-workflow-odd-slug.json": 404,
	}
	eventstest.Each(t, "api-*.json", want, func(t *testing.T, status int, raw []byte) {
		var e, back events.APIGatewayV2HTTPRequest
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(again, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, back); diff != "" {
			t.Error(diff)
		}
		http := e.RequestContext.HTTP
		if e.Version != "2.0" || e.RawPath != http.Path || e.RequestContext.RouteKey != e.RouteKey || e.RequestContext.Authorizer.IAM.UserARN == "" {
			t.Errorf("not as an HTTP API sends it: %+v", e)
		}
		if length := e.Headers["content-length"]; !e.IsBase64Encoded && e.Body != "" && length != strconv.Itoa(len(e.Body)) {
			t.Errorf("content-length %s of %d", length, len(e.Body))
		}
		w := newWorld(t)
		w.start("sample-run", body, executions.Running)
		a := w.event(e)
		if a.status != status {
			t.Errorf("%d %s", a.status, a.raw)
		}
		if stopped := http.Method == "DELETE" && status == 202; stopped != (len(w.Executions.Stopped) == 1) {
			t.Errorf("stopped %v", w.Executions.Stopped)
		}
		if a.status == 400 && len(a.violations()) != 5 {
			t.Errorf("%v", a.violations())
		}
		if a.status == 202 && http.Method == "POST" && fmt.Sprint(a.headers["location"]) != fmt.Sprint("/runs/", a.body["run_id"]) {
			t.Errorf("%v", a.headers)
		}
	})
}
