package main

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// The exit codes, as --help lists them.
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

// failure is an error as a person reads it: a line that says what went wrong, a line
// for each violation, one that says what to do. Without a what it is only an exit
// code: what happened stands on stdout already.
type failure struct {
	code       int
	what       string
	violations named.Violations
	hint       string
	followUps  []string // commands to go on with, one a line

	// Of a call of the API: the same one may fare better in a while, after wait if the
	// answer says so.
	passing bool
	wait    time.Duration
}

func (f *failure) Error() string { return f.what }

// failureFor returns an error's failure; that of nil has the exit code of a success. A
// named error of the checks made here is the fault of the command line.
func failureFor(err error) *failure {
	if err == nil {
		return &failure{code: codeOK}
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if e, ok := named.As(err); ok {
		return namedFailure(e.Name, e.Cause, e.Hint, e.Violations)
	}
	return &failure{code: codeFailed, what: err.Error()}
}

// namedFailure explains a named error, whether the API answered it or a check made
// here found it. The violations and the hint have lines of their own.
func namedFailure(name, cause, hint string, violations named.Violations) *failure {
	what := name + withPrefix(": ", strings.TrimSuffix(strings.TrimSpace(cause), "."))
	if len(violations) > 0 {
		what = name + ": the request has " + plural(len(violations), "fault")
	}
	spec, _ := named.Lookup(name)
	return &failure{code: codeUsage, what: what, violations: violations, hint: cmp.Or(hint, spec.RequestHint, spec.Hint)}
}

// maxSkew is how far AWS lets the clock of a signature be from its own.
const maxSkew = 5 * time.Minute

// clockHint explains a refusal of AWS that comes of a wrong clock, by its message or by
// how far this machine's clock is ahead of the answer's Date; else it returns "".
func clockHint(message string, ahead time.Duration) string {
	side := "ahead of"
	if ahead < 0 {
		side = "behind"
	}
	switch {
	case ahead.Abs() > maxSkew:
		return fmt.Sprintf("set this machine's clock, which is %s %s AWS's: a signature is good for 5 minutes", strings.TrimSuffix(ahead.Abs().Round(time.Minute).String(), "0s"), side)
	case wrongClock.MatchString(message):
		return "set this machine's clock, which is wrong: a signature is good for 5 minutes"
	}
	return ""
}

// wrongClock matches AWS's own words for it.
var wrongClock = regexp.MustCompile("Signature expired|Signature not yet current|RequestTimeTooSkewed|RequestExpired")

// unreachable explains a call that got no answer.
func unreachable(what string, err error, hint string) *failure {
	if certificate, ok := errors.AsType[x509.CertificateInvalidError](err); ok && certificate.Reason == x509.Expired {
		hint = "is this machine's clock right? A wrong one makes certificates invalid"
	}
	return &failure{code: codeUnreachable, what: what + ": " + withoutURL(err), hint: hint}
}

// withoutURL returns the text of an error without the URL that net/http puts into it:
// a download's is signed.
func withoutURL(err error) string {
	var timedOut interface{ Timeout() bool }
	if errors.As(err, &timedOut) && timedOut.Timeout() {
		return "no answer in time"
	}
	return redact.UnwrapURLError(err).Error()
}
