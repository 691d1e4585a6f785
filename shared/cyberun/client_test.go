package cyberun

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const testKey = "sk-local-1"

// remote answers every call with one raw answer and keeps what it was asked.
type remote struct {
	*httptest.Server
	asked []string // method, address
	auth  []string
	body  []string
}

func serve(t *testing.T, response func(w http.ResponseWriter, r *http.Request)) (*remote, *Client) {
	t.Helper()
	s := &remote{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.asked = append(s.asked, r.Method+" "+r.URL.RequestURI())
		s.auth = append(s.auth, r.Header.Get("Authorization"))
		s.body = append(s.body, string(body))
		response(w, r)
	}))
	t.Cleanup(s.Close)
	return s, &Client{BaseURL: s.URL + "/api/v1", Keys: StaticKey(testKey), HTTP: s.Client()}
}

const testDate = "Mon, 23 Nov 2026 10:00:00 GMT"

var atTestDate = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

// raw answers with a status and a body, always at testDate. Its Content-Type
// lies, which must not matter.
func raw(status int, body string, headers ...string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", testDate)
		w.Header().Set("Content-Type", "text/plain")
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func ptr[T any](v T) *T { return &v }

func at(s string) Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return Time{t.UTC()}
}

const workflowJSON = `{"id":"wf-1","workflow_slug":"text-to-image","display_name":"Text to image","version":2,
 "workflow_status":"active","description":"An image from words",
 "parameters":[
  {"key":"prompt","type":"string","label":"Prompt","description":"What to show","required":true},
  {"key":"steps","type":"number","required":false,"default":20,"min":1,"max":100},
  {"key":"hd","type":"boolean","default":false},
  {"key":"style","type":"select","options":["photo",{"value":"ink","label":"Ink"},3]},
  {"key":"image","type":"file","accept":["image/png",".jpg"]},
  {"key":"mood","type":"hologram"}],
 "required_labels":["gpu"],"task_timeout":600,"max_retries":2,"tool_type":"comfyui",
 "created_at":"2026-11-01T08:00:00Z","updated_at":"2026-11-02T08:00:00.123456+01:00"}`

var workflow = Workflow{
	ID: "wf-1", Slug: "text-to-image", DisplayName: "Text to image", Version: 2, Status: WorkflowActive,
	Description: "An image from words", RequiredLabels: []string{"gpu"}, TaskTimeout: 600, MaxRetries: 2, ToolType: "comfyui",
	CreatedAt: at("2026-11-01T08:00:00Z"), UpdatedAt: at("2026-11-02T07:00:00.123456Z"),
	Parameters: []Parameter{
		{Key: "prompt", Type: TypeString, Label: "Prompt", Description: "What to show", Required: true},
		{Key: "steps", Type: TypeNumber, Default: 20.0, Min: ptr(1.0), Max: ptr(100.0)},
		{Key: "hd", Type: TypeBoolean, Default: false},
		{Key: "style", Type: TypeSelect, Options: []Option{{"photo", "photo"}, {"ink", "Ink"}, {3.0, "3"}}},
		{Key: "image", Type: TypeFile, Accept: []string{"image/png", ".jpg"}},
		{Key: "mood", Type: "hologram"},
	},
}

const taskJSON = `{"id":"t-1","workflow_id":"wf-1","task_status":"running","task_error":null,"retry_count":1,
 "created_at":"2026-11-23T09:59:00Z","started_at":"2026-11-23T09:59:10Z","completed_at":null,
 "agent_id":"a-1","gpu_type":"RTX 4090","dispatch_target":"agent","tool_type":"comfyui"}`

var task = Task{
	ID: "t-1", WorkflowID: "wf-1", Status: StatusRunning, CreatedAt: at("2026-11-23T09:59:00Z"),
	StartedAt: at("2026-11-23T09:59:10Z"),
}

func dated[T any](v T, set func(*T)) T { set(&v); return v }

