package redact

import "regexp"

// query matches the query of a URL, also of one without a host, as the first line of a
// request has it, and what begins with x-amz-, such as the name of a header with its
// value. net/http quotes an answer that it cannot parse, and the answer may repeat
// these from the request.
var query = regexp.MustCompile(`(\?|(?i:x-amz-))[^\s"]*`)

// Error returns an error of net/http, or of a client that uses it, with a text that is
// safe to show: without the address that [UnwrapURLError] removes, without any query,
// and after [Text]. errors.Is and errors.As find in it what they find in the error
// inside the url.Error. nil stays nil.
func Error(err error) error {
	if err = UnwrapURLError(err); err == nil {
		return nil
	}
	text := Text(query.ReplaceAllString(err.Error(), Placeholder))
	if text == err.Error() {
		return err
	}
	return &shownError{text: text, err: err}
}

// shownError is an error under a text of its own.
type shownError struct {
	text string
	err  error
}

func (e *shownError) Error() string    { return e.text }
func (e *shownError) Unwrap() error    { return e.err }
func (e *shownError) GoString() string { return e.text }
