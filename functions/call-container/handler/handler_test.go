package handler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/google/go-cmp/cmp"
)

func TestList(t *testing.T) {
	w := newWorld(t)
	w.c.containers = func(page cyberun.Page) (cyberun.ContainerList, error) {
		if page != (cyberun.Page{Number: 2, Size: 2}) {
			t.Errorf("asked for %+v", page)
		}
		return cyberun.ContainerList{Containers: []cyberun.Container{{Slug: "a-1", Status: "running"}, {Slug: "a-2", Status: "stopped", UsagePrompt: "say hello", OpenAPIURL: "https://x.test/openapi.json"}}, Page: cyberun.PageMeta{TotalCount: 5}}, nil
	}
	a := w.handle(event("GET", "/containers", "limit=2&cursor=Mg", ""))
	want := `{"containers":[{"slug":"a-1","status":"running"},{"slug":"a-2","status":"stopped","usage_prompt":"say hello","openapi_url":"https://x.test/openapi.json"}],"next_cursor":"Mw"}` + "\n"
	if a.StatusCode != 200 || a.Body != want {
		t.Errorf("%d %s", a.StatusCode, a.Body)
	}
	w.c.containers = func(cyberun.Page) (cyberun.ContainerList, error) { return cyberun.ContainerList{}, nil }
	if a := w.handle(event("GET", "/containers", "", "")); a.Body != `{"containers":[]}`+"\n" {
		t.Error(a.Body)
	}
	if p := w.problem(w.handle(event("GET", "/containers", "limit=0&cursor=x", "")), 400, "InvalidRequest"); len(p["errors"].([]any)) != 2 {
		t.Error(p)
	}
	w.c.containers = func(cyberun.Page) (cyberun.ContainerList, error) {
		return cyberun.ContainerList{}, &cyberun.APIError{Status: 401, JSON: true}
	}
	w.problem(w.handle(event("GET", "/containers", "", "")), 502, "Unauthorized")
}

func TestShow(t *testing.T) {
	w := newWorld(t)
	if a := w.handle(event("GET", "/containers/vllm", "", "")); a.StatusCode != 200 || a.Body != `{"slug":"vllm","status":"running"}`+"\n" {
		t.Error(a.Body)
	}
	w.c.container = func(context.Context, string) (cyberun.Container, error) {
		return cyberun.Container{}, &cyberun.APIError{Status: 404, JSON: true}
	}
	w.problem(w.handle(event("GET", "/containers/vllm", "", "")), 404, "ContainerNotFound")
	asked := w.c.lookUps
	w.problem(w.handle(event("GET", "/containers/A%B", "", "")), 404, "ContainerNotFound")
	if w.c.lookUps != asked {
		t.Error("a slug that no service can have was looked up")
	}
	w.c.container = func(context.Context, string) (cyberun.Container, error) {
		return cyberun.Container{}, &cyberun.APIError{Status: 503, JSON: true}
	}
	if a := w.handle(event("GET", "/containers/vllm", "", "")); a.Headers["retry-after"] == "" {
		t.Error(a.Headers)
	} else {
		w.problem(a, 503, "Unavailable")
	}
	e := event("GET", "/containers", "", "")
	e.RouteKey = "$default"
	w.problem(w.handle(e), 404, "NotFound")
}

func TestRequestHeaders(t *testing.T) {
	w := newWorld(t)
	w.handle(event("GET", "/containers/echo/x", "", "",
		"accept", "text/html, */*", "x-empty", "", "x-many", "one,two", "range", "bytes=0-1", "content-type", "a/b", "x-api-key", "the container's",
		"authorization", "AWS4-HMAC-SHA256 Credential=…", "x-amz-date", "d", "x-amz-security-token", "t", "x-amz-content-sha256", "h", "x-amzn-trace-id", "Root=1",
		"cookie", "a=1", "content-length", "7", "expect", "100-continue", "forwarded", "for=1.2.3.4", "x-forwarded-for", "1.2.3.4", "x-forwarded-proto", "https", "via", "2.0 x", "x-real-ip", "1.2.3.4",
		"x-original-url", "/r/tasks", "x-original-uri", "/r/tasks", "x-original-host", "h", "x-rewrite-url", "/r/tasks",
		"connection", "keep-alive, X-Hop", "x-hop", "1", "keep-alive", "timeout=5", "te", "trailers", "trailer", "x", "transfer-encoding", "chunked", "upgrade", "h2c", "proxy-authorization", "p", "proxy-connection", "c",
	))
	want := http.Header{"Accept": {"text/html, */*"}, "X-Empty": {""}, "X-Many": {"one,two"}, "Range": {"bytes=0-1"}, "Content-Type": {"a/b"}, "X-Api-Key": {"the container's"}}
	if diff := cmp.Diff(want, w.c.calls[0].Header); diff != "" {
		t.Error(diff)
	}
}

