package redact

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
)

const (
	key         = "sk-local-1"
	secretQuery = "X-Amz-Credential=AKIAGEHEIM&X-Amz-Signature=geheim0123"
	signed      = "https://s3.test/bucket/o.png?" + secretQuery
)

func TestText(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{name: "nothing secret", text: "look at https://status.example/ . Is it up?\nLine 2: a/b?", want: "look at https://status.example/ . Is it up?\nLine 2: a/b?"},
		{name: "the hint of a missing key", text: "put a valid sk-… key into the secret", want: "put a valid sk-… key into the secret"},
		{name: "a query", text: "see <" + signed + ">, " + signed, want: "see <https://s3.test/bucket/o.png?[redacted]>, https://s3.test/bucket/o.png?[redacted]"},
		{name: "a query in JSON", text: `{"url":"https:\/\/s3.test\/o?a=geheim"}`, want: `{"url":"https:\/\/s3.test\/o?[redacted]"}`},
		{name: "an encoded query", text: "https%3A%2F%2Fs3.test%2Fo%3Fa%3Dgeheim", want: "https%3A%2F%2Fs3.test%2Fo?[redacted]"},
		{name: "a fragment", text: "https://s3.test/o#geheim", want: "https://s3.test/o?[redacted]"},
		{name: "the query of a path", text: `Location: "/o?a=geheim"`, want: `Location: "/o?[redacted]"`},
		{name: "a password", text: "https://user:geheim@s3.test/o", want: "https://[redacted]@s3.test/o"},
		{name: "a signature alone", text: "X-Amz-Signature=geheim, Key-Pair-Id: geheim", want: "X-Amz-Signature=[redacted], Key-Pair-Id: [redacted]"},
		{name: "a signature in XML", text: "<SignatureProvided>geheim</SignatureProvided>", want: "<SignatureProvided>[redacted]</SignatureProvided>"},
		{name: "a token", text: "page=2&token=geheim", want: "page=2&token=[redacted]"},
		{name: "a secret in JSON", text: `{"token": "geheim", "X-Amz-Date":"geheim`, want: `{"token":"[redacted]", "X-Amz-Date":"[redacted]"`},
		{name: "a bearer token", text: "Authorization: Bearer geheim", want: "Authorization: Bearer [redacted]"},
		{name: "keys by their shape", text: "dk-geheim.x, sk-geheim and whsec_geheim", want: "dk-[redacted], sk-[redacted] and whsec_[redacted]"},
		{name: "words that end as a key begins", text: "task-1 disk-2", want: "task-1 disk-2"},
		{name: "not UTF-8", text: "a\xffb", want: "a?b"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := Text(test.text); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestTextWithSecrets(t *testing.T) {
	const odd = `odd"key+/&<`
	for _, text := range []string{odd, fmt.Sprintf("%q", odd), url.QueryEscape(odd), url.PathEscape(odd)} {
		if got := Text("your key "+text+" is wrong", "", odd); strings.Contains(got, "key+") || strings.Contains(got, "key%2B") || !strings.Contains(got, Placeholder) {
			t.Errorf("%s became %s", text, got)
		}
	}
}

// A replacement may put a secret together that the text had in pieces.
func TestTextThatBecomesASecret(t *testing.T) {
	const key = `token":"`
	if got := Text(`{"token" : "x"}`, key); strings.Contains(got, key) {
		t.Errorf("got %s", got)
	}
}

func TestLine(t *testing.T) {
	if got, want := Line(20, " a\r\n\tb\u2028c\x00d "), "a b c d"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// The key is redacted before the text is cut, or a part of it would remain.
	if got := Line(20, strings.Repeat("a", 12)+" "+key, key); len(got) > 20+len("…") || strings.Contains(got, "sk-l") {
		t.Errorf("got %q", got)
	}
}

func TestUnwrapURLError(t *testing.T) {
	reset := errors.New("reset")
	for name, err := range map[string]error{
		"net/http's":         &url.Error{Op: "Get", URL: signed, Err: reset},
		"within another one": &url.Error{Op: "Get", URL: signed, Err: fmt.Errorf("proxy: %w", &url.Error{Op: "Get", URL: signed, Err: reset})},
		"wrapped":            fmt.Errorf("copy: %w", &url.Error{Op: "Get", URL: signed, Err: reset}),
		"any other":          reset,
	} {
		if got := UnwrapURLError(err); got != reset {
			t.Errorf("%s: %v", name, got)
		}
	}
	if UnwrapURLError(nil) != nil {
		t.Error("nil became an error")
	}
}

func TestSignedURLNeverPrintsItsQuery(t *testing.T) {
	for name, u := range map[string]SignedURL{
		"signed": signed, "with a password": "https://user:geheim@s3.test/x", "a fragment": "https://s3.test/x#geheim",
		"not an address": "geheim", "not parsable": "https://s3.test/%zz?geheim",
	} {
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Error("x", "v", u)
		slog.New(slog.NewJSONHandler(&log, nil)).Error("x", "v", u)
		raw, err := json.Marshal(map[string]any{"u": u, "list": []SignedURL{u}})
		text := fmt.Sprintf("%v\n%+v\n%#v\n%s\n%q\n%x\n%d\n%v\n%s", u, u, u, u, u, u, u, struct{ U SignedURL }{u}, raw) + log.String()
		if err != nil || strings.Contains(text, "geheim") || strings.Contains(text, fmt.Sprintf("%x", "geheim")) {
			t.Errorf("%s: %v, %s", name, err, text)
		}
	}
	const want = `https://s3.test/bucket/o.png?[redacted]|"https://s3.test/bucket/o.png?[redacted]"|redact.SignedURL("https://s3.test/bucket/o.png?[redacted]")`
	if got := fmt.Sprintf("%v|%q|%#v", SignedURL(signed), SignedURL(signed), SignedURL(signed)); got != want {
		t.Errorf("got %s", got)
	}
	if s := SignedURL("https://s3.test/a").String() + SignedURL("").String(); s != "https://s3.test/a" {
		t.Errorf("got %s", s)
	}
}

func FuzzRedaction(f *testing.F) {
	for _, s := range []string{"", "Bearer ", signed + "&k=", `{"token":"`, "https%3A%2F%2Fs3.test%2Fo%3F", "https://user:"} {
		f.Add(s, "", key)
	}
	f.Add("a", "b", `odd"key+/&<`)
	f.Fuzz(func(t *testing.T, before, after, key string) {
		odd := func(r rune) bool { return r <= ' ' || r > '~' || r == '[' || r == ']' }
		if len(key) < 4 || strings.ContainsFunc(key, odd) || strings.Contains(Placeholder, key) {
			return // no key that a client would use, or one that the placeholder itself holds
		}
		const most = 500
		if got := Line(most, before+key+after, key); strings.Contains(got, key) || len(got) > most+len("…") {
			t.Errorf("%q", got)
		}
		if s := SignedURL("https://s3.test/x?" + key); strings.Contains(s.String(), key) {
			t.Errorf("%v", s)
		}
	})
}
