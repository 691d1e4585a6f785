package handler

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/cyberun-cloud/cyberun-relay/shared/eventstest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

const secret = "whsec_local"

type fakeSecrets struct {
	key     func() (string, error)
	refresh func(rejected string) (string, error)
}

func (f fakeSecrets) Key(context.Context) (string, error) { return f.key() }
func (f fakeSecrets) Refresh(_ context.Context, rejected string) (string, error) {
	return f.refresh(rejected)
}

type fakeRuns struct {
	tokenOfTask func(taskID string) (runID, token string, err error)
}

func (f fakeRuns) TaskToken(_ context.Context, id string) (runID, token string, err error) {
	return f.tokenOfTask(id)
}

type resumerFunc func(token string) error

func (f resumerFunc) Resume(_ context.Context, token string) error { return f(token) }

// world is a handler whose run "r1" waits for the task "t1"; did lists what it did.
type world struct {
	*Handler
	did     []string
	clock   time.Time
	current string // the secret as Secrets Manager has it
}

func newWorld() *world {
	w := &world{clock: time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC), current: secret}
	cached := secret
	w.Handler = &Handler{
		Enabled: true,
		Secrets: fakeSecrets{
			key: func() (string, error) { return cached, nil },
			refresh: func(string) (string, error) {
				w.did = append(w.did, "refresh")
				cached = w.current
				return cached, nil
			},
		},
		Runs: fakeRuns{func(id string) (string, string, error) {
			if id != "t1" {
				return "", "", nil
			}
			return "r1", "token of r1", nil
		}},
		Resumer: resumerFunc(func(token string) error { w.did = append(w.did, "resume "+token); return nil }),
		Log:     slog.New(slog.NewTextHandler(io.Discard, nil)),
		Now:     func() time.Time { return w.clock },
	}
	return w
}

func sign(key, body string) string {
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(m.Sum(nil))
}

func event(body, signature string) events.APIGatewayV2HTTPRequest {
	return events.APIGatewayV2HTTPRequest{Body: body, Headers: map[string]string{signatureHeader: signature}}
}

const completed = `{"event_type":"task.completed","task_id":"t1","task_status":"completed"}`

func TestHandle(t *testing.T) {
	encoded := event(base64.StdEncoding.EncodeToString([]byte(completed)), sign(secret, completed))
	encoded.IsBase64Encoded = true
	broken := encoded
	broken.Body = "%%%"
	resumed := []string{"resume token of r1"}
	stranger := `{"task_id":"t2","task_status":"failed"}`
	huge := `{"task_id":"t1","x":"` + strings.Repeat("x", maxBody) + `"}`
	path := `{"task_id":"../runs/x"}`
	letters := `{"task_id":"t1","task_status":"completed","task_output":{"größe":"图 🚀"}}`
	tests := map[string]struct {
		event  events.APIGatewayV2HTTPRequest
		change func(*world)
		status int
		did    []string
	}{
		"resumes":                    {event: event(completed, sign(secret, completed)), status: 204, did: resumed},
		"base64":                     {event: encoded, status: 204, did: resumed},
		"base64 that is none":        {event: broken, status: 400},
		"unsigned":                   {event: event(completed, ""), status: 401},
		"hex in capitals":            {event: event(completed, "sha256="+strings.ToUpper(sign(secret, completed)[7:])), status: 204, did: resumed},
		"a blank before the hex":     {event: event(completed, "sha256= "+sign(secret, completed)[7:]), status: 401},
		"letters of every kind":      {event: event(letters, sign(secret, letters)), status: 204, did: resumed},
		"no hex":                     {event: event(completed, "sha256=zz"), status: 401},
		"short":                      {event: event(completed, sign(secret, completed)[:30]), status: 401},
		"other prefix":               {event: event(completed, "sha1="+sign(secret, completed)[7:]), status: 401},
		"forged":                     {event: event(completed, sign("other", completed)), status: 401, did: []string{"refresh"}},
		"body changed":               {event: event(completed+" ", sign(secret, completed)), status: 401, did: []string{"refresh"}},
		"rotated":                    {event: event(completed, sign("new", completed)), change: func(w *world) { w.current = "new" }, status: 204, did: append([]string{"refresh"}, resumed...)},
		"forged after a rotation":    {event: event(completed, sign("other", completed)), change: func(w *world) { w.current = "new" }, status: 401, did: []string{"refresh"}},
		"off":                        {event: event(completed, sign(secret, completed)), change: func(w *world) { w.Enabled = false }, status: 404},
		"a task of nobody here":      {event: event(stranger, sign(secret, stranger)), status: 204},
		"not JSON":                   {event: event("hello", sign(secret, "hello")), status: 400},
		"no task":                    {event: event("{}", sign(secret, "{}")), status: 400},
		"a task id that is a path":   {event: event(path, sign(secret, path)), status: 400},
		"too large":                  {event: event(huge, sign(secret, huge)), status: 400},
		"never parked":               {event: event(completed, sign(secret, completed)), change: func(w *world) { w.setToken("") }, status: 204},
		"the store is away":          {event: event(completed, sign(secret, completed)), change: func(w *world) { w.failStore() }, status: 503},
		"Step Functions is away":     {event: event(completed, sign(secret, completed)), change: func(w *world) { w.failResume() }, status: 503},
		"the secret cannot be read":  {event: event(completed, sign(secret, completed)), change: func(w *world) { w.failSecret() }, status: 503},
		"a failed one resumes, too":  {event: event(`{"task_id":"t1","task_status":"failed"}`, sign(secret, `{"task_id":"t1","task_status":"failed"}`)), status: 204, did: resumed},
		"a status that no one knows": {event: event(`{"task_id":"t1","task_status":"archived"}`, sign(secret, `{"task_id":"t1","task_status":"archived"}`)), status: 204, did: resumed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			if tt.change != nil {
				tt.change(w)
			}
			got, err := w.Handle(t.Context(), tt.event)
			if err != nil || got.StatusCode != tt.status || !slices.Equal(w.did, tt.did) {
				t.Errorf("HTTP %d, %v, did %q; want %d, %q", got.StatusCode, err, w.did, tt.status, tt.did)
			}
		})
	}
}