func TestDocumentedAnswers(t *testing.T) {
	ctx := context.Background()
	tests := []struct {
		name     string
		status   int
		response string
		request  func(*Client) (any, error)
		asked    string
		sent     string
		want     any
	}{
		{name: "workflows", status: 200, response: `{"workflow_list":[` + workflowJSON + `],"page_meta":{"current_page":2,"per_page":1,"total_count":7}}`,
			request: func(c *Client) (any, error) { return c.Workflows(ctx, Page{Number: 2, Size: 1}) },
			asked:   "GET /api/v1/r/workflows?current_page=2&per_page=1",
			want:    WorkflowList{Workflows: []Workflow{workflow}, Page: PageMeta{2, 1, 7}}},
		{name: "workflows, page too large, no page_meta", status: 200, response: `{"workflow_list":null}`,
			request: func(c *Client) (any, error) { return c.Workflows(ctx, Page{Size: 1000}) },
			asked:   "GET /api/v1/r/workflows?per_page=100",
			want:    WorkflowList{Workflows: []Workflow{}, Page: PageMeta{TotalCount: -1}}},
		{name: "workflow", status: 200, response: workflowJSON,
			request: func(c *Client) (any, error) { return c.Workflow(ctx, "text-to-image@2") },
			asked:   "GET /api/v1/r/workflows/slug/text-to-image@2",
			want:    dated(workflow, func(w *Workflow) { w.Date = atTestDate })},
		{name: "workflow after a byte order mark", status: 200, response: "\ufeff" + workflowJSON,
			request: func(c *Client) (any, error) { return c.Workflow(ctx, "text-to-image@2") },
			asked:   "GET /api/v1/r/workflows/slug/text-to-image@2",
			want:    dated(workflow, func(w *Workflow) { w.Date = atTestDate })},
		{name: "workflow by its id", status: 200, response: workflowJSON,
			request: func(c *Client) (any, error) { return c.WorkflowByID(ctx, "wf/1") },
			asked:   "GET /api/v1/r/workflows/wf%2F1",
			want:    dated(workflow, func(w *Workflow) { w.Date = atTestDate })},
		{name: "run", status: 202, response: `{"task_id":"t-1"}`,
			request: func(c *Client) (any, error) {
				return c.StartTask(ctx, "text-to-image@2", map[string]any{"prompt": "a sunset", "steps": 30})
			},
			asked: "POST /api/v1/r/workflows/slug/text-to-image@2/run", sent: `{"parameters":{"prompt":"a sunset","steps":30}}`,
			want: "t-1"},
		{name: "run without parameters, 200", status: 200, response: `{"task_id":"t-1"}`,
			request: func(c *Client) (any, error) { return c.StartTask(ctx, "x", nil) },
			asked:   "POST /api/v1/r/workflows/slug/x/run", sent: `{"parameters":{}}`, want: "t-1"},
		{name: "task", status: 200, response: taskJSON,
			request: func(c *Client) (any, error) { return c.Task(ctx, "t-1") }, asked: "GET /api/v1/r/tasks/t-1",
			want: task},
		{name: "tasks", status: 200, response: `{"task_list":[` + taskJSON + `,{"id":"t-2","workflow_id":"wf-2","task_status":"holding"}],"page_meta":{"current_page":1,"per_page":20,"total_count":2}}`,
			request: func(c *Client) (any, error) { return c.Tasks(ctx, Page{Number: 1}) },
			asked:   "GET /api/v1/r/tasks?current_page=1",
			want:    TaskList{Tasks: []Task{task, {ID: "t-2", WorkflowID: "wf-2", Status: "holding"}}, Page: PageMeta{1, 20, 2}, Date: atTestDate}},
		{name: "tasks, no page_meta", status: 200, response: `{"task_list":[{"id":"t-2","workflow_id":"wf-2"}]}`,
			request: func(c *Client) (any, error) { return c.Tasks(ctx, Page{}) },
			asked:   "GET /api/v1/r/tasks",
			want:    TaskList{Tasks: []Task{{ID: "t-2", WorkflowID: "wf-2"}}, Page: PageMeta{TotalCount: -1}, Date: atTestDate}},
		{name: "result of an agent", status: 200, response: `{"id":"t-1","task_status":"completed","task_output":{"storage_key":"k","image_count":1},"download_url":"https://s3.test/o.png?X-Amz-Signature=abc","expires_at":"2026-11-23T11:00:00Z","completed_at":"2026-11-23T10:00:00Z"}`,
			request: func(c *Client) (any, error) { return c.Result(ctx, "t-1") }, asked: "GET /api/v1/r/tasks/t-1/result",
			want: Result{ID: "t-1", Status: StatusCompleted, DownloadURL: "https://s3.test/o.png?X-Amz-Signature=abc"}},
		{name: "result of a cloud", status: 200, response: `{"id":"t-1","task_status":"completed","download_url":null,"download_urls":{"9.images.0":"https://s3.test/0?X-Amz-Signature=a","9.images.1":null},"task_error":null}`,
			request: func(c *Client) (any, error) { return c.Result(ctx, "t-1") }, asked: "GET /api/v1/r/tasks/t-1/result",
			want: Result{ID: "t-1", Status: StatusCompleted, DownloadURLs: map[string]SignedURL{"9.images.0": "https://s3.test/0?X-Amz-Signature=a"}}},
		{name: "result of a failure", status: 200, response: `{"task_status":"failed","task_error":{"code":"OOM","message":"out of memory"}}`,
			request: func(c *Client) (any, error) { return c.Result(ctx, "t-1") }, asked: "GET /api/v1/r/tasks/t-1/result",
			want: Result{ID: "t-1", Status: StatusFailed}},
		{name: "cancel", status: 200, response: `{"success":true}`,
			request: func(c *Client) (any, error) { return nil, c.Cancel(ctx, "t-1") }, asked: "POST /api/v1/r/tasks/t-1/cancel"},
		{name: "cancel, without a word of success", status: 202, response: `{}`,
			request: func(c *Client) (any, error) { return nil, c.Cancel(ctx, "t-1") }, asked: "POST /api/v1/r/tasks/t-1/cancel"},
		{name: "presign", status: 200, response: `{"file_key":"inputs/a.png","upload_url":"https://s3.test/a?X-Amz-Signature=abc","upload_headers":{"Content-Length":5,"If-None-Match":"*","x-list":["a","b"]}}`,
			request: func(c *Client) (any, error) {
				return c.Presign(ctx, PresignRequest{FileName: "a.png", FileSize: 5, ContentType: "image/png"})
			},
			asked: "POST /api/v1/r/files/presign", sent: `{"file_name":"a.png","file_size":5,"content_type":"image/png"}`,
			want: Presigned{FileKey: "inputs/a.png", UploadURL: "https://s3.test/a?X-Amz-Signature=abc",
				UploadHeaders: UploadHeaders{"Content-Length": "5", "If-None-Match": "*", "x-list": "a, b"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, c := serve(t, raw(tt.status, tt.response))
			got, err := tt.request(c)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string{tt.asked}, s.asked); diff != "" {
				t.Error(diff)
			}
			if s.body[0] != tt.sent {
				t.Errorf("sent %s, not %s", s.body[0], tt.sent)
			}
			if s.auth[0] != "Bearer "+testKey {
				t.Errorf("Authorization: %q", s.auth[0])
			}
		})
	}
}

