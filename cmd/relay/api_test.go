package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const html502 = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>…</body></html>"

// What an API, a gateway or a stranger can answer, and what a person reads then.
func TestAnswersThatAreNoSuccess(t *testing.T) {
	faults := answer{status: 400, kind: "application/problem+json", body: `{"type":"urn:cyberun-relay:error:InvalidRequest","title":"InvalidRequest","status":400,"detail":"steps: is 900; it must be at most 50; frob: is not a parameter","errors":[{"parameter":"steps","message":"is 900; it must be at most 50"},{"parameter":"frob","message":"is not a parameter of x; it has steps"}]}`}
	for _, test := range []struct {
		name   string
		answer answer
		code   int
		calls  int
	}{
		{"run-not-found", problemAnswer(404, "RunNotFound", "there is no run r, or it ended over 90 days ago"), codeUsage, 1},
		{"two-faults", faults, codeUsage, 1},
		{"key-refused", problemAnswer(502, "Unauthorized", "look up the workflow x: Cyberun refused the key: 401"), codeUnreachable, 1},
		{"conflict", problemAnswer(409, "IdempotencyConflict", "this Idempotency-Key was used with another request: run key-1"), codeUsage, 1},
		{"gateway-forbidden", answer{status: 403, body: `{"message":"Forbidden"}`}, codeUnreachable, 1},
		{"gateway-expired", answer{status: 403, body: `{"message":"The security token included in the request is expired"}`}, codeUnreachable, 1},
		{"gateway-not-found", answer{status: 404, body: `{"message":"Not Found"}`}, codeUnreachable, 1},
		{"redirect", answer{status: 302, header: http.Header{"Location": {"http://127.0.0.1:1/elsewhere"}}}, codeUnreachable, 1},
		{"html-200", answer{status: 200, kind: "text/html", body: "<!doctype html><title>Hello</title>"}, codeUnreachable, 1},
		{"cut-json", ok(`{"run_id":"r","sta`), codeUnreachable, 1},
		{"empty", ok(``), codeUnreachable, 1},
		{"other-json", ok(`{"hello":"world"}`), codeUnreachable, 1},
		{"escape-codes", answer{status: 418, kind: "text/plain", body: "\x1b[2J\x1b]0;owned\x07tea"}, codeUnreachable, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			api := replay(t, map[string][]answer{"GET /runs/r": {test.answer}})
			h := newHarness(t, api)
			h.run(t, test.code, "status", "r")
			if got := api.count("GET", "/runs/r"); got != test.calls {
				t.Errorf("%d calls, want %d", got, test.calls)
			}
			if h.out.String() != "" {
				t.Errorf("stdout: %s", h.out)
			}
			golden(t, "answer-"+test.name+".txt", h.err.String())
		})
	}
}

func TestPassingFaultsAreTriedAgain(t *testing.T) {
	for name, fault := range map[string]answer{
		"html 502":    {status: 502, kind: "text/html", body: html502},
		"unavailable": problemAnswer(503, "Unavailable", "look up: 500"),
		"throttled":   {status: 429, body: `{"message":"Too Many Requests"}`},
		"lambda died": {status: 500, body: `{"message":"Internal Server Error"}`},
		"hung up":     {status: hangUp},
	} {
		t.Run(name, func(t *testing.T) {
			api := replay(t, map[string][]answer{"GET /runs/r": {fault, fault, ok(`{"run_id":"r","status":"submitting"}`)}})
			h := newHarness(t, api)
			h.run(t, codeOK, "status", "r")
			if got := api.count("GET", "/runs/r"); got != 3 {
				t.Errorf("%d calls, want 3", got)
			}
			if got := strings.Count(h.err.String(), "trying again"); got != 2 {
				t.Errorf("told %d times of it, want 2:\n%s", got, h.err)
			}
			if strings.Contains(h.err.String(), "<html>") && strings.Count(h.err.String(), "\n") > 2 {
				t.Errorf("an HTML page was printed:\n%s", h.err)
			}
		})
	}
}

// The reply to a POST is lost twice: the key stays the same, so that one run is
// started.
func TestLostReplyToAStart(t *testing.T) {
	api := replay(t, map[string][]answer{"POST /runs": {{status: hangUp}, {status: 503}, {status: 202, body: `{"run_id":"key-1","status":"submitting"}`}}})
	h := newHarness(t, api)
	h.run(t, codeOK, "run", "text-to-image")
	if len(api.calls) != 3 {
		t.Fatalf("%d calls, want 3", len(api.calls))
	}
	for _, r := range api.calls {
		if got := r.Header.Get("Idempotency-Key"); got != "key-of-the-test" {
			t.Errorf("Idempotency-Key %q", got)
		}
		if got := r.Header.Get("Authorization"); !strings.HasPrefix(got, "AWS4-HMAC-SHA256 Credential=local/20261123/eu-west-1/execute-api/aws4_request") {
			t.Errorf("Authorization %q", got)
		}
	}
	if api.body[0] != api.body[2] || api.body[0] != `{"workflow":"text-to-image"}` {
		t.Errorf("bodies: %q", api.body)
	}
}

