package cyberun

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAPIError(t *testing.T) {
	tests := []struct {
		name    string
		status  int
		body    string
		headers []string
		want    APIError
		text    string
	}{
		{name: "message and code", status: 422, body: `{"code":"invalid_parameter","message":"steps must be at most 100"}`,
			want: APIError{Status: 422, Code: "invalid_parameter", Message: "steps must be at most 100"},
			text: "Cyberun answered 422 to GET /r/tasks/t-1 (invalid_parameter): steps must be at most 100"},
		{name: "error as text", status: 403, body: `{"error":"feature_not_licensed","feature":"workflows"}`,
			want: APIError{Status: 403, Message: "feature_not_licensed"}, text: "Cyberun answered 403 to GET /r/tasks/t-1: feature_not_licensed"},
		{name: "error as an object", status: 400, body: `{"error":{"code":40012,"message":"bad"}}`,
			want: APIError{Status: 400, Code: "40012", Message: "bad"}, text: "Cyberun answered 400 to GET /r/tasks/t-1 (40012): bad"},
		{name: "code is the status", status: 404, body: `{"code":404,"detail":"no such task"}`,
			want: APIError{Status: 404, Code: "404", Message: "no such task"}, text: "Cyberun answered 404 to GET /r/tasks/t-1: no such task"},
		{name: "not there, says a proxy", status: 404, body: "<html>not found</html>",
			want: APIError{Status: 404, Message: "<html>not found</html>"}, text: "Cyberun answered 404 to GET /r/tasks/t-1: <html>not found</html>"},
		{name: "gone", status: 410, want: APIError{Status: 410}, text: "Cyberun answered 410 to GET /r/tasks/t-1"},
		{name: "a list of faults", status: 422, body: `{"message":"invalid","details":[{"field":"steps","message":"must be at most 100"},{"name":"seed","error":"is no number"},"and more",7]}`,
			want: APIError{Status: 422, Message: "invalid: steps must be at most 100; seed is no number; and more"},
			text: "Cyberun answered 422 to GET /r/tasks/t-1: invalid: steps must be at most 100; seed is no number; and more"},
		{name: "faults by name", status: 400, body: `{"details":{"steps":"too many","prompt":"missing"}}`,
			want: APIError{Status: 400, Message: "prompt missing; steps too many"}, text: "Cyberun answered 400 to GET /r/tasks/t-1: prompt missing; steps too many"},
		{name: "faults as a text", status: 400, body: `{"message":"no","details":"steps"}`,
			want: APIError{Status: 400, Message: "no: steps"}, text: "Cyberun answered 400 to GET /r/tasks/t-1: no: steps"},
		{name: "faults within the error", status: 400, body: `{"error":{"message":"invalid","details":[{"parameter":"image","message":"not found"}]}}`,
			want: APIError{Status: 400, Message: "invalid: image not found"}, text: "Cyberun answered 400 to GET /r/tasks/t-1: invalid: image not found"},
		{name: "faults under errors", status: 422, body: `{"title":"invalid","errors":{"steps":"too many"}}`,
			want: APIError{Status: 422, Message: "invalid: steps too many"}, text: "Cyberun answered 422 to GET /r/tasks/t-1: invalid: steps too many"},
		{name: "faults with their paths", status: 422, body: `{"detail":[{"loc":["body","parameters",0],"msg":"field required"}]}`,
			want: APIError{Status: 422, Message: "body.parameters.0 field required"}, text: "Cyberun answered 422 to GET /r/tasks/t-1: body.parameters.0 field required"},
		{name: "a byte order mark", status: 404, body: "\ufeff" + `{"message":"no such task"}`,
			want: APIError{Status: 404, Message: "no such task"}, text: "Cyberun answered 404 to GET /r/tasks/t-1: no such task"},
		{name: "html", status: 502, body: "<html>\n<h1>502\x00 Bad Gateway</h1>\r\n</html>",
			want: APIError{Status: 502, Message: "<html> <h1>502 Bad Gateway</h1> </html>"},
			text: "Cyberun answered 502 to GET /r/tasks/t-1: <html> <h1>502 Bad Gateway</h1> </html>"},
		{name: "empty", status: 503, headers: []string{"Retry-After", "7"},
			want: APIError{Status: 503, RetryAfter: 7 * time.Second}, text: "Cyberun answered 503 to GET /r/tasks/t-1"},
		{name: "rate, with a date", status: 429, body: "slow down", headers: []string{"Retry-After", "Mon, 23 Nov 2026 10:00:30 GMT"},
			want: APIError{Status: 429, Message: "slow down", RetryAfter: 30 * time.Second},
			text: "Cyberun answered 429 to GET /r/tasks/t-1: slow down"},
		{name: "time-out", status: 408, want: APIError{Status: 408}, text: "Cyberun answered 408 to GET /r/tasks/t-1"},
		{name: "JSON, no message known", status: 409, body: `{"oops":1}`,
			want: APIError{Status: 409, Message: `{"oops":1}`}, text: `Cyberun answered 409 to GET /r/tasks/t-1: {"oops":1}`},
		{name: "JSON, not an object", status: 400, body: `["no"]`,
			want: APIError{Status: 400, Message: `["no"]`}, text: `Cyberun answered 400 to GET /r/tasks/t-1: ["no"]`},
		{name: "not UTF-8", status: 500, body: "\xff\xfe!", want: APIError{Status: 500, Message: "?!"}, text: "Cyberun answered 500 to GET /r/tasks/t-1: ?!"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, c := serve(t, raw(tt.status, tt.body, tt.headers...))
			_, err := c.Task(context.Background(), "t-1")
			e, ok := errors.AsType[*APIError](err)
			if !ok {
				t.Fatalf("%T %v", err, err)
			}
			tt.want.Method, tt.want.Path = "GET", "/r/tasks/t-1"
			tt.want.JSON = strings.HasPrefix(strings.TrimPrefix(tt.body, "\ufeff"), "{")
			if diff := cmp.Diff(tt.want, *e); diff != "" {
				t.Error(diff)
			}
			if err.Error() != tt.text || IsNotFound(err) != (tt.status == 404 && tt.want.JSON) || SaysMissing(err) != (tt.status == 403 || tt.status == 404 || tt.status == 410) {
				t.Error(err)
			}
		})
	}
	if IsNotFound(nil) || IsNotFound(io.EOF) || SaysMissing(nil) || SaysMissing(io.EOF) {
		t.Error("not found without a 404")
	}
}