// TestLogNamesTheRun: a webhook is one line, with the run and what became of it.
func TestLogNamesTheRun(t *testing.T) {
	tests := []struct {
		name, want string
		change     func(*world)
	}{
		{name: "resumed", change: func(*world) {}, want: "msg=resumed task_id=t1 run_id=r1\n"},
		{name: "Step Functions away", change: (*world).failResume, want: `msg="not resumed" task_id=t1 run_id=r1 cause=away` + "\n"},
		{name: "token unread", change: (*world).failToken, want: `msg="not resumed" task_id=t1 run_id=r1 cause=away` + "\n"},
		{name: "ownership unread", change: (*world).failStore, want: `msg="not resumed" task_id=t1 cause=away` + "\n"},
	}
	for _, test := range tests {
		w := newWorld()
		var log strings.Builder
		w.Log = slog.New(slog.NewTextHandler(&log, nil))
		test.change(w)
		if _, err := w.Handle(t.Context(), event(completed, sign(secret, completed))); err != nil {
			t.Fatal(err)
		}
		if text := log.String(); strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, test.want) {
			t.Errorf("%s: want %s, got %s", test.name, test.want, text)
		}
	}
}

var errAway = errors.New("away")

func (w *world) setToken(token string) {
	w.Runs = fakeRuns{func(string) (string, string, error) { return "r1", token, nil }}
}

func (w *world) failStore() {
	w.Runs = fakeRuns{func(string) (string, string, error) { return "", "", errAway }}
}

func (w *world) failToken() {
	w.Runs = fakeRuns{func(string) (string, string, error) { return "r1", "", errAway }}
}

func (w *world) failResume() { w.Resumer = resumerFunc(func(string) error { return errAway }) }

func (w *world) failSecret() {
	s := w.Secrets.(fakeSecrets)
	s.key = func() (string, error) { return "", errAway }
	w.Secrets = s
}

// TestNoSecretYet is told apart from an outage of Secrets Manager, to whoever signs
// as a webhook does.
func TestNoSecretYet(t *testing.T) {
	for err, body := range map[error]string{named.Errorf(named.Unauthorized, "the secret arn:x holds no value yet"): "no secret is stored", errAway: ""} {
		w := newWorld()
		s := w.Secrets.(fakeSecrets)
		s.key = func() (string, error) { return "", err }
		w.Secrets = s
		got, failed := w.Handle(t.Context(), event("{}", signaturePrefix+strings.Repeat("0", 64)))
		if failed != nil || got.StatusCode != 503 || got.Body != body {
			t.Errorf("%v: HTTP %d %q, %v", err, got.StatusCode, got.Body, failed)
		}
	}
}

// TestDuplicates: a webhook that comes again resumes again, which does no harm: a
// token that was used up is no error of Step Functions'.
func TestDuplicates(t *testing.T) {
	w := newWorld()
	for range 3 {
		if got, err := w.Handle(t.Context(), event(completed, sign(secret, completed))); err != nil || got.StatusCode != 204 {
			t.Fatalf("HTTP %d, %v", got.StatusCode, err)
		}
	}
	if want := slices.Repeat([]string{"resume token of r1"}, 3); !slices.Equal(w.did, want) {
		t.Errorf("did %q", w.did)
	}
}

// TestForgeriesDoNotReadTheSecret more than now and then.
func TestForgeriesDoNotReadTheSecret(t *testing.T) {
	w := newWorld()
	for range 50 {
		w.Handle(t.Context(), event(completed, sign("other", completed)))
	}
	if len(w.did) != 1 {
		t.Errorf("within one minute: %q", w.did)
	}
	w.clock = w.clock.Add(refreshEvery)
	w.Handle(t.Context(), event(completed, sign("other", completed)))
	if len(w.did) != 2 {
		t.Errorf("a minute later: %q", w.did)
	}
}

