package main

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestRefusals(t *testing.T) {
	c := newClient(t, fast)
	const image, v1 = "/r/workflows/slug/text-to-image/run", "/r/workflows/slug/text-to-image@1/run"
	tests := []struct {
		name, method, path, body string
		status                   int
		says                     []string
	}{
		{"unknown workflow", "GET", "/r/workflows/slug/none", "", 404, []string{"workflow_not_found"}},
		{"unknown version", "GET", "/r/workflows/slug/text-to-image@7", "", 404, nil},
		{"unknown id", "GET", "/r/workflows/text-to-image", "", 404, nil},
		{"disabled", "POST", "/r/workflows/slug/legacy-sketch/run", `{"parameters":{"prompt":"x"}}`, 422, []string{"workflow_disabled"}},
		{"no JSON", "POST", image, `{`, 400, []string{"invalid_json"}},
		{"two values", "POST", image, `{}{}`, 400, nil},
		{"five faults", "POST", image, `{"parameters":{"steps":30.5,"width":1,"hd":"yes","style":"oil","colour":1}}`, 422,
			[]string{`"prompt"`, `"steps"`, `"width"`, `"hd"`, `"style"`, `"colour"`, "whole number", "at least 128", "photo, watercolor, ink"}},
		{"not in this version", "POST", v1, `{"parameters":{"prompt":"x","hd":true}}`, 422, []string{`"hd"`}},
		{"too many steps", "POST", image, `{"parameters":{"prompt":"x","steps":151}}`, 422, []string{"at most 150"}},
		{"a number that is none", "POST", image, `{"parameters":{"prompt":"x","steps":1e999999999}}`, 422, []string{"out of any range"}},
		{"file never uploaded", "POST", "/r/workflows/slug/upscale/run", `{"parameters":{"image":"inputs/none.png"}}`, 422, []string{"no uploaded file"}},
		{"unknown task", "GET", "/r/tasks/none", "", 404, []string{"task_not_found"}},
		{"page 0", "GET", "/r/tasks?current_page=0", "", 422, []string{"current_page"}},
		{"too large a file", "POST", "/r/files/presign", `{"file_name":"a","file_size":524288001,"content_type":"image/png"}`, 422, []string{"file_size"}},
		{"no such route", "GET", "/r/other", "", 404, []string{"no such route"}},
		{"too large a body", "POST", image, strings.Repeat("x", maxBody+1), 413, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			answer, got, err := c.do(test.method, test.path, test.body)
			if err != nil || answer.StatusCode != test.status {
				t.Fatalf("%v %v, want %d: %s", answer, err, test.status, got)
			}
			for _, want := range append(test.says, `"error"`, `"message"`, `"code"`) {
				if !strings.Contains(string(got), want) {
					t.Errorf("%s lacks %s", got, want)
				}
			}
			if answer.Header.Get("Date") == "" {
				t.Error("no Date: the relay tells the time by it")
			}
		})
	}
	if n := c.counts(); !strings.HasPrefix(n, "tasks 0 ") {
		t.Errorf("something was paid: %s", n)
	}
}

func TestKeys(t *testing.T) {
	c := newClient(t, fast)
	status := func(authorization string) int {
		answer, _, err := c.do("GET", "/r/workflows", "", "Authorization", authorization, "X-Team-ID", "other")
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode
	}
	if got := status("Bearer " + testKey); got != 200 {
		t.Errorf("the key: %d", got)
	}
	for _, wrong := range []string{"", "Bearer", "Bearer sk-other", testKey, "Basic " + testKey} {
		if got := status(wrong); got != 401 {
			t.Errorf("%q: %d", wrong, got)
		}
	}
	c.json("POST", "/_/keys", `{"keys":["sk-local-new"]}`, 200)
	if old, fresh := status("Bearer "+testKey), status("Bearer sk-local-new"); old != 401 || fresh != 200 {
		t.Errorf("after the rotation: old %d, new %d", old, fresh)
	}
	c.json("POST", "/_/reset", "", 200)
	if got := status("Bearer " + testKey); got != 200 {
		t.Errorf("after a reset: %d", got)
	}
}

