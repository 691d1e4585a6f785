package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// A run's life as the API tells it.
const (
	lifeSubmitting   = `{"run_id":"key-1","status":"submitting","workflow":"nerf-train","started_at":"2026-11-23T11:59:19Z"}`
	lifePending      = `{"run_id":"key-1","status":"waiting","workflow":"nerf-train","task_id":"t-1","task_status":"pending","started_at":"2026-11-23T11:59:19Z"}`
	lifeProvisioning = `{"run_id":"key-1","status":"waiting","workflow":"nerf-train","task_id":"t-1","task_status":"provisioning","started_at":"2026-11-23T11:59:19Z","progress":{"run_id":"key-1","task_status":"provisioning","updated_at":"2026-11-23T11:59:30Z","polls":1,"held_seconds":1}}`
	lifeTraining     = `{"run_id":"key-1","status":"waiting","workflow":"nerf-train","task_id":"t-1","task_status":"running","started_at":"2026-11-23T11:59:19Z","progress":{"run_id":"key-1","task_status":"running","progress":0.42,"step_current":12000,"step_total":30000,"stage":"train","message":"loss 0.012","updated_at":"2026-11-23T11:59:40Z","polls":1,"held_seconds":20}}`
	lifeSampling     = `{"run_id":"key-1","status":"waiting","workflow":"nerf-train","task_id":"t-1","task_status":"running","started_at":"2026-11-23T11:59:19Z","progress":{"run_id":"key-1","task_status":"running","progress":0.996,"step_current":null,"current_node":"KSampler\u001b[31m","updated_at":"2026-11-23T11:59:40Z","polls":1,"held_seconds":20}}`
	lifeUnknown      = `{"run_id":"key-1","status":"waiting","workflow":"nerf-train","task_id":"t-1","task_status":"meditating","started_at":"2026-11-23T11:59:19Z"}`
	lifeCopying      = `{"run_id":"key-1","status":"copying","workflow":"nerf-train","task_id":"t-1","task_status":"completed","started_at":"2026-11-23T11:59:19Z"}`
	lifeFailed       = `{"run_id":"key-1","status":"failed","workflow":"nerf-train","task_id":"t-1","task_status":"failed","started_at":"2026-11-23T11:59:19Z","ended_at":"2026-11-23T12:00:00Z","error":{"name":"TaskFailed","cause":"CUDA out of memory","hint":"the cause is Cyberun's own message; correct the parameters or the workflow and start a new run"}}`
	lifeUnavailable  = `{"run_id":"key-1","status":"failed","workflow":"nerf-train","task_id":"t-1","started_at":"2026-11-23T11:59:19Z","ended_at":"2026-11-23T12:00:00Z","error":{"name":"Unavailable","cause":"Cyberun answered 503","hint":"a remote could not be reached; redrive the run once it answers again"}}`
	lifeCancelled    = `{"run_id":"key-1","status":"cancelled","workflow":"nerf-train","task_id":"t-1","started_at":"2026-11-23T11:59:19Z","ended_at":"2026-11-23T12:00:00Z","error":{"name":"RunCancelled","cause":"the run was stopped"}}`
	lifeFailedBare   = `{"run_id":"key-1","status":"failed"}`
)

// succeeded has two outputs, their addresses at origin.
func succeeded(origin string, outputs ...string) string {
	return `{"run_id":"key-1","status":"succeeded","workflow":"nerf-train","task_id":"t-1","task_status":"completed","started_at":"2026-11-23T11:59:19Z","ended_at":"2026-11-23T12:00:00Z","bucket":"out","manifest_key":"runs/key-1/manifest.json","outputs":[` + strings.ReplaceAll(strings.Join(outputs, ","), "ORIGIN", origin) + `]}`
}

// The CRC32s are those of the two texts.
const (
	sunset     = "a sunset over mountains"
	cloud      = "ply: a cloud of points"
	sunsetJSON = `{"id":"9.images.0","key":"runs/key-1/9.images.0.png","bytes":23,"crc32":"4271ebaf","content_type":"image/png","etag":"\"e1\"","s3_uri":"s3://out/runs/key-1/9.images.0.png","url":"ORIGIN/sunset?X-Amz-Signature=secret"}`
	cloudJSON  = `{"id":"cloud","key":"runs/key-1/cloud.ply","bytes":22,"crc32":"d5704fc3","content_type":"application/octet-stream","etag":"e2","s3_uri":"s3://out/runs/key-1/cloud.ply","url":"ORIGIN/cloud?X-Amz-Signature=secret"}`
)

