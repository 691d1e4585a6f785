package main

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// printed runs a command for a person and for a machine.
func printed(t *testing.T, name string, routes map[string][]answer, wantJSON string, args ...string) {
	t.Helper()
	h := newHarness(t, replay(t, routes))
	h.run(t, codeOK, args...)
	golden(t, name+".txt", h.both())
	h = newHarness(t, replay(t, routes))
	h.run(t, codeOK, append(args, "--json")...)
	if got := strings.TrimSuffix(h.out.String(), "\n"); got != wantJSON {
		t.Errorf("--json printed\n%s\nwant\n%s", got, wantJSON)
	}
}

const manyRuns = `{"runs":[
{"run_id":"photo-1a2b3c4d","status":"waiting","workflow":"upscale@1","task_id":"t-3","started_at":"2026-11-23T11:58:00Z"},
{"run_id":"key-2","status":"succeeded","workflow":"text-to-image","task_id":"t-2","started_at":"2026-11-23T10:00:00Z","ended_at":"2026-11-23T10:00:41Z","bucket":"out","manifest_key":"runs/key-2/manifest.json"},
{"run_id":"key-1","status":"failed","workflow":"rescue","task_id":"t-1","started_at":"2026-11-22T10:00:00Z","ended_at":"2026-11-22T12:03:04Z","error":{"name":"OutputExpired","cause":"gone"}}]`

func TestList(t *testing.T) {
	compact := `{"runs":[{"run_id":"photo-1a2b3c4d","status":"waiting","workflow":"upscale@1","task_id":"t-3","started_at":"2026-11-23T11:58:00Z"},{"run_id":"key-2","status":"succeeded","workflow":"text-to-image","task_id":"t-2","started_at":"2026-11-23T10:00:00Z","ended_at":"2026-11-23T10:00:41Z","bucket":"out","manifest_key":"runs/key-2/manifest.json"},{"run_id":"key-1","status":"failed","workflow":"rescue","task_id":"t-1","started_at":"2026-11-22T10:00:00Z","ended_at":"2026-11-22T12:03:04Z","error":{"name":"OutputExpired","cause":"gone"}}],"next_cursor":"abc"}`
	printed(t, "list", map[string][]answer{"GET /runs": {ok(manyRuns + `,"next_cursor":"abc"}`)}}, compact, "list", "--limit", "3")
	printed(t, "list-none", map[string][]answer{"GET /runs": {ok(`{"runs":[]}`)}}, `{"runs":[]}`, "list", "--status", "copying")
}

// A filtered page may be short, and more pages follow; a list is never longer
// than asked for.
func TestListPages(t *testing.T) {
	row := `{"run_id":"r","status":"failed"}`
	api := replay(t, map[string][]answer{"GET /runs": {
		ok(`{"runs":[` + row + `],"next_cursor":"a"}`), ok(`{"runs":[],"next_cursor":"b"}`), ok(`{"runs":[` + row + `,` + row + `],"next_cursor":"c"}`),
	}})
	h := newHarness(t, api)
	h.run(t, codeOK, "list", "--status", "failed", "--limit", "3", "--cursor", "first")
	var queries []string
	for _, r := range api.calls {
		queries = append(queries, r.URL.RawQuery)
	}
	want := "[cursor=first&limit=3&status=failed cursor=a&limit=2&status=failed cursor=b&limit=2&status=failed]"
	if fmt.Sprint(queries) != want {
		t.Errorf("got %v", queries)
	}
	if got := strings.Count(h.out.String(), "failed"); got != 3 {
		t.Errorf("%d rows, want 3:\n%s", got, h.out)
	}
}

