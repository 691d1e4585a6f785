package cyberun

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// seeds are documented answers, and the ways in which they go wrong.
func seeds(f *testing.F, documented ...string) {
	for _, s := range append(documented,
		`{}`, `null`, `[]`, `""`, `0`, ``, `{`, "\xff\xfe", "<html>502</html>", `{"id":null}`, `{"id":{}}`, `{"id":1e999,"version":1e999}`,
		`{"workflow_list":null}`, `{"task_list":[null]}`, `{"task_list":[{"id":"\u0000"}]}`, `{"page_meta":7,"task_list":[]}`,
		`{"id":"a","id":"b"}`, `[[[[[[`, `{"id":"t-1","task_error":{"message":{"message":{"message":1}}}}`) {
		f.Add([]byte(s))
	}
}

// usable checks what holds of every decoded answer: what is accepted can be
// written again, and what is not is an error of the client's own, of one line.
func usable(t *testing.T, v any, err error) {
	t.Helper()
	if err == nil {
		if _, err := json.Marshal(v); err != nil {
			t.Errorf("%#v cannot be written: %v", v, err)
		}
		return
	}
	e, ok := errors.AsType[*AnswerError](err)
	if !ok || len(e.Reason) > maxMessage+len("…") || strings.ContainsAny(e.Error(), "\n\x00") || !utf8.ValidString(e.Error()) {
		t.Errorf("%T %q", err, err)
	}
}

// answering is a client to which every call is answered with a 200 and this body.
func answering(b []byte) *Client {
	return &Client{BaseURL: "http://cyberun.test", Keys: StaticKey(testKey), HTTP: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(b))}, nil
	})}}
}

func FuzzWorkflow(f *testing.F) {
	seeds(f, workflowJSON)
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := answering(b).Workflow(t.Context(), "x@2")
		usable(t, w, err)
		if err == nil && (w.ID == "" || w.Slug == "") {
			t.Errorf("%#v", w)
		}
	})
}

func FuzzWorkflowList(f *testing.F) {
	seeds(f, `{"workflow_list":[`+workflowJSON+`],"page_meta":{"current_page":1,"per_page":20,"total_count":1}}`)
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := answering(b).Workflows(t.Context(), Page{})
		usable(t, l, err)
	})
}

func FuzzTask(f *testing.F) {
	seeds(f, taskJSON, strings.Replace(taskJSON, `"task_error":null`, `"task_error":{"message":"x"}`, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := answering(b).Task(t.Context(), "t-1")
		usable(t, v, err)
		if err == nil && !strings.EqualFold(v.ID, "t-1") || len(v.Error) > maxTaskError+len("…") {
			t.Errorf("%#v", v)
		}
	})
}

func FuzzTaskList(f *testing.F) {
	seeds(f, `{"task_list":[`+taskJSON+`],"page_meta":{"current_page":1,"per_page":20,"total_count":1}}`)
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := answering(b).Tasks(t.Context(), Page{})
		usable(t, l, err)
		for _, row := range l.Tasks {
			if row.ID == "" || len(row.ID) > maxID {
				t.Errorf("%#v", row)
			}
		}
	})
}

func FuzzResult(f *testing.F) {
	seeds(f, `{"id":"t-1","task_status":"completed","task_output":{"storage_key":"k","image_count":1},"download_url":"`+signed+`","expires_at":"2026-11-23T11:00:00Z"}`,
		`{"id":"t-1","task_status":"completed","download_urls":{"9.images.0":"`+signed+`"},"task_output":{"9.images.0":{"s3_key":"k"}}}`)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := answering(b).Result(t.Context(), "t-1")
		usable(t, r, err)
		for id, u := range r.DownloadURLs {
			if u == "" {
				t.Errorf("%q has no address", id)
			}
		}
	})
}

func FuzzReceipt(f *testing.F) {
	seeds(f, `{"task_id":"9a1f3a52-0000-4000-8000-000000000000"}`)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := answering(b).StartTask(t.Context(), "x", nil)
		usable(t, r, err)
		if err == nil && (r == "" || len(r) > maxID) {
			t.Errorf("%#v", r)
		}
	})
}

func FuzzPresigned(f *testing.F) {
	seeds(f, `{"file_key":"k","upload_url":"`+signed+`","upload_headers":{"Content-Length":"5","If-None-Match":"*"}}`)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := answering(b).Presign(t.Context(), PresignRequest{})
		usable(t, p, err)
		if err == nil {
			uploadRequest(t.Context(), p, 5) // an error, not a panic
		}
	})
}

// FuzzCancel: only a JSON object that does not deny success is a yes.
func FuzzCancel(f *testing.F) {
	seeds(f, `{"success":true}`, `{"success":false}`, `{"success":null}`, `{"success":"no"}`)
	f.Fuzz(func(t *testing.T, b []byte) {
		err := answering(b).Cancel(t.Context(), "t-1")
		usable(t, nil, err)
		if o, ok := parseLooseJSON(b); err == nil && (!ok || o.present("success") && !o.boolean("success")) {
			t.Errorf("%q is a yes", b)
		}
	})
}

func FuzzErrorBody(f *testing.F) {
	seeds(f, `{"code":"c","message":"m"}`, `{"error":{"code":1,"message":"m"}}`, `{"message":{"message":{"a":1}}}`)
	for _, s := range echoes(testKey) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		res := &http.Response{StatusCode: 500, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(b))}
		e, _ := (&Client{}).apiError("GET", "/x", res, []string{testKey})
		text := e.Error()
		if e.Status != 500 || len(e.Message) > maxMessage+len("…") || strings.ContainsAny(text, "\n\x00") || !utf8.ValidString(text) {
			t.Errorf("%#v", e)
		}
		if strings.Contains(text, testKey) {
			t.Errorf("the key shows: %s", text)
		}
	})
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte(stream))
	for _, s := range []string{"", "data", "data:\n\n", ":\n\n", "\n\n\n", "\r\r\r", "event: completed\n\n", "event:\ndata: {}\n\n", "id: \x00\ndata: {}\n\n",
		"retry: 99999999999999999999\n\n", "data: {\"progress\":-1e99}\n\n", "event: progress\ndata: {\"progress\":\"NaN\"}\n\n", "\xef\xbb\xbf"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for e, err := range readEvents(bytes.NewReader(b)) {
			if err != nil {
				continue
			}
			if e.Type == "" || !(e.Progress >= 0 && e.Progress <= 1) {
				t.Errorf("%#v", e)
			}
		}
	})
}

func FuzzTime(f *testing.F) {
	for _, s := range []string{`"2026-11-23T10:00:00Z"`, `"2026-11-23 10:00:00 UTC"`, `1795428000`, `1795428000000`, `null`, `"9999-12-31T23:59:59-23:00"`, `9.9e10`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var v Time
		v.UnmarshalJSON([]byte(s))
		j, err := json.Marshal(v)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		var again Time
		if err := json.Unmarshal(j, &again); err != nil || again.Sub(v.Time).Abs() > time.Millisecond {
			t.Errorf("%s: %s, %v", s, j, err)
		}
	})
}
