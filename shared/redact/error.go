package redact

import "regexp"

// query is the query of any URL, also of one without a host, as in a request's
// line, and what a header's name begins with x-amz-: net/http quotes what it
// cannot parse of an answer, and so whatever that repeats of the request.
var query = regexp.MustCompile(`(\?|(?i:x-amz-))[^\s"]*`)

// Error returns an error of net/http, or of a client above it, as one whose text
// is fit to be shown: by [UnwrapURLError], without any query, and by [Text].
// errors.Is and errors.As find in it what they find in err.
func Error(err error) error {
	if err = UnwrapURLError(err); err == nil {
		return nil
	}
	text := Text(query.ReplaceAllString(err.Error(), Mark))
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
