package httpapi

import (
	"net/url"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/google/go-cmp/cmp"
)

func TestProblem(t *testing.T) {
	tests := []struct {
		name      string
		err       *named.Error
		container any
		status    int
		want      string
		retry     string
	}{
		{name: "every violation", err: violations(t), status: 400,
			want: `{"type":"urn:cyberun-relay:error:InvalidRequest","title":"InvalidRequest","status":400,"detail":"limit: is odd","hint":"H","errors":[{"parameter":"limit","message":"is odd"}]}`},
		{name: "a passing state", err: &named.Error{Name: named.Unavailable, Cause: "away"}, status: 503, retry: "30",
			want: `{"type":"urn:cyberun-relay:error:Unavailable","title":"Unavailable","status":503,"detail":"away"}`},
		{name: "about a container", err: &named.Error{Name: named.ContainerNotRunning, Cause: "stopped"}, container: map[string]string{"slug": "a"}, status: 409,
			want: `{"type":"urn:cyberun-relay:error:ContainerNotRunning","title":"ContainerNotRunning","status":409,"detail":"stopped","container":{"slug":"a"}}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := Problem(test.err, test.container)
			if diff := cmp.Diff(test.want+"\n", got.Body); diff != "" {
				t.Error(diff)
			}
			if got.StatusCode != test.status || got.Headers[ErrorHeader] != test.err.Name || got.Headers["retry-after"] != test.retry ||
				got.Headers["content-type"] != "application/problem+json" || got.Headers["cache-control"] != "no-store" {
				t.Errorf("%+v", got)
			}
		})
	}
}

func violations(t *testing.T) *named.Error {
	t.Helper()
	e, ok := named.As(named.Violations{{Parameter: "limit", Message: "is odd"}}.Err())
	if !ok {
		t.Fatal("violations have no name")
	}
	e.Hint = "H"
	return e
}

func TestBodies(t *testing.T) {
	for sent, want := range map[string]string{"": "", "{}": "{}", "\x00": "\x00"} {
		if got, err := Body(Request{Body: sent}); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", sent, got, err)
		}
	}
	if got, err := Body(Request{Body: "/wA=", IsBase64Encoded: true}); err != nil || string(got) != "\xff\x00" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := Body(Request{Body: "{", IsBase64Encoded: true}); !named.Is(err, named.InvalidRequest) {
		t.Error(err)
	}
}

func TestHeaderInAnyCase(t *testing.T) {
	r := Request{Headers: map[string]string{"Idempotency-Key": ""}}
	if value, found := Header(r, "idempotency-key"); value != "" || !found {
		t.Errorf("%q, %t", value, found)
	}
	if _, found := Header(r, "idempotency"); found {
		t.Error("found a header that was not sent")
	}
}

// FuzzPages: whatever the query says, a page is within its bounds or refused, and
// a cursor that was given out is taken back as it was.
func FuzzPages(f *testing.F) {
	for _, q := range []string{"", "limit=1", "limit=0", "limit=101", "limit=1e2", "cursor=Mg", "cursor=_w", "cursor=" + strings.Repeat("YWFh", 500)} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		q, err := Query(Request{RawQueryString: query})
		if err != nil {
			return
		}
		var violations named.Violations
		page := ReadPage(q, 20, &violations)
		if len(violations) > 0 {
			return
		}
		if page.Limit < 1 || page.Limit > maxLimit || len(page.Cursor) > maxCursor {
			t.Fatalf("%q: %+v", query, page)
		}
		again := ReadPage(url.Values{"cursor": {EncodeCursor(page.Cursor)}}, 20, &violations)
		if again.Cursor != page.Cursor || len(violations) > 0 {
			t.Fatalf("%q came back as %q, %v", page.Cursor, again.Cursor, violations)
		}
		if _, number, err := NumberedPage(Request{RawQueryString: query}, 20); err == nil && number < 1 {
			t.Fatalf("%q is page %d", page.Cursor, number)
		}
	})
}

func TestNextNumber(t *testing.T) {
	tests := []struct {
		name                string
		number, rows, total int
		want                string
	}{
		{name: "more follow", number: 1, rows: 2, total: 3, want: EncodeCursor("2")},
		{name: "the last page", number: 2, rows: 1, total: 3},
		{name: "more may follow in a list of unknown length", number: 1, rows: 2, total: -1, want: EncodeCursor("2")},
		{name: "the last page of a list of unknown length", number: 2, rows: 1, total: -1},
		{name: "a page that claims more and shows none", number: 1, rows: 0, total: 3},
	}
	for _, test := range tests {
		if got := (Page{Limit: 2}).NextNumber(test.number, test.rows, test.total); got != test.want {
			t.Errorf("%s: %q", test.name, got)
		}
	}
}
