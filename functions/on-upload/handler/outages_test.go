package handler

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// TestMetadataBeyondASCII: S3 hands it out as RFC 2047 words, and no model is to
// be prompted with those.
func TestMetadataBeyondASCII(t *testing.T) {
	for told, want := range map[string]string{
		"a fir":                           "a fir",
		"=?UTF-8?Q?caf=C3=A9_am_Meer?=":   "café am Meer",
		"=?UTF-8?B?5bGx44Gu5aSV5pel?=":    "山の夕日",
		"=?UTF-8?Q?a?= =?UTF-8?Q?_b?=":    "a b",
		"=?us-ascii?Q?caf=E9?=":           "=?us-ascii?Q?caf=E9?=",
		"=?UTF-8?Q?a_=EF=BF=BD?=":         "a \ufffd",
		"=?unknown?Q?x?=":                 "=?unknown?Q?x?=",
		"=? is how a formula begins, 2=?": "=? is how a formula begins, 2=?",
	} {
		w := newWorld()
		key := "files/upscale/image/x.png"
		w.set(key, object{body: "x", etag: "e1", metadata: map[string]string{"param-prompt": told}})
		if _, err := w.Handle(t.Context(), bridge(key, "e1", "A")); err != nil {
			t.Fatal(err)
		}
		for _, input := range w.started {
			var r run.Request
			if err := json.Unmarshal([]byte(input), &r); err != nil || r.Parameters["prompt"] != want {
				t.Errorf("%q was taken for %q", told, r.Parameters["prompt"])
			}
		}
	}
}

// TestUnreadableRecordStopsNoOther, and still ends in the dead-letter queue.
func TestUnreadableRecordStopsNoOther(t *testing.T) {
	w := newWorld()
	w.set("jobs/a.json", object{body: job, etag: "e1"})
	w.set("jobs/b.json", object{body: job, etag: "e1"})
	raw := `{"Records":[` + strings.Join([]string{classic("jobs/a.json"), classic("jobs/%zz.json"), `{}`, classic("jobs/b.json")}, ",") + `]}`
	out, err := w.Handle(t.Context(), Input{json.RawMessage(raw)})
	if !named.Is(err, named.InvalidRequest) || len(out.Started) != 2 || len(w.started) != 2 {
		t.Errorf("%+v, %v", out, err)
	}
	w.set("jobs/a.json", object{err: answered(http.StatusServiceUnavailable)})
	if _, err := w.Handle(t.Context(), Input{json.RawMessage(raw)}); !named.Is(err, named.Unavailable) {
		t.Errorf("the passing failure is not what is told: %v", err)
	}
}

// TestPassingFailures fail the call, which comes again; nothing is rejected for them.
func TestPassingFailures(t *testing.T) {
	for name, err := range map[string]error{"forbidden": answered(http.StatusForbidden), "throttled": answered(http.StatusServiceUnavailable), "no answer": errors.New("x")} {
		for _, key := range []string{"jobs/x.json", "files/upscale/image/x.png"} {
			w := newWorld()
			w.set(key, object{err: err})
			if out, err := w.Handle(t.Context(), bridge(key, "e1", "A")); !named.Is(err, named.Unavailable) || len(w.rejected(t))+len(out.Started) > 0 {
				t.Errorf("%s, %s: %+v, %v", name, key, out, err)
			}
		}
	}
	w := newWorld()
	w.set("jobs/x.json", object{body: "{", etag: "e1"})
	w.away["rejected/jobs/x.json"] = answered(http.StatusServiceUnavailable)
	if _, err := w.Handle(t.Context(), bridge("jobs/x.json", "e1", "A")); !named.Is(err, named.Unavailable) {
		t.Errorf("a rejection that nobody can read: %v", err)
	}
}

// TestNoLoop: nothing that on-upload writes makes it write again.
func TestNoLoop(t *testing.T) {
	for _, key := range []string{"jobs/x.json", "files/x.png", "jobs/jobs/x.txt", "files/jobs/x.json"} {
		w := newWorld()
		w.set(key, object{body: "{", etag: "e1"})
		out, err := w.Handle(t.Context(), bridge(key, "e1", "A"))
		if err != nil || len(out.Rejected) != 1 {
			t.Fatalf("%s: %+v, %v", key, out, err)
		}
		w.set(out.Rejected[0], object{body: "{", etag: "e2"})
		again, err := w.Handle(t.Context(), bridge(out.Rejected[0], "e2", "B"))
		if err != nil || again.Ignored != 1 || len(w.s3.Keys(inbox, rejectedPrefix)) != 1 {
			t.Errorf("%s: %+v, %v", out.Rejected[0], again, err)
		}
	}
}
