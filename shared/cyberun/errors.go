package cyberun

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
	"github.com/cyberun-cloud/cyberun-relay/shared/retryafter"
)

const (
	// maxErrorRead is how many bytes are read of an error's body; redaction sees all
	// of them, so that a key cut in two at maxMessage does not slip through.
	maxErrorRead = 64 << 10
	// maxMessage and maxCode are how many bytes an error's text shows of what the
	// remote said: a run's error has to fit Step Functions' 32 KiB cause with room
	// to spare, and a log line should stay readable.
	maxMessage = 500
	maxCode    = 100
	// maxRetryAfter is a day: nobody waits longer for a fault that passes.
	maxRetryAfter = 24 * time.Hour
)

// APIError is an answer whose status is not 2xx. All its text is redacted.
// [IsNotFound] and [SaysMissing] look for one in a chain of errors.
type APIError struct {
	Method     string
	Path       string // below the base URL; the whole address of an upload, without its query
	Status     int
	Code       string        // Cyberun's own code, if it gave one
	Message    string        // Cyberun's own message, else the start of the body; one line
	RetryAfter time.Duration // how long the answer asks to wait, at most a day; 0: it does not
	// JSON says that the body is a JSON object, as Cyberun's own errors are. The
	// answers of a proxy, a firewall or a storage server mostly are not, and
	// are never taken for Cyberun's.
	JSON bool
}

func (e *APIError) Error() string {
	text := fmt.Sprintf("Cyberun answered %d to %s %s", e.Status, e.Method, e.Path)
	if e.Code != "" && e.Code != strconv.Itoa(e.Status) {
		text += " (" + e.Code + ")"
	}
	if e.Message == "" {
		return text
	}
	return text + ": " + e.Message
}

// IsNotFound reports whether Cyberun itself answered 404.
func IsNotFound(err error) bool { return refusal(err) == http.StatusNotFound }

// refusal returns the status of an answer of Cyberun's own that is not 2xx; 0 for any
// other error.
func refusal(err error) int {
	if e, ok := errors.AsType[*APIError](err); ok && e.JSON {
		return e.Status
	}
	return 0
}

// SaysMissing reports whether an answer about a task or its result says that it is
// not there, or not for this key: by a 403, 404 or 410, which need not be Cyberun's own.
func SaysMissing(err error) bool {
	e, ok := errors.AsType[*APIError](err)
	return ok && (e.Status == http.StatusForbidden || e.Status == http.StatusNotFound || e.Status == http.StatusGone)
}

// AnswerError is an answer whose status is 2xx and whose body cannot be used: it
// lacks what the call needs, is about something else, or broke off.
type AnswerError struct {
	Method string
	Path   string
	Status int
	Reason string // ends the sentence "Cyberun answered 200 to GET /r/tasks/x …"; redacted
	err    error  // what broke the body off, for errors.Is
}

func (e *AnswerError) Error() string {
	return fmt.Sprintf("Cyberun answered %d to %s %s %s", e.Status, e.Method, e.Path, e.Reason)
}

func (e *AnswerError) Unwrap() error { return e.err }

// GoString returns what %#v prints: the text of Error, which holds no secret.
func (e *AnswerError) GoString() string { return fmt.Sprintf("&cyberun.AnswerError{%q}", e.Error()) }

// unusable makes the [*AnswerError] of a response.
func (a response) unusable(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &AnswerError{Method: a.request.method, Path: redact.Text(a.request.path, a.secrets...), Status: a.status,
		Reason: redact.Line(maxMessage, err.Error(), a.secrets...), err: errors.Unwrap(err)}
}

// decode reads the body, which has to be a JSON object, into v.
func (a response) decode(v any) error {
	err := json.Unmarshal(a.body, v)
	if err == nil {
		return nil
	}
	if _, ok := parseLooseJSON(a.body); !ok {
		return a.unusable("but not with a JSON object: %s", a.start(maxCode))
	}
	return a.unusable("%s", err)
}

// start returns the start of the body, redacted, in one line of at most most bytes.
func (a response) start(most int) string {
	return redact.Line(most, string(a.body[:min(len(a.body), maxErrorRead)]), a.secrets...)
}

// NetworkError is a call that got no answer, or a stream that broke off.
type NetworkError struct {
	Method string
	Path   string // as that of an [APIError]
	Err    error  `json:"-"` // what net/http said, without the address
	text   string // the redacted text of the whole
}