func life(views ...string) map[string][]answer {
	routes := map[string][]answer{"POST /runs": {{status: 202, body: accepted}}}
	for _, v := range views {
		routes["GET /runs/key-1"] = append(routes["GET /runs/key-1"], ok(v))
	}
	return routes
}

func TestWatchWithoutATerminal(t *testing.T) {
	api := replay(t, life(lifeSubmitting, lifeSubmitting, lifePending, lifeProvisioning, lifeTraining, lifeTraining, lifeSampling, lifeUnknown, lifeCopying, succeeded("", sunsetJSON, cloudJSON)))
	h := newHarness(t, api)
	h.run(t, codeOK, "run", "nerf-train", "--watch")
	golden(t, "watch-lines.txt", h.both())
}

func TestWatchOnATerminal(t *testing.T) {
	for _, width := range []int{100, 60, 20} {
		t.Run(strconv.Itoa(width), func(t *testing.T) {
			api := replay(t, life(lifeSubmitting, lifePending, lifeTraining, lifeTraining, lifeSampling, lifeCopying, succeeded("", sunsetJSON)))
			h := newHarness(t, api)
			h.terminal, h.width = true, func() int { return width }
			h.run(t, codeOK, "status", "key-1", "--watch")
			seen := strings.ReplaceAll(h.both(), eraseLine, "\n<erase>")
			golden(t, fmt.Sprintf("watch-bar-%d.txt", width), seen)
			for line := range strings.Lines(seen) {
				if text := strings.TrimPrefix(strings.TrimSpace(line), "<erase>"); strings.Contains(text, "│") && len([]rune(text)) >= width {
					t.Errorf("wider than the terminal: %q", text)
				}
			}
		})
	}
}

// Between two looks the clock goes on.
func TestBarTicks(t *testing.T) {
	h := newHarness(t, nil)
	h.terminal = true
	at := noon
	h.now = func() time.Time { return at }
	s := &session{app: h.app}
	d := s.display()
	d.tick() // before anything is known: nothing to draw
	d.show(view{RunID: "r", Status: run.Submitting, StartedAt: noon})
	at = at.Add(61 * time.Second)
	d.tick()
	d.close()
	want := []string{"", "   0% │░░░░░░░░░░░░░░░░░░░░░░░░│  0:00  submitting", "   0% │░░░░░░░░░░░░░░░░░░░░░░░░│  1:01  submitting", ""}
	got := strings.Split(h.err.String(), eraseLine)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHowRunsEnd(t *testing.T) {
	for _, test := range []struct {
		name, end string
		code      int
	}{
		{"failed", lifeFailed, codeFailed},
		{"redrivable", lifeUnavailable, codeFailed},
		{"no-error", lifeFailedBare, codeFailed},
		{"cancelled", lifeCancelled, codeCancelled},
		{"succeeded", succeeded("", sunsetJSON, cloudJSON), codeOK},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHarness(t, replay(t, life(test.end)))
			h.run(t, test.code, "run", "nerf-train", "--watch")
			golden(t, "end-"+test.name+".txt", h.both())
			shown := newHarness(t, replay(t, life(test.end)))
			shown.run(t, test.code, "status", "key-1")
			golden(t, "status-"+test.name+".txt", shown.both())
			told := newHarness(t, replay(t, life(lifePending, test.end)))
			told.run(t, test.code, "run", "nerf-train", "--watch", "--json")
			if told.out.String() != test.end+"\n" {
				t.Errorf("stdout is not the API's answer alone:\n%s", told.out)
			}
		})
	}
}

func TestStatusOfOpenRuns(t *testing.T) {
	var all strings.Builder
	for _, v := range []string{lifeSubmitting, lifePending, lifeTraining, lifeCopying, strings.Replace(lifePending, `"task_id"`, `"adopted":true,"task_id"`, 1)} {
		h := newHarness(t, replay(t, life(v)))
		h.run(t, codeOK, "status", "key-1")
		all.WriteString(h.both() + "\n")
	}
	golden(t, "status-open.txt", all.String())
}