// What lacks a required field, or is about something else, is an error that
// says so, whatever the status promised.
func TestUnusableAnswers(t *testing.T) {
	ctx := context.Background()
	workflows := func(c *Client) error { _, err := c.Workflows(ctx, Page{}); return err }
	workflow := func(c *Client) error { _, err := c.Workflow(ctx, "x"); return err }
	task := func(c *Client) error { _, err := c.Task(ctx, "t-1"); return err }
	tasks := func(c *Client) error { _, err := c.Tasks(ctx, Page{}); return err }
	result := func(c *Client) error { _, err := c.Result(ctx, "t-1"); return err }
	cancel := func(c *Client) error { return c.Cancel(ctx, "t-1") }
	presign := func(c *Client) error { _, err := c.Presign(ctx, PresignRequest{}); return err }
	run := func(c *Client) error { _, err := c.StartTask(ctx, "x", nil); return err }
	tests := []struct {
		name, response, want string
		request              func(*Client) error
	}{
		{name: "workflow without id", response: `{"workflow_slug":"x"}`, want: "Cyberun answered 200 to GET /r/workflows/slug/x but without a workflow's id", request: workflow},
		{name: "workflow null", response: `null`, want: "not with a JSON object: null", request: workflow},
		{name: "workflow list", response: `[]`, want: "not with a JSON object: []", request: workflow},
		{name: "workflow html", response: `<html><body>Down for maintenance</body></html>`, want: "not with a JSON object: <html>", request: workflow},
		{name: "workflow cut off", response: `{"id":"wf`, want: "not with a JSON object", request: workflow},
		{name: "workflow, very deep", response: `{"id":"x","a":` + strings.Repeat("[", 1<<20), want: "not with a JSON object", request: workflow},
		{name: "workflow empty", response: ``, want: "not with a JSON object", request: workflow},
		{name: "list is missing", response: `{}`, want: "without workflow_list", request: workflows},
		{name: "list is an object", response: `{"workflow_list":{}}`, want: "workflow_list is not a list", request: workflows},
		{name: "a row without id", response: `{"workflow_list":[{"id":"a"},{}]}`, want: "without a workflow's id (row 2)", request: workflows},
		{name: "tasks missing", response: `{"page_meta":{"total_count":0}}`, want: "without task_list", request: tasks},
		{name: "tasks null but counted", response: `{"task_list":null,"page_meta":{"total_count":3}}`, want: "total_count is 3", request: tasks},
		{name: "tasks, a row that is none", response: `{"task_list":["t-1"]}`, want: "not an object (row 1)", request: tasks},
		{name: "task without id", response: `{"task_status":"running"}`, want: "without a task's id", request: task},
		{name: "task, id of spaces", response: `{"id":" "}`, want: "without a task's id", request: task},
		{name: "task, id too long", response: `{"id":"` + strings.Repeat("x", maxID+1) + `"}`, want: "without a task's id", request: task},
		{name: "another task", response: `{"id":"t-2","task_status":"completed"}`, want: `about the task "t-2"`, request: task},
		{name: "another task's result", response: `{"id":"t-2","download_url":"https://s3.test/x?X-Amz-Signature=abc"}`, want: `about the task "t-2"`, request: result},
		{name: "result, odd address", response: `{"id":"t-1","download_urls":{"a":{"href":"x"}}}`, want: `the address of "a" is not a string`, request: result},
		{name: "result, addresses in a list", response: `{"id":"t-1","download_urls":["x"]}`, want: `download_urls is not an object`, request: result},
		{name: "not cancelled", response: `{"success":false,"message":"no"}`, want: "without success", request: cancel},
		{name: "cancelled, by a proxy's page", response: `<html><body>OK</body></html>`, want: "not with a JSON object: <html>", request: cancel},
		{name: "cancelled, without a word", response: ``, want: "not with a JSON object", request: cancel},
		{name: "cancelled, null", response: `null`, want: "not with a JSON object: null", request: cancel},
		{name: "cancelled, not an object", response: `true`, want: "not with a JSON object: true", request: cancel},
		{name: "presign without key", response: `{"upload_url":"https://s3.test/"}`, want: "without a file_key", request: presign},
		{name: "presign without address", response: `{"file_key":"k","upload_url":"file:///etc/passwd"}`, want: "upload_url is not an http(s) address", request: presign},
		{name: "run without task id", response: `{"task":"t-1"}`, want: "without a readable task_id", request: run},
		{name: "run, null", response: `null`, want: "without a readable task_id", request: run},
		{name: "run, task id is an object", response: `{"task_id":{"id":"t"}}`, want: "without a readable task_id", request: run},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, c := serve(t, raw(200, tt.response))
			err := tt.request(c)
			e, ok := errors.AsType[*AnswerError](err)
			if !ok || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%v", err)
			}
			if e.Status != 200 {
				t.Errorf("%#v", e)
			}
		})
	}
}