func TestAnswers(t *testing.T) {
	binary := string([]byte{0, 1, 2, 0xff})
	for _, test := range []struct {
		name    string
		method  string
		answer  *cyberun.ContainerAnswer
		headers map[string]string
		cookies []string
		base64  bool
	}{
		{"text", "GET", answers(200, "Grüße <&>\n", "Content-Type", "text/plain"), map[string]string{"content-type": "text/plain"}, nil, false},
		{"binary", "GET", answers(206, binary, "Content-Range", "bytes 0-3/9", "Content-Length", "4"), map[string]string{"content-range": "bytes 0-3/9"}, nil, true},
		{"a control character", "GET", answers(200, "a\x00b"), map[string]string{}, nil, true},
		{"nothing", "DELETE", answers(204, ""), map[string]string{}, nil, false},
		{"not modified", "GET", answers(304, "", "Etag", `"x"`), map[string]string{"etag": `"x"`}, nil, false},
		{"head", "HEAD", answers(200, "", "Content-Length", "1234"), map[string]string{"content-length": "1234"}, nil, false},
		{"a redirect", "GET", answers(302, "", "Location", "https://x.test/"), map[string]string{"location": "https://x.test/"}, nil, false},
		{"repeated headers", "GET", answers(200, "x", "X-A", "1", "X-A", "2", "Set-Cookie", "a=1", "Set-Cookie", "b=2"), map[string]string{"x-a": "1, 2"}, []string{"a=1", "b=2"}, false},
		{"hop by hop", "GET", answers(200, "x", "Connection", "X-Hop", "X-Hop", "1", "Keep-Alive", "1", "Transfer-Encoding", "chunked", "Trailer", "X-Sum", "X-Kept", ""), map[string]string{"x-kept": ""}, nil, false},
		{"as if it were the relay", "GET", answers(404, "x", "Relay-Error", "ContainerNotFound"), map[string]string{}, nil, false},
		{"a name that is none", "GET", answersWith(http.Header{"X Bad": {"1"}, "X-Good": {"<&>"}}), map[string]string{"x-good": "<&>"}, nil, false},
		{"its own 404", "GET", answers(404, "<p>no"), map[string]string{}, nil, false},
		{"its own 503", "GET", answers(503, "busy", "Retry-After", "3"), map[string]string{"retry-after": "3"}, nil, false},
		{"its own 401", "GET", answers(401, "who?", "Www-Authenticate", "Basic"), map[string]string{"www-authenticate": "Basic"}, nil, false},
		{"its own 500", "GET", answers(500, "broken"), map[string]string{}, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			content, _ := io.ReadAll(test.answer.Body)
			test.answer.Body = io.NopCloser(strings.NewReader(string(content)))
			w.c.call = func(context.Context, cyberun.ContainerCall) (*cyberun.ContainerAnswer, error) {
				return test.answer, nil
			}
			a := w.handle(event(test.method, "/containers/echo/x", "", ""))
			if a.StatusCode != test.answer.Status || string(a.content) != string(content) || a.IsBase64Encoded != test.base64 {
				t.Errorf("%+v", a)
			}
			if diff := cmp.Diff(test.headers, a.Headers); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.cookies, a.Cookies); diff != "" {
				t.Error(diff)
			}
			doubt := map[int]bool{401: true, 404: true, 503: true}[test.answer.Status]
			if (w.c.lookUps == 1) != doubt {
				t.Errorf("%d look-ups", w.c.lookUps)
			}
		})
	}
}

