package redact

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
)

func TestError(t *testing.T) {
	for text, want := range map[string]string{
		"connection reset by peer":                                     "connection reset by peer",
		`malformed MIME header line: X /out/a.png?geheim`:              `malformed MIME header line: X /out/a.png[redacted]`,
		`parse "https://s3.test:port/a.png?geheim": invalid port`:      `parse "https://s3.test:port/a.png[redacted]": invalid port`,
		`bad Location "X-Amz-Signature=geheim&x://y"`:                  `bad Location "[redacted]"`,
		`proxy says "Bearer geheim" and https://u:geheim@host/x`:       `proxy says "Bearer [redacted]" and https://[redacted]@host/x`,
		`unexpected EOF after GET https://s3.test/a?b=geheim, retried`: `unexpected EOF after GET https://s3.test/a[redacted] retried`,
	} {
		inner := &url.Error{Op: "Get", URL: signed, Err: &shownError{text: text, err: io.ErrUnexpectedEOF}}
		got := Error(fmt.Errorf("call: %w", &url.Error{Op: "Get", URL: signed, Err: inner}))
		if got.Error() != want || !errors.Is(got, io.ErrUnexpectedEOF) || strings.Contains(fmt.Sprintf("%v %+v %#v", got, got, got), "geheim") {
			t.Errorf("got %#v, want %q", got, want)
		}
	}
	if Error(nil) != nil || Error(io.EOF) != io.EOF {
		t.Error("an error that holds no secret is not returned as it is")
	}
}