// TestSecretReadTooLate: a read of the secret for which the call had no time is repeated by
// the next call.
func TestSecretReadTooLate(t *testing.T) {
	w := newWorld()
	ctx, end := context.WithCancel(t.Context())
	s := w.Secrets.(fakeSecrets)
	s.key = func() (string, error) {
		if ctx.Err() == nil {
			end()
			return "", context.Canceled
		}
		return secret, nil
	}
	w.Secrets = s
	for _, want := range []int{503, 204} {
		if got, err := w.Handle(ctx, event(completed, sign(secret, completed))); err != nil || got.StatusCode != want {
			t.Errorf("HTTP %d, %v; want %d", got.StatusCode, err, want)
		}
	}
}

// TestRotationThatCannotBeRead: a webhook that is signed with a new secret gets a 503, by
// which Cyberun sends it again, as long as the secret cannot be read again. A read for which
// the call had no time is repeated by the next call, any other after refreshEvery.
func TestRotationThatCannotBeRead(t *testing.T) {
	for _, late := range []bool{false, true} {
		w := newWorld()
		ctx, end := context.WithCancel(t.Context())
		defer end()
		reads, away := 0, true
		s := w.Secrets.(fakeSecrets)
		s.refresh = func(string) (string, error) {
			if reads++; late && away {
				end()
			}
			if away {
				return "", errors.New("away")
			}
			return "new", nil
		}
		w.Secrets = s
		status := func(ctx context.Context) int {
			got, err := w.Handle(ctx, event(completed, sign("new", completed)))
			if err != nil {
				t.Error(err)
			}
			return got.StatusCode
		}
		if got := status(ctx); got != 503 {
			t.Errorf("late %v: HTTP %d", late, got)
		}
		away = false
		if late {
			if got := status(t.Context()); got != 204 || reads != 2 {
				t.Errorf("the next call: HTTP %d after %d reads", got, reads)
			}
			continue
		}
		if got := status(t.Context()); got != 503 || reads != 1 {
			t.Errorf("within a minute: HTTP %d after %d reads", got, reads)
		}
		w.clock = w.clock.Add(refreshEvery)
		if got := status(t.Context()); got != 204 || reads != 2 {
			t.Errorf("a minute later: HTTP %d after %d reads", got, reads)
		}
	}
}

// A secret that was never stored costs a paid read a minute, however many forgeries
// come, and is found within that minute once it is stored.
func TestForgeriesDoNotLookForASecretThatIsNotThere(t *testing.T) {
	w := newWorld()
	reads, stored := 0, false
	s := w.Secrets.(fakeSecrets)
	s.key = func() (string, error) {
		reads++
		if !stored {
			return "", named.Errorf(named.Unauthorized, "the secret arn:x holds no value yet")
		}
		return secret, nil
	}
	w.Secrets = s
	status := func() int {
		t.Helper()
		got, err := w.Handle(t.Context(), event(completed, sign(secret, completed)))
		if err != nil {
			t.Fatal(err)
		}
		return got.StatusCode
	}
	for range 100 {
		if got := status(); got != 503 {
			t.Fatalf("HTTP %d without a secret", got)
		}
	}
	if reads != 1 {
		t.Errorf("%d reads for 100 forgeries", reads)
	}
	stored = true
	w.clock = w.clock.Add(refreshEvery - time.Second)
	if got := status(); got != 503 || reads != 1 {
		t.Errorf("HTTP %d, %d reads before the minute is over", got, reads)
	}
	w.clock = w.clock.Add(time.Second)
	for range 2 { // what is kept of a success is the secret's own business
		if got := status(); got != 204 {
			t.Errorf("HTTP %d a minute after it was stored", got)
		}
	}
}

func TestSamples(t *testing.T) {
	want := map[string]int{"on-webhook.json": 204, "on-webhook-base64.json": 204, "on-webhook-forged.json": 401}
	eventstest.Each(t, "on-webhook*.json", want, func(t *testing.T, status int, raw []byte) {
		var e events.APIGatewayV2HTTPRequest
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		if got, err := newWorld().Handle(t.Context(), e); err != nil || got.StatusCode != status {
			t.Errorf("HTTP %d, %v; want %d", got.StatusCode, err, status)
		}
	})
}

func FuzzWebhookBody(f *testing.F) {
	f.Add([]byte(completed), true)
	f.Add([]byte(`{"task_id":7}`), false)
	f.Add([]byte("\x00\xff"), true)
	f.Fuzz(func(t *testing.T, body []byte, encoded bool) {
		w := newWorld()
		e := event(string(body), sign(secret, string(body)))
		if encoded {
			e.Body, e.IsBase64Encoded = base64.StdEncoding.EncodeToString(body), true
		}
		got, err := w.Handle(t.Context(), e)
		if err != nil || got.StatusCode != 204 && got.StatusCode != 400 {
			t.Errorf("HTTP %d, %v", got.StatusCode, err)
		}
	})
}