// While nothing changes each look waits longer, and a change brings the short
// waits back; an API that answers at once is not asked without a pause.
func TestHowOftenItLooks(t *testing.T) {
	api := replay(t, life(lifePending, lifePending, lifePending, lifePending, lifePending, lifePending, lifeTraining, lifeTraining, lifeCancelled))
	h := newHarness(t, api)
	paused := 0
	h.sleep = func(context.Context, time.Duration) error { paused++; return nil }
	h.run(t, codeCancelled, "status", "key-1", "--watch")
	var waits []string
	for _, r := range api.calls {
		waits = append(waits, r.URL.Query().Get("wait"))
	}
	if got, want := fmt.Sprint(waits), "[ 2 4 8 16 20 20 2 4]"; got != want {
		t.Errorf("waits %s, want %s", got, want)
	}
	if paused != len(waits)-1 {
		t.Errorf("%d pauses between %d looks", paused, len(waits))
	}
}

func TestWatchSurvivesAnOutage(t *testing.T) {
	api := replay(t, map[string][]answer{"GET /runs/key-1": {
		ok(lifePending), {status: 500}, {status: 502, kind: "text/html", body: html502}, problemAnswer(503, "Unavailable", "S3"), ok(lifeTraining), ok(lifeCancelled),
	}})
	h := newHarness(t, api)
	h.run(t, codeCancelled, "status", "key-1", "--watch")
	if got := strings.Count(h.err.String(), "trying again"); got != 3 {
		t.Errorf("told %d times, want 3:\n%s", got, h.err)
	}
}

func TestWatchLosesSight(t *testing.T) {
	api := replay(t, map[string][]answer{"GET /runs/key-1": {ok(lifePending), {status: 403, body: `{"message":"The security token included in the request is expired"}`}}})
	h := newHarness(t, api)
	h.run(t, codeUnreachable, "status", "key-1", "--watch")
	golden(t, "watch-lost.txt", h.both())
}

func TestWatchTimesOut(t *testing.T) {
	h := newHarness(t, replay(t, life(lifePending)))
	h.run(t, codeTimedOut, "status", "key-1", "--watch", "--timeout", "30ms")
	golden(t, "watch-timeout.txt", h.both())
}

func TestWatchInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	h := newHarness(t, replay(t, map[string][]answer{
		"POST /runs":      {{status: 202, body: accepted}},
		"GET /runs/key-1": {ok(lifePending), {status: http.StatusOK, body: lifePending, do: cancel}},
	}))
	if got := h.execute(ctx, []string{"run", "nerf-train", "--watch"}); got != codeInterrupted {
		t.Errorf("exit code %d\n%s", got, h.both())
	}
	golden(t, "watch-interrupted.txt", h.both())
}

// After a redrive the record still tells the old end for a moment.
func TestWatchAfterARedrive(t *testing.T) {
	routes := life(lifeUnavailable, lifeUnavailable, lifeUnavailable, lifeTraining, succeeded("", sunsetJSON))
	api := replay(t, routes)
	h := newHarness(t, api)
	aws := &fakeAWS{sfn: func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(`{"redriveDate":1795435200}`)) }}
	aws.use(t, h)
	h.run(t, codeOK, "redrive", "key-1", "--state-machine-arn", "arn:aws:states:eu-west-1:1:stateMachine:relay-run", "--watch")
	golden(t, "redrive-watch.txt", h.both())
}

// One that never goes on again is told as it is, in the end.
func TestWatchAfterARedriveThatDidNothing(t *testing.T) {
	h := newHarness(t, replay(t, life(lifeUnavailable)))
	at := noon
	h.now = func() time.Time { return at }
	h.sleep = func(_ context.Context, d time.Duration) error { at = at.Add(30 * d); return nil }
	looks := make(chan look)
	s := &session{app: h.app, globals: globals{APIURL: apiOf(t)}}
	api, err := s.client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go s.lookOn(t.Context(), api, "key-1", noon, looks)
	n := 0
	for l := range looks {
		if n++; l.err != nil {
			t.Fatal(l.err)
		}
		if l.view.Status == run.Failed {
			break
		}
	}
	if n < 3 {
		t.Errorf("gave up after %d looks", n)
	}
}