func TestErrorBodiesAreBounded(t *testing.T) {
	// The exact key lies across the border at which the message is cut.
	key := "plainkey0123456789"
	body := strings.Repeat("é", (maxMessage-9)/2) + key + strings.Repeat("z", 1<<20)
	_, c := serve(t, raw(500, body))
	c.Keys = StaticKey(key)
	_, err := c.Task(context.Background(), "t-1")
	e, _ := errors.AsType[*APIError](err)
	if e == nil || len(e.Message) > maxMessage+len("…") || strings.Contains(e.Message, "plain") {
		t.Fatalf("%d: %v", len(e.Message), err)
	}
}

// Without a Date of the server's, a Retry-After's date is measured against the clock.
func TestRetryAfterWithoutADate(t *testing.T) {
	_, c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Date"] = nil
		w.Header().Set("Retry-After", testDate)
		w.WriteHeader(503)
	})
	c.Now = func() time.Time { return atTestDate.Add(-time.Minute) }
	_, err := c.Task(context.Background(), "t-1")
	if e, ok := errors.AsType[*APIError](err); !ok || e.RetryAfter != time.Minute {
		t.Errorf("%#v", err)
	}
}

const (
	secretQuery = "X-Amz-Credential=AKIAGEHEIM&X-Amz-Signature=geheim0123"
	signed      = "https://s3.test/bucket/o.png?" + secretQuery
)

// shown is every way a value gets into a log.
func shown(v any) string {
	j, _ := json.Marshal(v)
	var text strings.Builder
	slog.New(slog.NewTextHandler(&text, nil)).Error("x", "v", v)
	slog.New(slog.NewJSONHandler(&text, nil)).Error("x", "v", v)
	return fmt.Sprintf("%v\n%+v\n%#v\n%s\n%q\n%x\n%d\n%s\n%s", v, v, v, v, v, v, v, j, &text)
}

