package cyberun_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
)

// A run is started once, watched by its task's events, and its outputs are read
// when the task itself says that it is completed.
func ExampleClient() {
	api := httptest.NewServer(exampleAPI)
	defer api.Close()
	client := cyberun.Client{BaseURL: api.URL + "/api/v1", Keys: cyberun.StaticKey("sk-example")}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()

	taskID, err := client.StartTask(ctx, "text-to-image@3", map[string]any{"prompt": "a lighthouse"})
	if e, ok := errors.AsType[*cyberun.StartError](err); ok && !e.NotStarted {
		fmt.Println("look for the task in client.Tasks before another run:", err)
		return
	} else if err != nil {
		fmt.Println("nothing was started:", err)
		return
	}
	for event, err := range client.TaskEvents(ctx, taskID) {
		if err != nil {
			fmt.Println("the stream broke off; the task goes on:", err)
			break
		}
		fmt.Printf("%s: %.0f %%\n", event.Type, 100*event.Progress)
	}
	task, err := client.Task(ctx, taskID)
	if err != nil || task.Status != cyberun.StatusCompleted {
		fmt.Println(task.Status, task.Error, err)
		return
	}
	result, err := client.Result(ctx, task.ID)
	if err != nil {
		fmt.Println(err)
		return
	}
	for id, address := range result.DownloadURLs {
		fmt.Println(id, address) // without its signature; string(address) is the whole
	}
	// Output:
	// progress: 50 %
	// completed: 0 %
	// 9.images.0 https://files.example/0.png?[redacted]
}

// An answer of the runtime API that is no success is an *APIError, with what may be
// shown of it.
func ExampleAPIError() {
	api := httptest.NewServer(exampleAPI)
	defer api.Close()
	client := cyberun.Client{BaseURL: api.URL + "/api/v1", Keys: cyberun.StaticKey("sk-example")}

	_, err := client.Workflow(context.Background(), "text-to-video")
	fmt.Println(cyberun.IsNotFound(err))
	fmt.Println(err)
	// Output:
	// true
	// Cyberun answered 404 to GET /r/workflows/slug/text-to-video: no such workflow
}

// exampleAPI has one workflow, whose task completes at once.
var exampleAPI = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	answers := map[string]string{
		"POST /api/v1/r/workflows/slug/text-to-image@3/run": `{"task_id":"t-1"}`,
		"GET /api/v1/r/tasks/t-1/events":                    "event: progress\ndata: {\"progress\":0.5}\n\nevent: completed\ndata: {}\n\n",
		"GET /api/v1/r/tasks/t-1":                           `{"id":"t-1","task_status":"completed"}`,
		"GET /api/v1/r/tasks/t-1/result":                    `{"id":"t-1","task_status":"completed","download_urls":{"9.images.0":"https://files.example/0.png?X-Amz-Signature=secret"}}`,
	}
	answer, known := answers[r.Method+" "+r.URL.Path]
	if !known {
		w.WriteHeader(http.StatusNotFound)
		answer = `{"message":"no such workflow"}`
	}
	io.WriteString(w, answer)
})
