// Package cyberun is the client of the Cyberun runtime API: workflows, tasks,
// results, input files, the event stream and container services. "Documented" means on
// https://docs.cyberun.cloud.
//
// It imports go-sse, shared/named, shared/redact, shared/retryafter and the standard
// library.
//
// # Errors
//
// Every call but [Client.Upload] and [Client.CallContainer] does the same: it reads the
// key, sends the request, checks the status before it decodes anything, and reads the
// body up to a limit. It returns what it read, or one of these errors:
//
//   - [*APIError]: Cyberun, or what stands in front of it, answered with a status
//     that is not 2xx. An HTML 502 stays a 502 with the start of its text.
//   - [*AnswerError]: the status is 2xx, and the body is not what the call needs.
//   - [*NetworkError]: there was no answer.
//   - the error of Client.Keys, wrapped.
//   - [*StartError] around any of these, from [Client.StartTask] alone, which says whether a
//     task may have been started.
//
// [RemoteError], [PrepareError], [WorkflowError] and [SubmitError] turn them into errors
// of shared/named.
//
// CallContainer alone returns an answer of any status, since a container's own and
// Cyberun's look the same.
//
// # Retries and time
//
// The client never waits, and it never retries, with two exceptions: after a 401 the
// key is read again, and if it changed the call is made once more (StartTask only after
// Cyberun's own 401, which surely started nothing); and CallContainer dials once more
// for a GET or HEAD. An APIError's RetryAfter is for the caller. A call takes as long
// as its context allows: give every one but [Client.StartTask], TaskEvents, Upload and
// CallContainer some 20 s.
//
// # Secrets
//
// The key goes into the Authorization header of Client.BaseURL's host and nowhere
// else: a redirect to another host is not followed, and the addresses that
// [Client.Presign] returns get no key. No error's text holds a key or the query of an
// address. [SignedURL], [StaticKey] and [UploadHeaders] print, log and marshal without
// their secret; string(u) is the whole address.
//
// # Units
//
// Sizes are bytes, Workflow.TaskTimeout is seconds, TaskEvent.Progress is 0 to 1, and
// a Date is the server's own clock: the answer's Date header, in whole seconds,
// and zero if there was none, or if the answer came from a cache.
//
// # Limits
//
// An answer is read up to 10 MiB, a [Result] up to 48 MiB, a container's up to the
// call's MaxAnswer, and an event up to 256 KiB; beyond that the call or
// the stream fails. Of an error's body 64 KiB are read and 500 bytes shown; of a
// task's error 4 KiB are kept. An id has at most 200 bytes. Up to 3 redirects are
// followed, for a GET and to the same scheme and host only. An upload is stored whole
// or fails: neither a shorter nor a longer file than announced is sent to its end.
//
// # What Cyberun does not document, and what this client does
//
//   - Statuses, parameter types and event types are open sets: an unknown one is
//     returned as it is. An unknown status of a task is not terminal.
//   - The body of an error has no documented shape: a code and a message are looked
//     for in message, error, detail, title, reason and code, at the top or below
//     error, and otherwise the start of the body is shown.
//   - An optional field that is missing, null or of a wrong type is its zero value.
//     Numbers in strings are read, and times in the usual formats. An id that is
//     missing makes an AnswerError, as does an answer about another task than the one
//     asked for, and a list's answer without its list: absence of a task must never
//     be read out of an answer that is broken.
//   - task_error may be a string, an object or null: it becomes one text.
//   - The options of a select may be bare values, or objects with value and label.
//   - The Content-Type is not looked at; only the body counts.
//   - Any 2xx with a task_id counts as a started task; the documented one is 202.
//   - The task list has no documented filter by workflow, date or key: none is sent.
//   - Retry-After is read as seconds or as an HTTP date.
//   - Workflows are addressed by slug, the documented path for slug@version, but for WorkflowByID.
//   - The call that starts a task takes no idempotency key, so none is sent (net/http
//     would also replay a request with such a header).
package cyberun