// TestAnswersAreBounded: a result may be larger than other answers, since it has an
// address for each output.
func TestAnswersAreBounded(t *testing.T) {
	_, c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		most := maxAnswer
		if strings.HasSuffix(r.URL.Path, "/t-2/result") {
			most = maxResult
		}
		io.WriteString(w, `{"id":"t-1","agent_id":"`)
		chunk := strings.Repeat("x", 1<<20)
		for range most>>20 + 1 {
			io.WriteString(w, chunk)
		}
		io.WriteString(w, `"}`)
	})
	if _, err := c.Task(t.Context(), "t-1"); err == nil || !strings.Contains(err.Error(), "more than 10 MiB") {
		t.Error(err)
	}
	if _, err := c.Result(t.Context(), "t-1"); err != nil {
		t.Error(err)
	}
	if _, err := c.Result(t.Context(), "t-2"); err == nil || !strings.Contains(err.Error(), "more than 48 MiB") {
		t.Error(err)
	}
}

func TestPathsCannotBreakOut(t *testing.T) {
	for ref, want := range map[string]string{
		"a/b@2":      "/api/v1/r/workflows/slug/a%2Fb@2",
		"../tasks?x": "/api/v1/r/workflows/slug/..%2Ftasks%3Fx",
		"a b#c%2f":   "/api/v1/r/workflows/slug/a%20b%23c%252f",
		"ü":          "/api/v1/r/workflows/slug/%C3%BC",
		"":           "", ".": "", "..": "",
	} {
		s, c := serve(t, raw(200, workflowJSON))
		_, err := c.Workflow(context.Background(), ref)
		if want == "" {
			if err == nil || len(s.asked) > 0 {
				t.Errorf("%q: %v, asked %v", ref, err, s.asked)
			}
			continue
		}
		if err != nil || s.asked[0] != "GET "+want {
			t.Errorf("%q: %v, asked %v", ref, err, s.asked)
		}
	}
}