// A task that a reset keeps is what the next test's runs know the list by.
func TestResetKeepsATask(t *testing.T) {
	c := newClient(t, 1)
	const endless = `{"prompt":"x","seconds":600}`
	c.run("text-to-image@1", endless)
	kept := c.run("text-to-image@1", endless)
	c.run("text-to-image@1", endless)
	c.json("POST", "/_/reset?keep="+kept, "", 200)
	rows := c.json("GET", "/r/tasks", "", 200)["task_list"].([]any)
	if len(rows) != 1 || rows[0].(map[string]any)["id"] != kept {
		t.Errorf("the list after the reset: %v", rows)
	}
	if got := c.counts(); !strings.HasPrefix(got, "tasks 1 ") {
		t.Errorf("the ledger counts %s", got)
	}
	c.json("POST", "/r/tasks/"+kept+"/cancel", "", 200)
	if got := c.counts(); !strings.HasSuffix(got, "cancelled 1") {
		t.Errorf("after its end the ledger counts %s", got)
	}
	c.json("POST", "/_/reset?keep=none", "", 200)
	if got := c.counts(); !strings.HasPrefix(got, "tasks 0 ") {
		t.Errorf("after a reset that keeps nothing: %s", got)
	}
}

func TestListsAndCancel(t *testing.T) {
	c := newClient(t, 1)
	var ids []string
	for i := range 25 {
		ids = append(ids, c.run("text-to-image@1", fmt.Sprintf(`{"prompt":"number %d","seconds":600}`, i)))
	}
	c.run("nerf-train", `{"scene":"s","seconds":600}`)
	rows := func(path string) []string {
		t.Helper()
		var got []string
		for _, one := range c.json("GET", path, "", 200)["task_list"].([]any) {
			got = append(got, one.(map[string]any)["id"].(string))
		}
		return got
	}
	flow := c.s.find("text-to-image").ID
	if got := rows("/r/tasks?workflow_id=" + flow); len(got) != 20 || got[0] != ids[24] || got[19] != ids[5] {
		t.Errorf("first page, newest first: %v", got)
	}
	if got := rows("/r/tasks?current_page=2&workflow_id=" + flow); len(got) != 5 || got[4] != ids[0] {
		t.Errorf("second page: %v", got)
	}
	if got := rows("/r/tasks?current_page=9223372036854775807"); len(got) != 0 {
		t.Errorf("a page past the end: %v", got)
	}
	meta := c.json("GET", "/r/tasks?per_page=1000", "", 200)["page_meta"].(map[string]any)
	if meta["per_page"] != 100.0 || meta["total_count"] != 26.0 || meta["current_page"] != 1.0 {
		t.Errorf("page_meta: %v", meta)
	}
	events := make(chan []string, 1)
	go func() { events <- c.end(ids[3]) }()
	for range 2 { // the second does nothing
		if c.json("POST", "/r/tasks/"+ids[3]+"/cancel", "", 200)["success"] != true {
			t.Error("no success")
		}
	}
	if got := <-events; got[len(got)-1] != "cancelled" {
		t.Errorf("events of a cancelled task: %v", got)
	}
	if got := rows("/r/tasks?status=cancelled"); len(got) != 1 || got[0] != ids[3] {
		t.Errorf("cancelled ones: %v", got)
	}
	result := c.json("GET", "/r/tasks/"+ids[3]+"/result", "", 200)
	if result["task_status"] != "cancelled" || result["download_url"] != nil || result["task_output"] != nil || result["task_error"] != nil {
		t.Errorf("result: %v", result)
	}
	c.json("GET", "/r/tasks/"+ids[4]+"/result", "", 409)
	if n := c.counts(); n != "tasks 26 uploads 0 completed 0 failed 0 cancelled 1" {
		t.Error(n)
	}
	c.fault(`[{"match":{"path_regexp":"/r/tasks$"},"action":{"type":"list_order","order":"asc"}},{"match":{"path_regexp":"/r/tasks$"},"action":{"type":"list_ignores_filter"}}]`)
	if got := rows("/r/tasks?status=failed"); len(got) != 20 || got[0] != ids[0] {
		t.Errorf("oldest first, unfiltered: %v", got)
	}
	c.fault(`{"action":{"type":"list_lag","seconds":3600}}`)
	if got := rows("/r/tasks"); len(got) != 0 {
		t.Errorf("young tasks are to lag: %v", got)
	}
}

