package crash

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
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
	// everyLost: of so many POSTs the reply of one is lost, every other time with
	// its request.
	everyLost = 20
	// timeScale is by how much `make crash` shortens the submit protocol's waits on
	// the stack of this test. Arrivals are shortened alike: it is the ratio of the
	// two that decides how many runs are in doubt together.
	timeScale = 2.5
	arrival   = time.Duration(float64(2*time.Minute) / timeScale)
	// patience bounds the wait for one run's end. It is no measure of speed.
	patience = 12 * time.Minute
	// look is how often each run's end is looked for.
	look = 3 * time.Second
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

// TestHundredRuns: a hundred runs of one workflow come within two minutes, and
// every 20th reply is lost. At least nine of ten lost replies are decided without a
// person; each run ends with its own task's output or with a named error, and none
// with another's.
func TestHundredRuns(t *testing.T) {
	gated(t)
	d := openStack(t)
	start := time.Now()
	seed := uint64(start.UnixNano())
	t.Logf("seed %d", seed)
	luck := rand.New(rand.NewPCG(seed, 1))
	name := func(what any) string { return fmt.Sprintf("hundred-%d-%v", start.UnixMilli(), what) }
	first := d.run(t, name("first"))
	if first.name != "" || len(first.wrong) > 0 {
		t.Fatalf("before any reply is lost: %+v", first)
	}
	time.Sleep(witnessAge)
	rules := fmt.Sprintf(`[{"match":{"method":"POST","path_regexp":"/run$","every":%d},"action":{"type":"reset"}},
		{"match":{"method":"POST","path_regexp":"/run$","every":%d},"action":{"type":"accept_then_reset"}}]`, 2*everyLost, everyLost)
	if err := control(http.MethodPost, d.control+"/faults", json.RawMessage(rules), nil); err != nil {
		t.Fatal("the stand-in refuses the faults: ", err)
	}
	start = time.Now()
	endings := make([]ending, runs, runs+1)
	var all sync.WaitGroup
	for i := range runs {
		at := time.Duration(luck.Int64N(int64(arrival)))
		all.Go(func() {
			time.Sleep(at)
			endings[i] = d.run(t, name(i))
		})
	}
	all.Wait()
	took := time.Since(start)
	var paid ledger
	if err := control(http.MethodGet, d.control+"/ledger", nil, &paid); err != nil {
		t.Fatal(err)
	}
	lost, err := d.lost()
	if err != nil {
		t.Fatal(err)
	}
	d.judge(t, append(endings, first), paid)
	paid.Tasks = slices.DeleteFunc(paid.Tasks, func(one task) bool { return one.ID == first.taskID })
	told(t, endings, paid, lost, took)
}

// lost counts the POSTs whose reply the stand-in kept back.
func (d *deployed) lost() (int, error) {
	var said struct {
		Faults []struct {
			Match struct {
				Every int `json:"every"`
			} `json:"match"`
			Fired int `json:"fired"`
		} `json:"faults"`
	}
	if err := control(http.MethodGet, d.control+"/faults", nil, &said); err != nil {
		return 0, err
	}
	for _, f := range said.Faults {
		if f.Match.Every == everyLost {
			return f.Fired, nil
		}
	}
	return 0, errors.New("the stand-in has lost the fault")
}

func (d *deployed) run(t *testing.T, name string) ending {
	e := ending{prompt: "prompt of " + name}
	input := fmt.Sprintf(`{"workflow":"text-to-image@2","parameters":{"prompt":%q}}`, e.prompt)
	started, err := d.sfn.StartExecution(t.Context(), &sfn.StartExecutionInput{StateMachineArn: &d.machineARN, Name: &name, Input: &input})
	if err != nil {
		e.wrong = append(e.wrong, err.Error())
		return e
	}
	for until := time.Now().Add(patience); ; time.Sleep(look) {
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
	if len(paid.Tasks) > len(endings) {
		t.Errorf("%d tasks were paid for %d runs", len(paid.Tasks), len(endings))
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

// told prints what came of the hundred, and holds the share that was decided.
func told(t *testing.T, endings []ending, paid ledger, lost int, took time.Duration) {
	t.Helper()
	by := map[string]int{}
	for _, e := range endings {
		if e.name == "" {
			e.name = "delivered"
		}
		by[e.name]++
		if e.name == "SubmitOutcomeUnknown" {
			t.Logf("%s: %s", e.prompt, e.cause)
		}
	}
	fmt.Printf("\n%d runs of one workflow in %.0f s, every %dth reply lost: %d tasks paid, %.0f s\n", runs, arrival.Seconds(), everyLost, len(paid.Tasks), took.Seconds())
	for _, name := range slices.Sorted(maps.Keys(by)) {
		fmt.Printf("  %4d  %s\n", by[name], name)
	}
	decided := lost - by["SubmitOutcomeUnknown"]
	fmt.Printf("  of %d lost replies %d were decided without a person: %.0f %%\n", lost, decided, 100*float64(decided)/float64(max(lost, 1)))
	if lost < runs/everyLost || 10*decided < 9*lost {
		t.Errorf("of %d lost replies %d were decided", lost, decided)
	}
}
