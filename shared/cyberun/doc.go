// Package cyberun is the client of the Cyberun runtime API: workflows, runs,
// tasks, results, input files, the event stream and container services. It imports the standard
// library and go-sse only.
//
// # One request path
//
// Every call but Upload goes through one path: the key is read, the request is
// made, the status is checked before anything is decoded, and the body is read
// up to a limit. What comes back is the answer, or one of
//
//   - *APIError: Cyberun (or what stands in front of it) answered with a status
//     that is not 2xx. An HTML 502 stays a 502 with a snippet of its text.
//   - *AnswerError: a 2xx whose body is not what the call needs.
//   - *NetworkError: no answer.
//   - what Client.Keys said, wrapped.
//   - *RunError around any of these, from Run alone: see there.
//
// The client never retries, with two exceptions: after a 401 the key is read
// again, and if it changed the call is made once more (a 401 surely started
// nothing, so this holds for Run as well); and CallContainer dials once more for
// a GET or HEAD. It never waits; RetryAfter is for the caller. How long a call
// may take is the caller's context; give every call but Events and Upload some
// 20 s.
//
// CallContainer alone hands back whatever status comes, since a container's own
// answer and Cyberun's look the same.
//
// # Secrets
//
// The key goes into the Authorization header of Client.BaseURL's host and
// nowhere else: a redirect to another host is not followed, and the addresses
// that Presign hands out get no key. No error text holds a key or the query of
// an address. SignedURL, StaticKey and UploadHeaders print and marshal without
// their secret; string(u) is the whole address.
//
// # Units
//
// Sizes are bytes, Workflow.TaskTimeout is seconds, Event.Progress is 0 to 1,
// and every Date is the server's own clock (the answer's Date header, whole
// seconds; zero if there was none).
//
// # Limits
//
// An answer is read up to 10 MiB and an event up to 256 KiB; beyond that the call
// or the stream fails. Of an error's body 64 KiB are read, 4 KiB kept and 500
// bytes shown; of a task's error 4 KiB are kept. An id has at most 200 bytes.
// Retry-After counts up to a day. Up to 3 redirects are followed, for a GET and
// to the same scheme and host only. An upload is stored whole or fails: neither
// a shorter nor a longer file than announced is sent to its end.
//
// # What the remote does not document, and what this client does
//
//   - States, parameter types and event types are open sets: an unknown one is
//     handed on. An unknown task state is not terminal.
//   - The error body has no documented shape: code and message are looked for
//     in message, error, detail, title, reason and code, at the top or below
//     error, and the redacted start of the body is kept.
//   - A missing, null or mistyped optional field is its zero value, numbers in
//     strings are read, and times in the usual formats are; one that cannot be
//     read is zero. Missing ids are an *AnswerError. So is an answer about
//     another task than the one asked for, and a list answer without its list:
//     absence of a task must never be read out of an answer that is broken.
//   - task_error may be a string, an object or null: it becomes one text.
//   - A select's options may be bare values or objects with value and label.
//   - Content-Type is not looked at; bodies are judged by what they hold.
//   - Any 2xx with a task_id counts as a started run; the documented one is 202.
//   - The task list has no documented filter by workflow, date or key: none is sent.
//   - Retry-After is read as seconds or as an HTTP date, the latter measured
//     against the same answer's Date.
//   - Workflows are addressed by slug, the documented path for slug@version.
//   - The run call has no idempotency key, so none is sent (net/http would also
//     take such a header as leave to replay the request).
package cyberun