func TestOutputsOfEachWorkflow(t *testing.T) {
	c := newClient(t, fast)
	tests := []struct {
		workflow, parameters string
		lone                 bool
		ids                  int
	}{
		{"multi-image@3", `{"prompt":"p","count":3,"background":"#fff"}`, false, 5},
		{"nerf-train", `{"scene":"a bridge"}`, false, 2},
		{"both-urls", `{"prompt":"p"}`, true, 2},
		{"both-urls", `{"prompt":"p","lone":"other"}`, true, 2},
		{"odd-names", `{}`, true, 15},
		{"many-files", `{"count": 1200}`, false, 1200},
		{"big-file", `{"bytes":0}`, true, 0},
	}
	for _, test := range tests {
		task := c.run(test.workflow, test.parameters)
		c.end(task)
		result := c.json("GET", "/r/tasks/"+task+"/result", "", 200)
		many, _ := result["download_urls"].(map[string]any)
		if lone, _ := result["download_url"].(string); (lone != "") != test.lone || len(many) != test.ids {
			t.Errorf("%s: lone %v, %d in the map", test.workflow, lone != "", len(many))
		}
		outputs := result["task_output"].(map[string]any)
		for id, at := range many {
			answer, got, err := c.do("GET", at.(string), "")
			if err != nil || answer.StatusCode != 200 || answer.Header.Get("ETag") == "" || len(got) == 0 && id != "empty" {
				t.Errorf("%s %q: %v %v", test.workflow, id, answer, err)
			}
			if key := outputs[id].(map[string]any)["s3_key"].(string); !strings.Contains(at.(string), key) {
				t.Errorf("%s %q: s3_key %q is not in its URL", test.workflow, id, key)
			}
		}
	}
}

func TestInputFile(t *testing.T) {
	c := newClient(t, fast)
	var file bytes.Buffer
	if err := png.Encode(&file, image.NewGray(image.Rect(0, 0, 30, 20))); err != nil {
		t.Fatal(err)
	}
	presign := func(name, kind string) (string, string, map[string]any) {
		p := c.json("POST", "/r/files/presign", fmt.Sprintf(`{"file_name":%q,"file_size":%d,"content_type":%q}`, name, file.Len(), kind), 200)
		return p["file_key"].(string), p["upload_url"].(string), p["upload_headers"].(map[string]any)
	}
	put := func(at string, headers map[string]any, without, body string) int {
		var list []string
		for name, value := range headers {
			if name != without && name != "Content-Length" { // net/http sets it from the body
				list = append(list, name, value.(string))
			}
		}
		answer, _, err := c.do("PUT", at, body, list...)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode
	}
	key, at, headers := presign("photo.png", "image/png")
	if headers["Content-Length"] != fmt.Sprint(file.Len()) || headers["If-None-Match"] != "*" {
		t.Errorf("upload_headers: %v", headers)
	}
	for name := range headers {
		if name != "Content-Length" {
			if got := put(at, headers, name, file.String()); got != 403 {
				t.Errorf("without %s: %d", name, got)
			}
		}
	}
	if got := put(at, headers, "", file.String()+"x"); got != 403 {
		t.Errorf("another length: %d", got)
	}
	if got := put(strings.Replace(at, "X-Amz-Signature=", "X-Amz-Signature=0", 1), headers, "", file.String()); got != 403 {
		t.Errorf("another signature: %d", got)
	}
	if first, second := put(at, headers, "", file.String()), put(at, headers, "", file.String()); first != 200 || second != 412 {
		t.Errorf("first %d, second %d", first, second)
	}
	if c.s.arrive(c.s.file(key), "", nil) {
		t.Error("of two PUTs that came at once, both were taken")
	}
	task := c.run("upscale", fmt.Sprintf(`{"image":%q,"scale":"4"}`, key))
	c.end(task)
	_, got, err := c.do("GET", c.url(task), "")
	if err != nil {
		t.Fatal(err)
	}
	if size, err := png.DecodeConfig(bytes.NewReader(got)); err != nil || size.Width != 120 || size.Height != 80 {
		t.Errorf("upscaled: %v %v", size, err)
	}
	text, at, headers := presign("notes.txt", "text/plain")
	put(at, headers, "", file.String())
	c.json("POST", "/r/workflows/slug/upscale/run", fmt.Sprintf(`{"parameters":{"image":%q}}`, text), 422)
	byName, at, headers := presign("photo.WEBP", "application/octet-stream")
	put(at, headers, "", file.String())
	c.run("upscale", fmt.Sprintf(`{"image":%q}`, byName))
	if n := c.counts(); !strings.HasPrefix(n, "tasks 2 uploads 3 ") {
		t.Error(n)
	}
}

