package crash

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/cyberun-cloud/cyberun-relay/local/standin/picture"
)

const (
	runs = 100
	// everyLost: of so many POSTs the reply of one is lost.
	everyLost = 5
	// patience bounds the wait for one run's end. It is no measure of speed.
	patience = 5 * time.Minute
)

// deployed is a local stack, as much of it as a run needs.
type deployed struct {
	sfn        *sfn.Client
	s3         *s3.Client
	machineARN string
	control    string
}

func openStack(t *testing.T) *deployed {
	t.Helper()
	file := os.Getenv("RELAY_STACK_FILE")
	if file == "" {
		t.Skip("no stack: RELAY_STACK_FILE is not set; `make crash` brings one up")
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var told struct {
		Outputs    map[string]string `json:"outputs"`
		ControlURL string            `json:"control_url"`
	}
	if err := json.Unmarshal(raw, &told); err != nil {
		t.Fatal(err)
	}
	if told.ControlURL == "" {
		t.Skip("the stack speaks to the real service: this test loses replies, and needs the stand-in for that")
	}
	cfg, err := awsconfig.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &deployed{sfn: sfn.NewFromConfig(cfg), s3: s3.NewFromConfig(cfg), machineARN: told.Outputs["StateMachineArn"], control: told.ControlURL}
}

// ending is how one of the hundred ended.
type ending struct {
	prompt, name, cause, taskID string
	wrong                       []string
}

// TestHundredRuns: a hundred runs of one workflow at once, every fifth reply
// lost. Each ends with its own task's output or with a named error, and none of
// them with another's.
func TestHundredRuns(t *testing.T) {
	gated(t)
	d := openStack(t)
	rule := fmt.Sprintf(`{"match":{"method":"POST","path_regexp":"/run$","every":%d},"action":{"type":"accept_then_reset"}}`, everyLost)
	res, err := http.Post(d.control+"/faults", "application/json", strings.NewReader(rule))
	if err != nil || res.StatusCode/100 != 2 {
		t.Fatal("the stand-in refuses the fault: ", err)
	}
	_ = res.Body.Close()
	start := time.Now()
	endings := make([]ending, runs)
	var all sync.WaitGroup
	for i := range runs {
		all.Go(func() { endings[i] = d.run(t, fmt.Sprintf("hundred-%d-%03d", start.UnixMilli(), i)) })
	}
	all.Wait()
	var paid ledger
	if err := control(http.MethodGet, d.control+"/ledger", nil, &paid); err != nil {
		t.Fatal(err)
	}
	d.judge(t, endings, paid)
	told(endings, paid, time.Since(start))
}

func (d *deployed) run(t *testing.T, name string) ending {
	e := ending{prompt: "prompt of " + name}
	input := fmt.Sprintf(`{"workflow":"text-to-image@2","parameters":{"prompt":%q}}`, e.prompt)
	started, err := d.sfn.StartExecution(t.Context(), &sfn.StartExecutionInput{StateMachineArn: &d.machineARN, Name: &name, Input: &input})
	if err != nil {
		e.wrong = append(e.wrong, err.Error())
		return e
	}
	for until := time.Now().Add(patience); ; time.Sleep(time.Second) {
		out, err := d.sfn.DescribeExecution(t.Context(), &sfn.DescribeExecutionInput{ExecutionArn: started.ExecutionArn})
		switch {
		case err != nil:
			e.wrong = append(e.wrong, err.Error())
			return e
		case out.Status == sfntypes.ExecutionStatusSucceeded:
			e.wrong = append(e.wrong, d.delivered(t, name, &e, aws.ToString(out.Output))...)
			return e
		case out.Status != sfntypes.ExecutionStatusRunning:
			e.name, e.cause = aws.ToString(out.Error), aws.ToString(out.Cause)
			if !slices.Contains(ends, e.name) {
				e.wrong = append(e.wrong, fmt.Sprintf("it ended %s as %q: %s", out.Status, e.name, e.cause))
			}
			return e
		case time.Now().After(until):
			e.wrong = append(e.wrong, fmt.Sprintf("it still runs after %v", patience))
			return e
		}
	}
}

// delivered: the picture under the run's prefix says the run's own prompt.
func (d *deployed) delivered(t *testing.T, name string, e *ending, output string) (wrong []string) {
	var out struct {
		RunID       string `json:"run_id"`
		TaskID      string `json:"task_id"`
		Bucket      string `json:"bucket"`
		ManifestKey string `json:"manifest_key"`
	}
	if err := json.Unmarshal([]byte(output), &out); err != nil || out.RunID != name {
		return []string{"the output is " + output}
	}
	e.taskID = out.TaskID
	var manifest struct {
		TaskID  string `json:"task_id"`
		Outputs []struct {
			Key string `json:"key"`
		} `json:"outputs"`
	}
	raw, err := d.object(t, out.Bucket, out.ManifestKey)
	if err == nil {
		err = json.Unmarshal(raw, &manifest)
	}
	if err != nil || manifest.TaskID != out.TaskID || len(manifest.Outputs) != 1 {
		return []string{fmt.Sprintf("the manifest is %s (%v)", raw, err)}
	}
	if !strings.HasPrefix(manifest.Outputs[0].Key, "runs/"+name+"/") {
		wrong = append(wrong, "the output lies at "+manifest.Outputs[0].Key)
	}
	png, err := d.object(t, out.Bucket, manifest.Outputs[0].Key)
	if err != nil {
		return append(wrong, err.Error())
	}
	texts, err := picture.Texts(png)
	if err != nil || texts["prompt"] != e.prompt || texts["task_id"] != out.TaskID {
		wrong = append(wrong, fmt.Sprintf("the picture is of %v (%v)", texts, err))
	}
	return wrong
}

func (d *deployed) object(t *testing.T, bucket, key string) ([]byte, error) {
	out, err := d.s3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(out.Body)
	return body, errors.Join(err, out.Body.Close())
}

// judge compares what the runs say with what was paid.
func (d *deployed) judge(t *testing.T, endings []ending, paid ledger) {
	t.Helper()
	tasks := map[string]int{} // by prompt
	owner := map[string]string{}
	for _, task := range paid.Tasks {
		prompt, _ := task.Parameters["prompt"].(string)
		tasks[prompt]++
		owner[task.ID] = prompt
	}
	if len(paid.Tasks) > runs {
		t.Errorf("%d tasks were paid for %d runs", len(paid.Tasks), runs)
	}
	for _, e := range endings {
		for _, wrong := range e.wrong {
			t.Errorf("%s: %s", e.prompt, wrong)
		}
		if tasks[e.prompt] > 1 {
			t.Errorf("%s: paid %d times", e.prompt, tasks[e.prompt])
		}
		if e.taskID != "" && owner[e.taskID] != e.prompt {
			t.Errorf("%s: it has the task of %q", e.prompt, owner[e.taskID])
		}
	}
	for id, prompt := range owner {
		if !slices.ContainsFunc(endings, func(e ending) bool { return e.taskID == id || strings.Contains(e.cause, id) }) {
			t.Errorf("the task %s of %q was paid, is delivered by no run and named by none", id, prompt)
		}
	}
}

// told prints what came of the hundred.
func told(endings []ending, paid ledger, took time.Duration) {
	ends := map[string]int{}
	for _, e := range endings {
		if e.name == "" {
			e.name = "delivered"
		}
		ends[e.name]++
	}
	fmt.Printf("\n%d runs of one workflow at once, every %dth reply lost: %d tasks paid, %.0f s\n", runs, everyLost, len(paid.Tasks), took.Seconds())
	for _, name := range slices.Sorted(maps.Keys(ends)) {
		fmt.Printf("  %4d  %s\n", ends[name], name)
	}
	fmt.Printf("  %.0f %% ended as SubmitOutcomeUnknown\n", 100*float64(ends["SubmitOutcomeUnknown"])/float64(len(endings)))
}