func leaks(t *testing.T, what string, v any, secrets ...string) {
	t.Helper()
	text := strings.ToLower(shown(v))
	for _, s := range append(secrets, "geheim", "akiageheim") {
		for _, form := range []string{s, fmt.Sprintf("%x", s)} {
			if strings.Contains(text, strings.ToLower(form)) {
				t.Errorf("%s shows %q:\n%s", what, s, text)
			}
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	u := SignedURL(signed)
	leaks(t, "SignedURL", u)
	leaks(t, "StaticKey", StaticKey("geheim"))
	leaks(t, "Client", Client{Keys: StaticKey("geheim")})
	leaks(t, "Result", Result{DownloadURL: u, DownloadURLs: map[string]SignedURL{"a": u}})
	leaks(t, "Presigned", Presigned{UploadURL: u, UploadHeaders: UploadHeaders{"x-amz-security-token": "geheim"}})
	if string(u) != signed {
		t.Error("the address itself is lost")
	}
}

// echoes are the ways a remote may quote a request in its error.
func echoes(key string) []string {
	quoted, _ := json.Marshal("Bearer " + key)
	return []string{
		"your key " + key + " is wrong", `{"message":"bad header Bearer ` + key + `"}`, `{"message":` + string(quoted) + `}`,
		`{"error":{"code":"` + key + `","message":"no"}}`, `{"url":"` + signed + `"}`, `{"message":"see ` + strings.ReplaceAll(signed, "&", `\u0026`) + `"}`,
		`{"message":"` + strings.ReplaceAll(signed, "/", `\/`) + `"}`, "<a href='" + signed + "'>", strings.ReplaceAll(secretQuery, "&", " "),
		"https%3A%2F%2Fs3.test%2Fo%3FX-Amz-Signature%3Dgeheim0123%26X-Amz-Credential%3DAKIAGEHEIM", "curl -H 'Authorization: Bearer geheim' https://user:geheim@host/x",
		`{"X-Amz-Signature": "geheim", "token":"geheim"}`, `{"message":"dk-geheim.x and whsec_geheim"}`,
		"<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message><AWSAccessKeyId>AKIAGEHEIM</AWSAccessKeyId><SignatureProvided>geheim</SignatureProvided></Error>",
	}
}

func TestNoSecretInAnyError(t *testing.T) {
	ctx := context.Background()
	for _, key := range []string{"sk-geheim-1", "dk-geheim", `odd"key/geheim+&`} {
		for _, body := range echoes(key) {
			for _, status := range []int{200, 400, 401, 403, 500, 502} {
				_, c := serve(t, raw(status, body))
				c.Keys = StaticKey(key)
				_, err := c.Task(ctx, key)
				leaks(t, "Task", err, key)
				_, err = c.Tasks(ctx, Page{})
				leaks(t, "Tasks", err, key)
				_, err = c.StartTask(ctx, "x", map[string]any{"k": key})
				leaks(t, "StartTask", err, key)
				_, err = c.Presign(ctx, PresignRequest{})
				leaks(t, "Presign", err, key)
				if status != 200 {
					for _, err = range c.TaskEvents(ctx, "t-1") {
						leaks(t, "TaskEvents", err, key)
					}
					leaks(t, "Cancel", c.Cancel(ctx, "t-1"), key)
					if strings.HasPrefix(key, "odd") {
						continue // a store never got the key and can only quote its own
					}
					err = c.Upload(ctx, Presigned{UploadURL: SignedURL(c.BaseURL + "/x?" + secretQuery)}, strings.NewReader("x"), 1)
					leaks(t, "Upload", err, key)
				}
			}
		}
	}
}

func TestNoSecretInNetworkErrors(t *testing.T) {
	ctx := context.Background()
	dead := httptest.NewServer(nil)
	dead.Close()
	c := &Client{BaseURL: dead.URL, Keys: StaticKey("sk-geheim")}
	_, err := c.Task(ctx, "t-1")
	leaks(t, "Task", err)
	if _, ok := errors.AsType[*NetworkError](err); !ok || !strings.Contains(err.Error(), "no answer from Cyberun to GET /r/tasks/t-1: dial tcp") {
		t.Error(err)
	}
	_, err = c.StartTask(ctx, "x", nil)
	leaks(t, "StartTask", err)
	err = c.Upload(ctx, Presigned{UploadURL: SignedURL(dead.URL + "/x?" + secretQuery)}, strings.NewReader("x"), 1)
	leaks(t, "Upload", err)
	// A transport of the caller's that says too much.
	c.HTTP = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		return nil, fmt.Errorf("%s %s %s", r.Method, r.URL, r.Header.Get("Authorization"))
	})}
	_, err = c.Task(ctx, "t-1")
	leaks(t, "Task", err)
	err = c.Upload(ctx, Presigned{UploadURL: signed}, strings.NewReader("x"), 1)
	leaks(t, "Upload", err)
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
