package e2e

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestPageInsteadOfCyberun: what a proxy says while it is away, to the task and to
// its result, ends nothing.
func TestPageInsteadOfCyberun(t *testing.T) {
	s := open(t)
	t.Parallel()
	word := uniqueWord(t)
	runID, taskID := s.waiting(t, word, 30)
	for _, status := range []int{401, 403, 404, 410, 502} {
		s.addFault(t, fmt.Sprintf(`{"match":{"method":"GET","path_regexp":"/r/tasks/%s(/result)?$"},"times":2,"action":{"type":"status","status":%d,"body":"<html>away</html>"}}`, taskID, status))
	}
	s.delivered(t, s.end(t, runID))
	s.paidOnce(t, word)
}

// TestPageForMinutes: the page of an ingress without a backend, first to everything
// about the task, then to its result, for as long as it takes to be seen five times
// each: what an outage of five minutes is where waits last a fifth.
func TestPageForMinutes(t *testing.T) {
	s := open(t)
	t.Parallel()
	word := uniqueWord(t)
	runID, taskID := s.waiting(t, word, 30)
	const page = `{"type":"status","status":404,"body":"<html><h1>default backend - 404</h1></html>"}`
	away := func(below string) (fired func() int, end func()) {
		return s.outage(t, word+below, fmt.Sprintf(`{"method":"GET","path_regexp":"/r/tasks/%s%s$"}`, taskID, below), page)
	}
	seen := func(fired func() int) {
		t.Helper()
		eventually(t, "five looks met the page", func() (bool, any) {
			if v := s.view(t, runID, ""); v.ended() {
				t.Fatalf("it ended the run: %+v", v.Error)
			}
			n := fired()
			return n >= 5, n
		})
	}
	looks, found := away("(/events)?")
	results, back := away("/result")
	seen(looks)
	found()
	seen(results)
	back()
	s.delivered(t, s.end(t, runID))
	s.paidOnce(t, word)
}

// TestPageToEachCall: a proxy answers each kind of call that a run makes with a page
// of its own, once: under one status, then under others. The run goes on, and pays
// once.
func TestPageToEachCall(t *testing.T) {
	s := open(t)
	photo := s.photo(t)
	for i, statuses := range [][]int{
		{404, 400, 403, 422, 410, 0, 401, 500}, // after its doubt the task has completed: nothing is left to hold
		{401, 413, 413, 0, 404, 403, 404, 0},   // without a doubt no list is read
	} {
		name := runName(t)
		key := "pages/" + name + ".png"
		s.put(t, s.inbox, key, photo, nil)
		for n, call := range []struct{ name, match, action string }{
			{"workflow", `"method":"GET","path_regexp":"/r/workflows/slug/upscale$"`, "status"},
			{"presign", `"method":"POST","path_regexp":"/r/files/presign$"`, "status"},
			{"upload", `"method":"PUT","path_regexp":"^/bucket/inputs/"`, "status"},
			{"run", `"method":"POST","path_regexp":"/upscale/run$"`, "accept_then_status"},
			{"task", `"method":"GET","workflow":"upscale","path_regexp":"/r/tasks/[^/]+$"`, "status"},
			{"events", `"method":"GET","workflow":"upscale","path_regexp":"/events$"`, "status"},
			{"result", `"method":"GET","workflow":"upscale","path_regexp":"/result$"`, "status"},
			{"list", `"method":"GET","path_regexp":"/r/tasks$"`, "status"},
		} {
			if statuses[n] == 0 {
				continue
			}
			s.addFault(t, fmt.Sprintf(`{"name":"%s %s","match":{%s},"times":1,"action":{"type":%q,"status":%d,"body":"<html>not Cyberun</html>"}}`,
				name, call.name, call.match, call.action, statuses[n]))
		}
		upscaled := func() []ledgerTask {
			return s.ledger(t, func(task ledgerTask) bool { return task.Workflow == "upscale" })
		}
		before := len(upscaled())
		s.execute(t, name, mustJSON(t, map[string]any{"workflow": "upscale", "parameters": map[string]any{"image": "s3://" + s.inbox + "/" + key, "seconds": 30}}))
		s.delivered(t, s.end(t, name))
		if paid := upscaled()[before:]; len(paid) != 1 || paid[0].CancelRequested {
			t.Errorf("pages %d: paid for %+v", i, paid)
		}
		if unmet := s.unmet(t, name); len(unmet) > 0 {
			t.Errorf("pages %d: no call of this kind came: %v", i, unmet)
		}
	}
}

// TestResultNotThere: a task's result that is said to be gone, while the list shows
// the task, is asked for again.
func TestResultNotThere(t *testing.T) {
	s := open(t)
	t.Parallel()
	word := uniqueWord(t)
	runID, taskID := s.waiting(t, word, 30)
	s.addFault(t, fmt.Sprintf(`{"match":{"method":"GET","path_regexp":"/r/tasks/%s/result$"},"times":2,"action":{"type":"status","status":404,"body":"{\"message\":\"Task not found\"}"}}`, taskID))
	v := s.end(t, runID)
	s.delivered(t, v)
	// A manifest that its owner moved is no failure of the run.
	if _, err := s.s3.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &s.outputs, Key: &v.ManifestKey}); err != nil {
		t.Fatal(err)
	}
	if v := s.view(t, runID, ""); v.Status != "succeeded" || len(v.Outputs) != 0 {
		t.Errorf("without its manifest it is %s with %d outputs", v.Status, len(v.Outputs))
	}
}
