// Package named holds the relay's named errors: one table that says what each
// name means (its hint, its HTTP status, whether the state machine retries it,
// whether a redrive gets past it), and the one error type that crosses a
// boundary. It is a leaf: it imports the standard library only.
package named

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Error is the one error type that crosses a boundary: from a step into Step
// Functions, into a record and error.json, into the API's answer. Cause says
// what went wrong and where, Hint what to do about it; neither may hold a key,
// a token or a signed URL.
type Error struct {
	Name  string `json:"name"`
	Cause string `json:"cause"`
	Hint  string `json:"hint,omitempty"`
	Err   error  `json:"-"` // what it wraps: for errors.Is, never shown

	Violations Violations `json:"-"` // InvalidRequest: one by one, for the API's answer
}

// Errorf makes a named error with the name's own hint. A %w is kept for
// errors.Is and errors.As, and its text becomes part of the cause.
func Errorf(name, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Name: name, Cause: err.Error(), Hint: HintFor(name), Err: errors.Unwrap(err)}
}

func (e *Error) Error() string { return e.Name + ": " + e.Message() }

func (e *Error) Unwrap() error { return e.Err }

// hintMark parts cause and hint in the one text field that a Lambda error has.
const hintMark = "\nHint: "

// Message is the text that Step Functions keeps as the error's cause.
func (e *Error) Message() string {
	if e.Hint == "" {
		return e.Cause
	}
	return e.Cause + hintMark + e.Hint
}

// Parse is the inverse of Message: it reads an error back from the name and
// cause of an execution that ended.
func Parse(name, message string) *Error {
	at := strings.LastIndex(message, hintMark) // the cause is a remote's text: it may hold the mark itself
	if at < 0 {
		return &Error{Name: name, Cause: message, Hint: HintFor(name)}
	}
	return &Error{Name: name, Cause: message[:at], Hint: message[at+len(hintMark):]}
}

// As finds the named error in a chain, so that wrapping one never changes
// what Step Functions sees.
func As(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// Is reports whether err is, or wraps, the named error.
func Is(err error, name string) bool {
	e, ok := As(err)
	return ok && e.Name == name
}

// HintFor returns what to do about an error when whoever raised it knew nothing
// more precise; empty for a name that is not in the table.
func HintFor(name string) string { return byName[name].Hint }

// HintAfterPayment is the hint of a RunRejected whose cause is an unpaid account
// (a 402): the one rejection that a redrive gets past.
const HintAfterPayment = "settle the team's account at Cyberun, then redrive the run; it started nothing"

// HTTPStatus returns the status of the API's problem document; 503 for a name
// that has none of its own.
func (e *Error) HTTPStatus() int {
	if status := byName[e.Name].HTTPStatus; status != 0 {
		return status
	}
	return http.StatusServiceUnavailable
}

// Redrivable reports whether redriving the execution can get past the error
// without paying again.
func (e *Error) Redrivable() bool {
	return byName[e.Name].Redrivable || e.Name == RunRejected && e.Hint == HintAfterPayment
}

// EndsPolling reports whether a step that meets the error while it waits for a
// task ends the run by it.
func (e *Error) EndsPolling() bool { return byName[e.Name].EndsPolling }