// An answer that may be Cyberun's own is told by the detail, not by its status.
func TestWhatGoesWrong(t *testing.T) {
	unsent := func() error { // as the client says it
		_, err := (&cyberun.Client{Keys: cyberun.StaticKey("k")}).CallContainer(context.Background(), cyberun.ContainerCall{Slug: "echo", Method: "GET", Path: "/"})
		return err
	}()
	stopped := func(context.Context, string) (cyberun.Container, error) {
		return cyberun.Container{Slug: "echo", Status: "stopped", UsagePrompt: "start it"}, nil
	}
	missing := func(context.Context, string) (cyberun.Container, error) {
		return cyberun.Container{}, &cyberun.APIError{Status: 404, JSON: true}
	}
	is := func(status int) func(context.Context, string) (cyberun.Container, error) {
		return func(context.Context, string) (cyberun.Container, error) {
			return cyberun.Container{}, &cyberun.APIError{Status: status, JSON: true}
		}
	}
	for _, test := range []struct {
		name      string
		answer    *cyberun.ContainerAnswer
		err       error
		container func(context.Context, string) (cyberun.Container, error)
		status    int
		want      string
		says      string
	}{
		{"unknown", answers(404, ""), nil, missing, 404, "ContainerNotFound", "echo"},
		{"stopped, told by a 503", answers(503, ""), nil, stopped, 409, "ContainerNotRunning", "echo is stopped"},
		{"stopped, told by a 404", answers(404, ""), nil, stopped, 409, "ContainerNotRunning", "echo is stopped"},
		{"stopped, told by a 409", answers(409, ""), nil, stopped, 409, "ContainerNotRunning", "echo is stopped"},
		{"stopped, told by a broken connection", nil, errors.New("reset"), stopped, 409, "ContainerNotRunning", "echo is stopped"},
		{"key refused", answers(401, ""), nil, is(401), 502, "Unauthorized", "refused the key"},
		{"not licensed", answers(403, ""), nil, is(403), 502, "FeatureNotLicensed", ""},
		{"Cyberun away", answers(502, "<html>"), nil, is(502), 503, "Unavailable", "the call got a 502, and the status of the container service echo could not be asked"},
		{"Cyberun away, no answer at all", nil, errors.New("reset"), is(500), 503, "Unavailable", "reset; the call may have been carried out, and the status"},
		{"no answer, though it runs", nil, errors.New("reset"), nil, 503, "Unavailable", "reset; the call may have been carried out"},
		{"never sent", nil, unsent, nil, 503, "Unavailable", "nothing was sent to the container"},
		{"no key", nil, named.Errorf(named.Unauthorized, "the secret holds no value yet"), nil, 502, "Unauthorized", "holds no value yet"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.c.call = func(context.Context, cyberun.ContainerCall) (*cyberun.ContainerAnswer, error) {
				return test.answer, test.err
			}
			if test.container != nil {
				w.c.container = test.container
			}
			p := w.problem(w.handle(event("POST", "/containers/echo/x", "", "y")), test.status, test.want)
			if !strings.Contains(p["detail"].(string), test.says) {
				t.Errorf("%s", p["detail"])
			}
			if look := test.want == "Unavailable" && test.name != "never sent"; (p["hint"] == hintCheckFirst) != look {
				t.Errorf("the hint is %q", p["hint"])
			}
			if len(w.c.calls) != 1 || w.c.lookUps > 1 {
				t.Errorf("%d calls, %d look-ups", len(w.c.calls), w.c.lookUps)
			}
			if test.want == "ContainerNotRunning" {
				if diff := cmp.Diff(map[string]any{"slug": "echo", "status": "stopped", "usage_prompt": "start it"}, p["container"]); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// slowBody is an answer that begins and does not go on.
type slowBody struct{ ctx context.Context }

func (b slowBody) Read([]byte) (int, error) { <-b.ctx.Done(); return 0, b.ctx.Err() }
func (slowBody) Close() error               { return nil }

func TestTimeIsBounded(t *testing.T) {
	for name, call := range map[string]func(ctx context.Context) (*cyberun.ContainerAnswer, error){
		"no answer": func(ctx context.Context) (*cyberun.ContainerAnswer, error) { <-ctx.Done(); return nil, ctx.Err() },
		"half an answer": func(ctx context.Context) (*cyberun.ContainerAnswer, error) {
			return &cyberun.ContainerAnswer{Status: 200, Body: slowBody{ctx}}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.h.ContainerTime = time.Millisecond
			w.c.call = func(ctx context.Context, _ cyberun.ContainerCall) (*cyberun.ContainerAnswer, error) { return call(ctx) }
			p := w.problem(w.handle(event("POST", "/containers/echo/x", "", "y")), 504, "ContainerTimedOut")
			if !strings.Contains(p["detail"].(string), "the call may go on") || len(w.c.calls) != 1 {
				t.Errorf("%s", p["detail"])
			}
		})
	}
	w := newWorld(t)
	w.h.LookUpTime = time.Millisecond
	w.c.call = func(context.Context, cyberun.ContainerCall) (*cyberun.ContainerAnswer, error) {
		return answers(503, ""), nil
	}
	w.c.container = func(ctx context.Context, _ string) (cyberun.Container, error) {
		<-ctx.Done()
		return cyberun.Container{}, ctx.Err()
	}
	w.problem(w.handle(event("POST", "/containers/echo/x", "", "y")), 503, "Unavailable")
}

// A status that no gateway passes on is told, and no tunnel is read.
func TestStatusesThatAreNone(t *testing.T) {
	for _, status := range []int{101, 199, 600, 999} {
		w := newWorld(t)
		w.c.call = func(ctx context.Context, _ cyberun.ContainerCall) (*cyberun.ContainerAnswer, error) {
			return &cyberun.ContainerAnswer{Status: status, Body: slowBody{ctx}}, nil
		}
		w.h.ContainerTime = time.Second
		p := w.problem(w.handle(event("POST", "/containers/echo/x", "", "y")), 503, "Unavailable")
		if !strings.Contains(p["detail"].(string), fmt.Sprintf("the status %d", status)) || w.c.lookUps > 0 {
			t.Errorf("%v, %d look-ups", p["detail"], w.c.lookUps)
		}
	}
}

// One line says who called what; nothing that was said is in it.
func TestLog(t *testing.T) {
	w := newWorld(t)
	w.handle(event("POST", "/containers/echo/private/path", "token=geheim", "geheim", "x-secret", "geheim"))
	want := map[string]any{"level": "INFO", "msg": "answered", "route": routeCall, "who": someone, "container": "echo", "method": "POST", "status": 200., "ms": 7., "bytes_in": 6., "bytes_out": 4.}
	if diff := cmp.Diff(want, w.line()); diff != "" {
		t.Error(diff)
	}
	w.c.call = func(context.Context, cyberun.ContainerCall) (*cyberun.ContainerAnswer, error) {
		return nil, fmt.Errorf("geheim: %s", "sk-local-geheim")
	}
	w.handle(event("POST", "/containers/echo/private/path", "token=geheim", "geheim", "x-secret", "geheim"))
	want["level"], want["msg"], want["status"], want["error"], want["bytes_out"] = "WARN", "refused", 503., "Unavailable", 0.
	if diff := cmp.Diff(want, w.line()); diff != "" {
		t.Error(diff)
	}
	e := event("GET", "/containers/\"geheim\n", "", "")
	e.RequestContext.Authorizer = nil
	w.handle(e)
	for _, secret := range []string{"geheim", "private"} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("%s stands in the log:\n%s", secret, w.log.String())
		}
	}
	if lines := strings.Count(w.log.String(), "\n"); lines != 3 {
		t.Errorf("%d lines for three calls", lines)
	}
}

// TestPanic: the gateway would answer a bare 500, and the log would say nothing.
func TestPanic(t *testing.T) {
	w := newWorld(t)
	w.c.call = func(context.Context, cyberun.ContainerCall) (*cyberun.ContainerAnswer, error) {
		panic("slipped at https://x.example/a?X-Amz-Signature=geheim")
	}
	a := w.handle(event("POST", "/containers/echo/x", "token=geheim", "geheim"))
	if p := w.problem(a, 503, "Unavailable"); strings.Contains(string(a.content), "slipped") || p["hint"] != hintCheckFirst {
		t.Errorf("%s", a.content)
	}
	line := w.line()
	if stack, _ := line["stack"].(string); line["msg"] != "panic" || line["level"] != "ERROR" || !strings.Contains(fmt.Sprint(line["cause"]), "slipped") || !strings.Contains(stack, "handler_test.go") {
		t.Errorf("%v", line)
	}
	if strings.Contains(w.log.String(), "geheim") {
		t.Error(w.log.String())
	}
}