// What is rendered or made on the fly must be the same at any offset and any time.
func TestDownload(t *testing.T) {
	c := newClient(t, fast)
	task := c.run("big-file", `{"bytes":100000,"seed":7}`)
	c.end(task)
	at := c.url(task)
	answer, all, err := c.do("GET", at, "")
	if err != nil || len(all) != 100000 || answer.Header.Get("Last-Modified") == "" || answer.Header.Get("Accept-Ranges") != "bytes" {
		t.Fatalf("%v %v", answer, err)
	}
	etag := answer.Header.Get("ETag")
	tests := []struct {
		name    string
		headers []string
		status  int
		body    []byte
		says    string
	}{
		{"range", []string{"Range", "bytes=33333-33400"}, 206, all[33333:33401], "bytes 33333-33400/100000"},
		{"range beyond the end", []string{"Range", "bytes=99990-200000"}, 206, all[99990:], "bytes 99990-99999/100000"},
		{"suffix", []string{"Range", "bytes=-10"}, 206, all[99990:], "bytes 99990-99999/100000"},
		{"outside", []string{"Range", "bytes=100000-"}, 416, nil, "bytes */100000"},
		{"several", []string{"Range", "bytes=0-1,5-6"}, 200, all, ""},
		{"same ETag", []string{"If-Match", etag, "Range", "bytes=0-9"}, 206, all[:10], "bytes 0-9/100000"},
		{"other ETag", []string{"If-Match", `"other"`}, 412, nil, ""},
	}
	for _, test := range tests {
		answer, got, err := c.do("GET", at, "", test.headers...)
		if err != nil || answer.StatusCode != test.status || test.body != nil && !bytes.Equal(got, test.body) || answer.Header.Get("Content-Range") != test.says {
			t.Errorf("%s: %v %v", test.name, answer, err)
		}
	}
	if answer, _, err := c.do("HEAD", at, ""); err != nil || answer.StatusCode != 403 {
		t.Errorf("HEAD: %v %v", answer, err)
	}
	if answer, got, err := c.do("GET", strings.Replace(at, "/big.bin", "/other.bin", 1), ""); err != nil || answer.StatusCode != 403 || !strings.Contains(string(got), "SignatureDoesNotMatch") {
		t.Errorf("another path: %s %v", got, err)
	}
	empty := c.run("big-file", `{"bytes":0}`)
	c.end(empty)
	if answer, _, err := c.do("GET", c.url(empty), "", "Range", "bytes=0-9"); err != nil || answer.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("a range of nothing: %v %v", answer, err)
	}
	c.late.Store(int64(urlLifetime + time.Minute))
	if answer, got, err := c.do("GET", at, ""); err != nil || answer.StatusCode != 403 || !strings.Contains(string(got), "expired") {
		t.Errorf("after its hour: %s %v", got, err)
	}
}