// A mistyped address is told soon; while a run is watched the network may come
// back.
func TestUnreachable(t *testing.T) {
	dial := func(err error) error {
		return &url.Error{Op: "Get", URL: "http://x?secret", Err: &net.OpError{Op: "dial", Net: "tcp", Err: err}}
	}
	for _, test := range []struct {
		name     string
		err      error
		patience time.Duration
		tries    int
	}{
		{"refused", dial(syscall.ECONNREFUSED), patience, dialTries},
		{"no such host", dial(&net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}), patience, 1},
		{"refused while watching", dial(syscall.ECONNREFUSED), patienceWatching, 10},
		{"no such host while watching", dial(&net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}), patienceWatching, 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, tries := newHarness(t, nil), 0
			c := client{
				base: &url.URL{Scheme: "http", Host: "x"}, backoff: h.app.backoff, notify: h.say,
				sign: func(context.Context, *http.Request, string) error { return nil },
				http: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					if tries++; tries >= 10 {
						return nil, &failure{code: codeUnreachable, what: "that is enough: it cannot be reached"}
					}
					return nil, test.err
				})},
			}
			_, err := c.do(t.Context(), call{method: "GET", path: "/runs", patience: test.patience}, new(view))
			f := failureFor(err)
			if tries != test.tries || f.code != codeUnreachable || !strings.Contains(f.what, "cannot be reached") || strings.Contains(f.what, "secret") {
				t.Errorf("%d tries, want %d: %+v", tries, test.tries, f)
			}
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAddressesThatAreNone(t *testing.T) {
	for _, address := range []string{"example.com", "ftp://example.com", "https://", "://", "https://key:secret@example.com", "https://example.com?x=1"} {
		h := newHarness(t, nil)
		h.run(t, codeUsage, "list", "--api-url", address)
	}
}

func TestNoCredentials(t *testing.T) {
	for name, test := range map[string]struct {
		provider aws.CredentialsProvider
		want     string
	}{
		"none":    {nil, "there are no AWS credentials to sign with\n"},
		"no IMDS": {failing("no EC2 IMDS role found, operation error ec2imds: GetMetadata"), "there are no AWS credentials to sign with\n"},
		"expired": {failing("the SSO session has expired or is invalid"), "there are no AWS credentials to sign with: the SSO session has expired or is invalid\n"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, replay(t, nil))
			h.loadAWS = func(context.Context, string, string) (aws.Config, error) {
				return aws.Config{Region: "eu-west-1", Credentials: test.provider}, nil
			}
			h.run(t, codeUnreachable, "list")
			if !strings.Contains(h.err.String(), test.want) || !strings.Contains(h.err.String(), "hint:  sign in") {
				t.Errorf("got %s", h.err)
			}
		})
	}
}

func failing(text string) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, errors.New(text) })
}

func TestRegionOfTheSignature(t *testing.T) {
	for address, want := range map[string]string{
		"https://abc123.execute-api.us-west-2.amazonaws.com":     "us-west-2",
		"https://abc123.execute-api.cn-north-1.amazonaws.com.cn": "cn-north-1",
		"https://relay.example.com":                              "eu-west-1",
	} {
		h := newHarness(t, nil)
		s := &session{app: h.app}
		base, _ := url.Parse(address)
		sign, err := s.signer(t.Context(), base)
		if err != nil {
			t.Fatal(err)
		}
		r, _ := http.NewRequest("GET", address, nil)
		if err := sign(t.Context(), r, ""); err != nil {
			t.Fatal(err)
		}
		if got := r.Header.Get("Authorization"); !strings.Contains(got, "/"+want+"/execute-api/") {
			t.Errorf("%s: signed with %s", address, got)
		}
	}
}

// A fault's Retry-After is kept to, within bounds.
func TestRetryAfter(t *testing.T) {
	for value, want := range map[string]string{"": "0s", "x": "0s", "-3": "0s", "7": "7s", "86400": maxRetryAfter.String()} {
		if got := retryAfter(http.Header{"Retry-After": {value}}).String(); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}