// Lists that do not end, and rows that are none.
func TestListsOfStrangers(t *testing.T) {
	for name, body := range map[string]string{
		"circle": `{"runs":[],"next_cursor":"a"}`, "no rows": `{"runs":[17]}`, "times": `{"runs":[{"run_id":"r","started_at":"yesterday"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, replay(t, map[string][]answer{"GET /runs": {ok(body)}}))
			h.run(t, codeUnreachable, "list")
		})
	}
	h := newHarness(t, replay(t, map[string][]answer{"GET /workflows": {ok(`{"workflows":[{"display_name":"no id"}]}`)}}))
	h.run(t, codeUnreachable, "workflows")
}

func TestWorkflows(t *testing.T) {
	row := func(slug, status string) string {
		return fmt.Sprintf(`{"id":"i-%s","workflow_slug":%[1]q,"display_name":"The %[1]s\u001b[2J","version":2,"workflow_status":%q}`, slug, status)
	}
	printed(t, "workflows", map[string][]answer{"GET /workflows": {ok(`{"workflows":[` + row("text-to-image", "active") + `],"next_cursor":"2"}`), ok(`{"workflows":[` + row("sketch", "disabled") + `]}`)}},
		`{"workflows":[`+row("text-to-image", "active")+`,`+row("sketch", "disabled")+`]}`, "workflows")
	printed(t, "workflows-none", map[string][]answer{"GET /workflows": {ok(`{"workflows":[]}`)}}, `{"workflows":[]}`, "workflows")
	printed(t, "workflow", map[string][]answer{"GET /workflows/upscale@3": {ok(upscale)}}, upscale, "workflows", "upscale@3")
	printed(t, "workflow-bare", map[string][]answer{"GET /workflows/x": {ok(`{"id":"i"}`)}}, `{"id":"i"}`, "workflows", "x")
}

func TestCancel(t *testing.T) {
	stopped, over := `{"run_id":"key-1","status":"cancelled"}`, `{"run_id":"key-1","status":"succeeded"}`
	printed(t, "cancel", map[string][]answer{"DELETE /runs/key-1": {{status: 202, body: stopped}}}, stopped, "cancel", "key-1")
	printed(t, "cancel-ended", map[string][]answer{"DELETE /runs/key-1": {{status: 202, body: over}}}, over, "cancel", "key-1")
}

// TestRunIDs: an id that no run can have is refused before anything is sent: as a
// path it could name another run. The API's own Location is taken as it is.
func TestRunIDs(t *testing.T) {
	for _, id := range []string{"../runs/a?b", "a#the-other", "a?x", "a%3Fb", "a b", "", strings.Repeat("x", 81), "runs/a/b"} {
		api := replay(t, nil)
		h := newHarness(t, api)
		h.run(t, codeUsage, "cancel", id)
		if len(api.calls) > 0 {
			t.Errorf("%q was sent as %s", id, api.calls[0].URL)
		}
	}
	for _, id := range []string{"r", "/runs/r", "runs/r"} {
		api := replay(t, map[string][]answer{"DELETE /runs/r": {{status: 202, body: `{"run_id":"r","status":"cancelled","task":"left"}`}}})
		h := newHarness(t, api)
		h.run(t, codeOK, "cancel", id)
		if !strings.Contains(h.out.String(), "was left alone") {
			t.Errorf("%q: %s", id, h.out)
		}
	}
}

// doubtful is a run that failed in doubt, with two candidates.
const doubtful = `{"run_id":"key-1","status":"failed","workflow":"text-to-image@2","started_at":"2026-11-23T12:00:00Z","ended_at":"2026-11-23T12:06:00Z",
"submission":{"attempt":"a","marked_at":"2026-11-23T12:00:01Z","post_until":"2026-11-23T12:00:26Z","local_at":"2026-11-23T12:00:01Z"},
"candidates":[{"task_id":"t-1","created_at":"2026-11-23T12:00:03Z","task_status":"running"},{"task_id":"t-2","created_at":"2026-11-23T12:00:05Z","task_status":"completed","delivered_by":"key-9"}],
"error":{"name":"SubmitOutcomeUnknown","cause":"2 tasks could be this run's","hint":"` + "`relay status RUN` shows the candidates; say which task is this run's with `relay decide RUN TASK`, or that none is with `relay decide RUN --not-started`" + `"}}`

// TestDecide: a run in doubt shows its candidates and the two words that can be
// said, and each word is sent as it was said.
func TestDecide(t *testing.T) {
	one := regexp.MustCompile(`,\{"task_id":"t-2"[^}]*\}`).ReplaceAllString(doubtful, "")
	none := regexp.MustCompile(`"candidates":\[.*\],`).ReplaceAllString(doubtful, "")
	for name, body := range map[string]string{"status-in-doubt": doubtful, "status-in-doubt-one": one, "status-in-doubt-none": none} {
		h := newHarness(t, replay(t, map[string][]answer{"GET /runs/key-1": {ok(body)}}))
		h.run(t, codeFailed, "status", "key-1")
		golden(t, name+".txt", h.both())
	}
	posting := newHarness(t, replay(t, map[string][]answer{"GET /runs/key-1": {ok(`{"run_id":"key-1","status":"submitting","workflow":"text-to-image@2",
"submission":{"attempt":"a","marked_at":"2026-11-23T12:00:01Z","post_until":"2026-11-23T12:00:26Z"}}`)}}))
	posting.run(t, codeOK, "status", "key-1")
	golden(t, "status-posting.txt", posting.both())
	for _, test := range []struct {
		name string
		args []string
		sent string
	}{
		{name: "task", args: []string{"decide", "key-1", "t-1"}, sent: `{"task_id":"t-1"}`},
		{name: "not-started", args: []string{"decide", "/runs/key-1", "--not-started"}, sent: `{"not_started":true}`},
	} {
		api := replay(t, map[string][]answer{"GET /runs/key-1": {ok(doubtful)}, "POST /runs/key-1/outcome": {{status: 202, body: `{"run_id":"key-1","status":"submitting"}`}}})
		h := newHarness(t, api)
		h.run(t, codeOK, test.args...)
		golden(t, "decide-"+test.name+".txt", h.both())
		if got := api.sent(); got != test.sent {
			t.Errorf("sent %s", got)
		}
	}
	for _, args := range [][]string{{"decide", "key-1"}, {"decide", "key-1", "t-1", "--not-started"}} {
		api := replay(t, nil)
		h := newHarness(t, api)
		h.run(t, codeUsage, args...)
		if len(api.calls) > 0 {
			t.Errorf("%v was sent", args)
		}
	}
}

func TestRescue(t *testing.T) {
	api := replay(t, map[string][]answer{"POST /runs": {{status: 202, body: accepted}}})
	h := newHarness(t, api)
	h.run(t, codeOK, "rescue", "t-1", "--prefix", "back/{task_id}/")
	if got := api.sent(); got != `{"task_id":"t-1","destination":{"prefix":"back/{task_id}/"}}` {
		t.Errorf("sent %s", got)
	}
	h = newHarness(t, replay(t, map[string][]answer{"POST /runs": {problemAnswer(409, "TaskTaken", "the task t-1 belongs to the run key-9")}}))
	h.run(t, codeUsage, "rescue", "t-1")
	golden(t, "rescue-taken.txt", h.both())
}

func TestRedrive(t *testing.T) {
	const machine = "arn:aws:states:eu-west-1:1:stateMachine:relay-run"
	fault := func(kind, message string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"__type":"com.amazonaws.states#%s","message":%q}`, kind, message)
		}
	}
	for _, test := range []struct {
		name string
		sfn  http.HandlerFunc
		code int
	}{
		{"ok", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(`{"redriveDate":1795435200}`)) }, codeOK},
		{"not-redrivable", fault("ExecutionNotRedrivable", "Execution is RUNNING"), codeUsage},
		{"gone", fault("ExecutionDoesNotExist", "Execution Does Not Exist"), codeUsage},
		{"denied", fault("AccessDeniedException", "User: arn:aws:iam::1:user/me is not authorized"), codeUnreachable},
		{"unknown-action", fault("InvalidAction", "Unknown action"), codeUnreachable},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHarness(t, replay(t, life(lifeUnavailable)))
			(&fakeAWS{sfn: test.sfn, outputs: map[string]string{"StateMachineArn": machine}}).use(t, h)
			h.run(t, test.code, "redrive", "key-1")
			golden(t, "redrive-"+test.name+".txt", h.both())
		})
	}
	h := newHarness(t, replay(t, life(lifeUnavailable)))
	(&fakeAWS{sfn: func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("X-Amz-Target"); got != "AWSStepFunctions.RedriveExecution" {
			t.Errorf("asked for %s", got)
		}
		_, _ = w.Write([]byte(`{"redriveDate":1795435200}`))
	}}).use(t, h)
	h.run(t, codeOK, "redrive", "key-1", "--json", "--state-machine-arn", machine)
	if got := h.out.String(); got != `{"run_id":"key-1","redrive_date":"2026-11-23T12:00:00Z"}`+"\n" {
		t.Errorf("got %s", got)
	}
}

func TestWebhook(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer answer
		code   int
	}{
		{"on", answer{status: 401}, codeOK},
		{"no-secret", answer{status: 503, body: "no secret is stored"}, codeOK},
		{"away", answer{status: 503, body: `{"message":"Service Unavailable"}`}, codeUnreachable},
		{"off", answer{status: 404}, codeOK},
		{"no-route", answer{status: 404, body: `{"message":"Not Found"}`}, codeUnreachable},
		{"open", answer{status: 204}, codeUnreachable},
		{"broken", answer{status: 500, body: `{"message":"Internal Server Error"}`}, codeUnreachable},
	} {
		t.Run(test.name, func(t *testing.T) {
			api := replay(t, map[string][]answer{"POST /webhooks/cyberun": {test.answer}})
			h := newHarness(t, api)
			h.run(t, test.code, "webhook", "--webhook-secret-arn", "arn:secret")
			golden(t, "webhook-"+test.name+".txt", strings.ReplaceAll(h.both(), apiOf(t), "https://api"))
			if got := api.calls[0].Header.Get("Authorization"); got != "" {
				t.Errorf("the knock was signed: %s", got)
			}
			if got := api.calls[0].Header.Get("X-Webhook-Signature-256"); got != "sha256="+strings.Repeat("0", 64) {
				t.Errorf("the function would not look for its secret: %q", got)
			}
		})
	}
	h := newHarness(t, replay(t, map[string][]answer{"POST /webhooks/cyberun": {{status: 401}}}))
	h.run(t, codeOK, "webhook", "--json")
	want := `{"url":"` + apiOf(t) + `/webhooks/cyberun","events":["task.completed","task.failed"],"enabled":true,"status":401}`
	if got := strings.TrimSpace(h.out.String()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Without an address the stack is asked, for the secret too.
func TestWebhookByStack(t *testing.T) {
	api := replay(t, map[string][]answer{"POST /hook": {{status: 401}}})
	h := newHarness(t, api)
	address := apiOf(t)
	t.Setenv("RELAY_API_URL", "")
	(&fakeAWS{outputs: map[string]string{"WebhookUrl": address + "/hook", "WebhookSecretArn": "arn:of-the-stack"}}).use(t, h)
	h.run(t, codeOK, "webhook")
	if !strings.Contains(h.out.String(), "arn:of-the-stack") {
		t.Errorf("got %s", h.out)
	}
}