func (e *NetworkError) Error() string { return e.text }
func (e *NetworkError) Unwrap() error { return e.Err }

// GoString returns what %#v prints: the text of Error, which holds no secret.
func (e *NetworkError) GoString() string { return fmt.Sprintf("&cyberun.NetworkError{%q}", e.text) }

func networkError(method, path string, err error, secrets []string) error {
	err = redact.UnwrapURLError(err)
	path = redact.Text(path, secrets...)
	text := fmt.Sprintf("no answer from Cyberun to %s %s: %s", method, path, redact.Line(maxMessage, err.Error(), secrets...))
	return &NetworkError{Method: method, Path: path, Err: err, text: text}
}

// apiError makes the error of an answer whose status is not 2xx. A body that
// cannot be read changes nothing, since the status is known. It returns the body
// as well, which is not redacted.
func (c *Client) apiError(method, path string, res *http.Response, secrets []string) (e *APIError, body []byte) {
	e = &APIError{Method: method, Path: redact.Text(path, secrets...), Status: res.StatusCode}
	now := time.Now
	if c.Now != nil {
		now = c.Now
	}
	e.RetryAfter = retryafter.Wait(res.Header, now(), maxRetryAfter)
	body, _ = io.ReadAll(io.LimitReader(res.Body, maxErrorRead))
	body = bytes.TrimPrefix(body, byteOrderMark)
	var o looseJSON
	o, e.JSON = parseLooseJSON(body)
	code, message := o.codeAndMessage()
	e.Code = redact.Line(maxCode, code, secrets...)
	e.Message = redact.Line(maxMessage, message, secrets...)
	if e.Message == "" {
		e.Message = redact.Line(maxMessage, string(body), secrets...)
	}
	if to := res.Header.Get("Location"); to != "" && res.StatusCode/100 == 3 {
		e.Message = redact.Line(maxMessage, "a redirect to "+SignedURL(to).String()+", which is not followed; is the base URL right?", secrets...)
	}
	return e, body
}

// messageFields are where an error's message may be, in an error body or in an object
// in its place.
var messageFields = []string{"message", "error", "detail", "title", "reason"}

// codeAndMessage looks for a code and a message in an error body, whose shape is
// not documented: see the package's notes.
func (o looseJSON) codeAndMessage() (code, message string) {
	code, details := o.text("code"), o.details()
	for _, name := range messageFields {
		message = o.text(name)
		if inner, ok := parseLooseJSON(o[name]); ok {
			code = cmp.Or(code, inner.text("code"))
			details = cmp.Or(details, inner.details())
			message = firstText(inner, messageFields...)
		}
		if message != "" {
			break
		}
	}
	if details != "" {
		message = strings.TrimPrefix(message+": "+details, ": ")
	}
	return code, message
}

// details reads the part of an error body that names parameters: a list of
// objects with a name and a message, an object of messages by name, or a text. A
// detail that is a list is one, too; otherwise it is the message.
func (o looseJSON) details() string {
	return cmp.Or(o.faults("details"), o.faults("errors"), o.rows("detail"))
}

func (o looseJSON) faults(field string) string {
	if text := o.text(field); text != "" {
		return text
	}
	var byName map[string]string
	if json.Unmarshal(o[field], &byName) == nil {
		var lines []string
		for _, name := range slices.Sorted(maps.Keys(byName)) {
			lines = append(lines, name+" "+byName[name])
		}
		return strings.Join(lines, "; ")
	}
	return o.rows(field)
}

// rows reads a list of faults, each a text or an object. The place of one may be a
// path in a list, such as ["body", "parameters", "steps"].
func (o looseJSON) rows(field string) string {
	var rows []json.RawMessage
	if json.Unmarshal(o[field], &rows) != nil {
		return ""
	}
	var lines []string
	for _, raw := range rows {
		var text string
		if row, ok := parseLooseJSON(raw); ok {
			place := cmp.Or(firstText(row, "parameter", "field", "key", "name", "path", "loc"), strings.Join(row.texts("path"), "."), strings.Join(row.texts("loc"), "."))
			text = strings.TrimSpace(place + " " + firstText(row, "message", "error", "detail", "reason", "msg"))
		} else {
			_ = json.Unmarshal(raw, &text)
		}
		if text != "" {
			lines = append(lines, text)
		}
	}
	return strings.Join(lines, "; ")
}
