// Package named has the relay's named errors. [Table] says what each name means: its
// hint, its HTTP status, whether the state machine retries it, whether a redrive gets
// past it. [Error] is the type of the errors that leave a function, and of those that
// are stored. [Violations] is what an InvalidRequest consists of. A few functions
// shorten what a remote sent before it becomes part of an error.
//
// A remote, here and elsewhere, is a service that the relay calls: Cyberun, AWS, or a
// server that outputs are fetched from.
//
// It imports the standard library only.
package named

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Error is an error with a name. Every error that a step returns to Step Functions,
// that a record or error.json has, and that the API answers with is one. None of its
// texts may hold a key, a token or a signed URL.
type Error struct {
	Name  string `json:"name"`           // one of the [Table]'s
	Cause string `json:"cause"`          // what went wrong, and where
	Hint  string `json:"hint,omitempty"` // what to do about it
	Err   error  `json:"-"`              // the wrapped error, for errors.Is; never part of a text

	Violations Violations `json:"-"` // of an InvalidRequest, for the API's answer
}

// Errorf returns an error with this name, the hint of [HintFor], and a cause that is
// formatted as by [fmt.Errorf]. It wraps the error of a %w.
func Errorf(name, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Name: name, Cause: err.Error(), Hint: HintFor(name), Err: errors.Unwrap(err)}
}

func (e *Error) Error() string { return e.Name + ": " + e.Message() }

func (e *Error) Unwrap() error { return e.Err }

// hintSeparator stands between cause and hint in the one text that a Lambda error has.
const hintSeparator = "\nHint: "

// Message returns Cause and Hint as one text, which an execution has in its own field
// cause. [Parse] reads it back.
func (e *Error) Message() string {
	if e.Hint == "" {
		return e.Cause
	}
	return e.Cause + hintSeparator + e.Hint
}

// Parse returns the error whose name and [Error.Message] an execution ended with. A
// message without a hint gets that of [HintFor].
func Parse(name, message string) *Error {
	at := strings.LastIndex(message, hintSeparator) // the cause is a remote's text: it may hold the separator itself
	if at < 0 {
		return &Error{Name: name, Cause: message, Hint: HintFor(name)}
	}
	return &Error{Name: name, Cause: message[:at], Hint: message[at+len(hintSeparator):]}
}

// As returns the first named error in the chain of err, and whether there is one.
func As(err error) (*Error, bool) { return errors.AsType[*Error](err) }

// OrUnavailable returns the first named error in the chain of err. An error without a
// name is a fault of the relay or of a remote, and becomes Unavailable, which is retried.
func OrUnavailable(err error) *Error {
	if e, ok := As(err); ok {
		return e
	}
	return Errorf(Unavailable, "%w", err)
}

// Within returns the error of [OrUnavailable] with what it happened to, and a colon, in
// front of its cause. Step Functions and error.json show that.
func Within(what string, err error) *Error {
	e := *OrUnavailable(err)
	e.Cause = what + ": " + e.Cause
	return &e
}

// Is reports whether the first named error in the chain of err has this name.
func Is(err error, name string) bool {
	e, ok := As(err)
	return ok && e.Name == name
}

// HintFor returns the [Table]'s hint for a name; empty for a name that is not in it.
func HintFor(name string) string { return byName[name].Hint }

// HintAfterPayment is the hint of a RunRejected because of an unpaid account (Cyberun's
// 402), the only RunRejected that is redrivable.
const HintAfterPayment = "settle the team's account at Cyberun, then redrive the run; it started nothing"

// HTTPStatus returns the status of the API's problem document for the error; 503 for
// a name that has none in the [Table].
func (e *Error) HTTPStatus() int {
	if status := byName[e.Name].HTTPStatus; status != 0 {
		return status
	}
	return http.StatusServiceUnavailable
}

// Redrivable reports whether a redrive of the run can succeed without a second task
// being paid, once what caused the error is mended.
func (e *Error) Redrivable() bool {
	return byName[e.Name].Redrivable || e.Name == RunRejected && e.Hint == HintAfterPayment
}

// EndsPolling reports whether a step that meets the error while it waits for a task
// ends the run by it, instead of trying again.
func (e *Error) EndsPolling() bool { return byName[e.Name].EndsPolling }
