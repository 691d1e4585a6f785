package cyberun

import (
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

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
	"github.com/cyberun-cloud/cyberun-relay/shared/retryafter"
)

const (
	// maxErrorRead is what is read of an error's body; redaction sees all of
	// it, so that a key cut in two at maxErrorBody does not slip through.
	maxErrorRead = 64 << 10
	// maxErrorBody is what an APIError keeps of it, and maxMessage what its
	// text shows: a run's error has to fit Step Functions' 32 KiB cause with
	// room to spare, and a log line should stay readable.
	maxErrorBody = 4 << 10
	maxMessage   = 500
	// maxRetryAfter is a day: nobody waits longer for a passing fault, and a
	// larger number would overflow a Duration.
	maxRetryAfter = 24 * time.Hour
)

// APIError is an answer whose status is not 2xx. All its text is redacted.
type APIError struct {
	Method     string
	Path       string // below the base URL; host and path for an upload
	Status     int
	Code       string        // the remote's own, if it gave one
	Message    string        // the remote's own, else the start of the body; one line
	RetryAfter time.Duration // 0: not said
	Date       time.Time     // the server's clock
	Body       string        // its first 4 KiB
	// JSON says that the body is a JSON object, as Cyberun's own errors are. What
	// a proxy, a firewall or a store in front of it says mostly is not, and is
	// never taken for Cyberun's word.
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

// Temporary says whether the same call may succeed later. It does not say that
// a run may be posted again: see RunError.
func (e *APIError) Temporary() bool {
	return e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout || e.Status >= 500
}

// IsNotFound reports whether Cyberun itself answered 404.
func IsNotFound(err error) bool {
	e, ok := errors.AsType[*APIError](err)
	return ok && e.JSON && e.Status == http.StatusNotFound
}

// IsGone reports whether an answer about a task or its result says that it is
// not there, or not for this key: 403, 404 or 410, whoever said it.
func IsGone(err error) bool {
	e, ok := errors.AsType[*APIError](err)
	return ok && (e.Status == http.StatusForbidden || e.Status == http.StatusNotFound || e.Status == http.StatusGone)
}

// AnswerError is a 2xx that lacks what the call needs, or is about something
// else, or broke off.
type AnswerError struct {
	Method string
	Path   string
	Status int
	Reason string // follows "Cyberun answered 200 to GET /r/tasks/x "
	Date   time.Time
	err    error // what broke the body off, for errors.Is
}

func (e *AnswerError) Error() string {
	return fmt.Sprintf("Cyberun answered %d to %s %s %s", e.Status, e.Method, e.Path, e.Reason)
}

func (e *AnswerError) Unwrap() error { return e.err }

func (e *AnswerError) GoString() string { return fmt.Sprintf("&cyberun.AnswerError{%q}", e.Error()) }

// bad is the error for a 2xx that cannot be used.
func (a answer) bad(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &AnswerError{Method: a.call.method, Path: redact.Text(a.call.path, a.secrets...), Status: a.status,
		Reason: redact.Line(maxMessage, err.Error(), a.secrets...), Date: a.date, err: errors.Unwrap(err)}
}

// decode reads the body as one JSON object into v.
func (a answer) decode(v any) error {
	if err := json.Unmarshal(a.body, v); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) || !strings.HasPrefix(strings.TrimSpace(string(a.body[:min(len(a.body), 64)])), "{") {
			return a.bad("but not with a JSON object: %s", redact.Line(100, string(a.body[:min(len(a.body), maxErrorRead)]), a.secrets...))
		}
		return a.bad("%s", err)
	}
	return nil
}

// NetworkError is a call without an answer.
type NetworkError struct {
	Method string
	Path   string
	Err    error `json:"-"`
	text   string
}

func (e *NetworkError) Error() string    { return e.text }
func (e *NetworkError) Unwrap() error    { return e.Err }
func (e *NetworkError) GoString() string { return fmt.Sprintf("&cyberun.NetworkError{%q}", e.text) }

func networkError(method, path string, err error, secrets []string) error {
	err = redact.UnwrapURLError(err)
	path = redact.Text(path, secrets...)
	text := fmt.Sprintf("no answer from Cyberun to %s %s: %s", method, path, redact.Line(maxMessage, err.Error(), secrets...))
	return &NetworkError{Method: method, Path: path, Err: err, text: text}
}

// apiError reads what there is to know of a refusal. That the body cannot be
// read changes nothing: the status is known.
func (c *Client) apiError(method, path string, res *http.Response, secrets []string) *APIError {
	e := &APIError{Method: method, Path: redact.Text(path, secrets...), Status: res.StatusCode, Date: dateOf(res.Header)}
	e.RetryAfter = retryafter.Wait(res.Header, c.now(), maxRetryAfter)
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorRead))
	_, e.JSON = parseObject(body)
	e.Code, e.Message = explain(body)
	e.Code = redact.Line(100, e.Code, secrets...)
	e.Message = redact.Line(maxMessage, e.Message, secrets...)
	e.Body = named.Shorten(maxErrorBody, redact.Text(string(body), secrets...))
	if e.Message == "" {
		e.Message = redact.Line(maxMessage, string(body), secrets...)
	}
	if to := res.Header.Get("Location"); to != "" && res.StatusCode/100 == 3 {
		e.Message = redact.Line(maxMessage, "a redirect to "+SignedURL(to).String()+", which is not followed; is the base URL right?", secrets...)
	}
	return e
}

// explain finds a code and a message in an error body of unknown shape.
func explain(body []byte) (code, message string) {
	o, ok := parseObject(body)
	if !ok {
		return "", ""
	}
	code = o.text("code")
	for _, name := range []string{"message", "error", "detail", "title", "reason"} {
		if inner, ok := parseObject(o[name]); ok {
			if code == "" {
				code = inner.text("code")
			}
			message = firstText(inner, "message", "error", "detail", "title", "reason")
		} else {
			message = o.text(name)
		}
		if message != "" {
			break
		}
	}
	if details := o.details(); details != "" {
		message = strings.TrimPrefix(message+": "+details, ": ")
	}
	return code, message
}

// details reads the part of an error body that names parameters: a list of
// objects with a name and a message, an object of messages by name, or a text.
func (o object) details() string {
	if text := o.text("details"); text != "" {
		return text
	}
	var byName map[string]string
	if json.Unmarshal(o["details"], &byName) == nil {
		var lines []string
		for _, name := range slices.Sorted(maps.Keys(byName)) {
			lines = append(lines, name+" "+byName[name])
		}
		return strings.Join(lines, "; ")
	}
	var rows []json.RawMessage
	if json.Unmarshal(o["details"], &rows) != nil {
		return ""
	}
	var lines []string
	for _, raw := range rows {
		var text string
		if row, ok := parseObject(raw); ok {
			text = strings.TrimSpace(firstText(row, "parameter", "field", "key", "name", "path") + " " + firstText(row, "message", "error", "detail", "reason", "msg"))
		} else {
			_ = json.Unmarshal(raw, &text)
		}
		if text != "" {
			lines = append(lines, text)
		}
	}
	return strings.Join(lines, "; ")
}