func TestBaseURL(t *testing.T) {
	for _, base := range []string{"", "core.cyberun.cloud", "ftp://x/", "https://", "https://x/?a=b", "://", "https://u:geheim@x y/"} {
		c := &Client{BaseURL: base, Keys: StaticKey(testKey)}
		_, err := c.Task(context.Background(), "t-1")
		if err == nil || !strings.Contains(err.Error(), "base URL") || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q: %v", base, err)
		}
	}
	s, c := serve(t, raw(200, taskJSON))
	c.BaseURL += "/"
	if _, err := c.Task(context.Background(), "t-1"); err != nil || s.asked[0] != "GET /api/v1/r/tasks/t-1" {
		t.Error(err, s.asked)
	}
}

// TestDates: an answer without a Date, or from a cache, says nothing of the
// server's clock; how long it lay in a cache is kept.
func TestDates(t *testing.T) {
	tests := []struct {
		name, date, age string
		want            time.Time
		wantAge         time.Duration
	}{
		{name: "fresh", date: testDate, want: atTestDate},
		{name: "no Date"},
		{name: "no readable Date", date: "today"},
		{name: "as fresh as a cache has it", date: testDate, age: "0", want: atTestDate},
		{name: "from a cache", date: testDate, age: "600", wantAge: 10 * time.Minute},
		{name: "from a cache, blanks around it", date: testDate, age: " 7 ", wantAge: 7 * time.Second},
		{name: "from a cache that does not say how long", date: testDate, age: "old", wantAge: time.Second},
		{name: "from the future", date: testDate, age: "-3", want: atTestDate},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Date"] = nil
				if test.date != "" {
					w.Header().Set("Date", test.date)
				}
				if test.age != "" {
					w.Header().Set("Age", test.age)
				}
				io.WriteString(w, `{"id":"wf-1","task_list":[]}`)
			})
			list, err := c.Tasks(t.Context(), Page{})
			if err != nil || !list.Date.Equal(test.want) || list.Age != test.wantAge {
				t.Errorf("%s, %s old, %v", list.Date, list.Age, err)
			}
			if w, err := c.Workflow(t.Context(), "x"); err != nil || !w.Date.Equal(test.want) {
				t.Errorf("the workflow's: %s, %v", w.Date, err)
			}
		})
	}
}
