package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// The exit codes, as --help and the package's doc list them.
const (
	codeOK          = 0
	codeFailed      = 1
	codeUsage       = 2
	codeUnreachable = 3
	codeCancelled   = 4
	codeTimedOut    = 5
	codeClientError = 6   // a container's own 4xx
	codeServerError = 7   // a container's own 5xx
	codeInterrupted = 130 // 128 + SIGINT, as shells have it
)

// failure is an error as a person reads it: one line that says what, one line
// for each fault, one that says what to do. Without a what it is only a code:
// what happened stands on stdout already.
type failure struct {
	code   int
	what   string
	faults named.Violations
	hint   string
	advice []string // commands to go on with, one a line
	err    error
}

func (f *failure) Error() string { return f.what }
func (f *failure) Unwrap() error { return f.err }

// fail prints an error and returns the exit code; of nil it is 0.
func (a *app) fail(ctx context.Context, err error) int {
	if err == nil {
		return codeOK
	}
	f := failureFor(err)
	if ctx.Err() != nil && f.code != codeInterrupted {
		// Whatever broke, it broke since someone pressed Ctrl-C.
		f = &failure{code: codeInterrupted, what: "interrupted", hint: f.hint, advice: f.advice}
	}
	if f.what != "" {
		fmt.Fprintln(a.stderr, "relay: "+oneLine(f.what))
	}
	for _, fault := range f.faults {
		fmt.Fprintln(a.stderr, "  "+oneLine(fault.Parameter+" "+fault.Message))
	}
	if f.hint != "" {
		fmt.Fprintln(a.stderr, "hint:  "+oneLine(f.hint))
	}
	for _, line := range f.advice {
		a.say("%s", line)
	}
	return f.code
}

func failureFor(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	var p *problem
	if errors.As(err, &p) {
		return p.failure()
	}
	return &failure{code: codeFailed, what: err.Error()}
}

// failure is what a person is told of an answer that was not a success.
func (p *problem) failure() *failure {
	f := &failure{code: codeUsage, what: p.message(), faults: p.Errors, hint: cmp.Or(p.Hint, named.HintFor(p.Title)), err: p}
	switch {
	case (p.Title == "" || p.Title == named.NotFound) && p.Status == http.StatusNotFound:
		f.code, f.hint = codeUnreachable, "this is not the relay's API: --api-url (RELAY_API_URL) must be the stack's output ApiUrl"
	case p.Title == "" && p.Status == http.StatusForbidden && strings.Contains(p.Detail, "expired"):
		f.code, f.hint = codeUnreachable, "sign in again (`aws sso login`), or choose another --profile"
	case p.Title == "" && (p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden):
		f.code, f.hint = codeUnreachable, "your AWS identity needs execute-api:Invoke on the stack's API; `aws sts get-caller-identity` says who you are, --profile and --region choose another"
	case p.Title == "":
		f.code = codeUnreachable
		f.hint = "if it stays so: is --api-url (RELAY_API_URL) the stack's output ApiUrl? The function's logs are in CloudWatch"
	case p.Status >= http.StatusInternalServerError:
		f.code = codeUnreachable
	}
	if p.Title == named.Unavailable {
		f.hint = "it is mostly a passing state: try again in a while"
	}
	return f
}

// message is the problem in one line: the faults and the hint have lines of their own.
func (p *problem) message() string {
	switch {
	case p.Title == "":
		answer := fmt.Sprintf("the API answered %d %s", p.Status, http.StatusText(p.Status))
		if p.Detail == http.StatusText(p.Status) {
			return answer
		}
		return answer + prefixed(": ", p.Detail)
	case len(p.Errors) > 0:
		return fmt.Sprintf("%s: the request has %s", p.Title, count(len(p.Errors), "fault"))
	}
	return p.Title + prefixed(": ", strings.TrimSuffix(strings.TrimSpace(p.Detail), "."))
}

// unreachable is for what came in the way of an answer. The URL is cut out of
// the error: a download's is signed.
func unreachable(what string, err error, hint string) *failure {
	return &failure{code: codeUnreachable, what: what + ": " + cause(err), hint: hint, err: err}
}

// cause is the text of an error without the URL that net/http puts into it.
func cause(err error) string {
	var u *url.Error
	for errors.As(err, &u) {
		if u.Timeout() {
			return "no answer in time"
		}
		err = u.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	return err.Error()
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
