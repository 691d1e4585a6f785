package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// The named errors. A name is what Step Functions shows and retries by, what a
// record, error.json and the API's answer carry, and what the README explains.
const (
	InvalidRequest       = "InvalidRequest"
	WorkflowNotFound     = "WorkflowNotFound"
	WorkflowDisabled     = "WorkflowDisabled"
	Unauthorized         = "Unauthorized"
	FeatureNotLicensed   = "FeatureNotLicensed"
	RunRejected          = "RunRejected"
	SubmitInDoubt        = "SubmitInDoubt"        // retried
	SubmitOutcomeUnknown = "SubmitOutcomeUnknown" // a person decides
	Unavailable          = "Unavailable"          // retried: Cyberun, S3 or Secrets Manager
	TaskFailed           = "TaskFailed"
	TaskCancelled        = "TaskCancelled"
	TaskTaken            = "TaskTaken"
	RunTimedOut          = "RunTimedOut"
	RunCancelled         = "RunCancelled"
	OutputExpired        = "OutputExpired"
	OutputTruncated      = "OutputTruncated"
	OutputChanged        = "OutputChanged"
	OriginRefused        = "OriginRefused"
	NoOutputs            = "NoOutputs"
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

	Faults Faults `json:"-"` // InvalidRequest: one by one, for the API's answer
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

// ParseMessage is the inverse of Message: what close-run reads back from an
// execution that ended.
func ParseMessage(name, message string) *Error {
	at := strings.LastIndex(message, hintMark) // the cause is a remote's text: it may hold the mark itself
	if at < 0 {
		return &Error{Name: name, Cause: message, Hint: HintFor(name)}
	}
	return &Error{Name: name, Cause: message[:at], Hint: message[at+len(hintMark):]}
}

// AsError finds the named error in a chain, so that wrapping one never changes
// what Step Functions sees.
func AsError(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// Is reports whether err is, or wraps, the named error.
func Is(err error, name string) bool {
	e, ok := AsError(err)
	return ok && e.Name == name
}

// HintFor is what to do about an error when whoever raised it knew no better.
func HintFor(name string) string { return hints[name] }

var hints = map[string]string{
	InvalidRequest:       "correct what is listed and start a new run; nothing was submitted or paid",
	WorkflowNotFound:     "`relay workflows` lists the workflows this key can run; check the slug and the version after @",
	WorkflowDisabled:     "enable the workflow at Cyberun, or run another; `relay workflows` shows which are active",
	Unauthorized:         "put a valid sk-… key into the secret that the stack output ApiKeySecretArn names, then redrive the run",
	FeatureNotLicensed:   "this Cyberun deployment's licence lacks the feature named in the cause; ask its administrator",
	RunRejected:          "Cyberun refused the run and started nothing; correct what the cause names and start a new run",
	SubmitInDoubt:        "the reply to the submission was lost; the relay looks in the task list before it does anything else",
	SubmitOutcomeUnknown: "look at the candidate tasks named in the cause; start a run with {\"task_id\": \"…\"} for the right one, or submit anew if none is",
	Unavailable:          "a remote could not be reached; redrive the run once it answers again",
	TaskFailed:           "the cause is Cyberun's own message; correct the parameters or the workflow and start a new run",
	TaskCancelled:        "the task was cancelled at Cyberun; start a new run if it was not meant",
	TaskTaken:            "another run that is still open owns this task; wait for that run or stop it first",
	RunTimedOut:          "the task was cancelled at the run's deadline; raise max_seconds or choose a smaller job",
	RunCancelled:         "the run was stopped by a person; start a new run if it was not meant",
	OutputExpired:        "Cyberun keeps outputs for 7 days and this one can no longer be fetched; run the workflow again",
	OutputTruncated:      "the origin sent fewer or more bytes than it announced; redrive the run to fetch it anew",
	OutputChanged:        "the output changed while it was copied; redrive the run to fetch it anew",
	OriginRefused:        "the download address is not allowed: see the stack parameter DownloadHosts",
	NoOutputs:            "the task completed but left no downloadable output; look at the workflow's output nodes",
}

// ExecutionError reads an execution's error and cause, as DescribeExecution has
// them, back into a named error. What the platform throws under names of its own
// is told as Unavailable: redrive goes on from there.
func ExecutionError(name, cause string) *Error {
	var lambda struct {
		Message string `json:"errorMessage"`
	}
	if json.Unmarshal([]byte(cause), &lambda) == nil && lambda.Message != "" {
		cause = lambda.Message
	}
	if _, known := hints[name]; known {
		return ParseMessage(name, cause)
	}
	if name == tooLarge {
		return Errorf(InvalidRequest, "request: with the run's ids beside it, it is more than the %d bytes that Step Functions passes on; put large inputs into S3 and pass s3://…", MaxRequestBytes)
	}
	return Errorf(Unavailable, "%s: %s", name, shortCause(cause))
}

// tooLarge is Step Functions' own name for a state's data over its quota. Only Submit's
// can be: a request of the last 300 bytes below 256 KiB has no room for its ids. The
// function was never called, and no redrive would mend it.
const tooLarge = "States.DataLimitExceeded"

// maxCause bounds what is kept of a cause that is not ours: a stack trace can be
// 32 KiB.
const maxCause = 1000

func shortCause(cause string) string {
	if cause == "" {
		return "no cause was given"
	}
	if len(cause) > maxCause {
		return strings.ToValidUTF8(cause[:maxCause], "") + "…"
	}
	return cause
}
