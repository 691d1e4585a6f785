package handler

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
)

// Four MiB of bytes that are no text pass both ways; what Lambda would not
// return, or take, is told.
func TestSizes(t *testing.T) {
	w := newWorld(t)
	const fourMiB = 4 << 20
	binary := strings.Repeat("\x00\xff", fourMiB/2)
	for _, test := range []struct {
		name    string
		content string
		fits    bool
	}{
		{"4 MiB of binary", binary, true},
		{"4.7 MB of binary", strings.Repeat("\xff", 4_700_000), true},
		{"5 MB of binary", strings.Repeat("\xff", 5_000_000), false},
		{"4 MiB that JSON would double", strings.Repeat("\"", fourMiB), true},
		{"6 MB of text", strings.Repeat("a", 6_000_000), true},
		{"6.2 MB of lines", strings.Repeat("line after line after line\n", 229_630), false},
		{"7 MB of text", strings.Repeat("a", 7_000_000), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.c.call = func(context.Context, cyberun.ContainerCall) (*cyberun.ContainerAnswer, error) {
				return answers(200, test.content), nil
			}
			a := w.handle(event("GET", "/containers/echo/x", "", ""))
			if !test.fits {
				w.problem(a, 502, "ContainerAnswerTooLarge")
			} else if string(a.content) != test.content {
				t.Errorf("%d: %d bytes of %d", a.StatusCode, len(a.content), len(test.content))
			}
			payload, err := json.Marshal(a.APIGatewayV2HTTPResponse)
			if err != nil || len(payload) > maxResponse {
				t.Errorf("%d bytes to Lambda, %v", len(payload), err)
			}
		})
	}
	w.c.call = func(_ context.Context, k cyberun.ContainerCall) (*cyberun.ContainerAnswer, error) {
		return &cyberun.ContainerAnswer{Status: 200, Body: io.NopCloser(errReader{cyberun.ErrContainerAnswerTooLarge})}, nil
	}
	w.problem(w.handle(event("GET", "/containers/echo/x", "", "")), 502, "ContainerAnswerTooLarge")
	calls := len(w.c.calls)
	if a := w.handle(event("POST", "/containers/echo/x", "", binary)); a.StatusCode != 502 || w.c.bodies[calls] != binary {
		t.Errorf("%d, %d bytes", a.StatusCode, len(w.c.bodies[calls]))
	}
	calls = len(w.c.calls)
	w.problem(w.handle(event("POST", "/containers/echo/x", "", strings.Repeat("x", 5_000_000))), 413, "ContainerBodyTooLarge")
	if len(w.c.calls) != calls {
		t.Error("a body that is too large was sent")
	}
}

// An answer fits exactly if what aws-lambda-go hands to Lambda does.
func TestSizesToTheByte(t *testing.T) {
	w := newWorld(t)
	payload := func(content string) (answer, int) {
		t.Helper()
		w.c.call = func(context.Context, cyberun.ContainerCall) (*cyberun.ContainerAnswer, error) {
			return answers(200, content, "Link", "</next>; rel=next", "Set-Cookie", "a=1"), nil
		}
		a := w.handle(event("GET", "/containers/echo/x", "", ""))
		raw, err := lambda.NewHandler(func() (events.APIGatewayV2HTTPResponse, error) { return a.APIGatewayV2HTTPResponse, nil }).Invoke(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return a, len(raw)
	}
	_, text := payload("")
	_, binary := payload("\xff")
	room := maxResponse - (binary - len("/w=="))
	for _, test := range []struct {
		name, unit string
		most       int // of the unit
	}{
		{"text", "a", maxResponse - text},
		{"binary", "\xff", room / 4 * 3},
	} {
		a, n := payload(strings.Repeat(test.unit, test.most))
		if a.StatusCode != 200 || n > maxResponse || n <= maxResponse-4 {
			t.Errorf("%s of %d bytes: %d in a payload of %d", test.name, test.most, a.StatusCode, n)
		}
		a, _ = payload(strings.Repeat(test.unit, test.most+1))
		w.problem(a, 502, "ContainerAnswerTooLarge")
	}
	// The frame of an answer in base64 is longer: all that is near the limit.
	for most := (maxResponse - text) / 4 * 3; most > room/4*3; most -= 3 {
		a, _ := payload(strings.Repeat("\xff", most))
		w.problem(a, 502, "ContainerAnswerTooLarge")
	}
	e := event("POST", "/containers/echo/x", "", "")
	for length, status := range map[int]int{maxRequest: 200, maxRequest + 1: 413} {
		w.c.call = func(context.Context, cyberun.ContainerCall) (*cyberun.ContainerAnswer, error) {
			return answers(200, ""), nil
		}
		e.Body = strings.Repeat("x", length)
		if a := w.handle(e); a.StatusCode != status {
			t.Errorf("a body of %d: %d", length, a.StatusCode)
		}
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// FuzzTextLength: what textLength says is what encoding/json needs, and JSON
// brings the same bytes back.
func FuzzTextLength(f *testing.F) {
	f.Add("Grüße\n\t\"\\ \u2028<&>")
	f.Fuzz(func(t *testing.T, text string) {
		n, ok := textLength([]byte(text))
		if !ok {
			return
		}
		var out strings.Builder
		e := json.NewEncoder(&out)
		e.SetEscapeHTML(false) // as aws-lambda-go does
		if err := e.Encode(text); err != nil {
			t.Fatal(err)
		}
		var back string
		if err := json.Unmarshal([]byte(out.String()), &back); err != nil || back != text || out.Len() != n+len("\"\"\n") {
			t.Errorf("%q: %d, not %d: %v", text, n, out.Len()-3, err)
		}
	})
}
