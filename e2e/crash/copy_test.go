package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// copyRun has one output, which is there soon.
const copyRun = `{"workflow":"text-to-image@2","parameters":{"prompt":"a copy","seconds":0.1}}`

// copyScenarios end at a delivery, whatever happens at whichever call of
// copy-result, unless the run is stopped before its point of no return.
func copyScenarios() []scenario {
	delivered := []string{"1 delivered"}
	return []scenario{
		{title: "copy-result, called again", request: copyRun, calls: 1, about: theCopy, ends: delivered, life: copied, end: documents,
			kinds: []kind{killBefore, killAfter, lostBefore, lostAfter, wrong, wrongAll, page}},
		{title: "copy-result, whose first failure ends the execution, which is closed and redriven", request: copyRun, calls: 1, about: theCopy, ends: delivered,
			life: copiedNextLife, end: documents, kinds: []kind{killBefore, killAfter, lostAfter, wrongAll}},
		{title: "copy-result, stopped meanwhile", request: copyRun, calls: 1, about: theCopy, ends: []string{"1 delivered", "1 RunCancelled"},
			life: copied, end: documents, kinds: []kind{stopBefore, stopAfter, stopKill}},
	}
}

func theCopy(c *cell) *function { return c.copyResult }

// completed submits the cell's run and sees its task to its end.
func (c *cell) completed() error {
	if a, err := c.step(); err != nil || a.name != "" {
		return fmt.Errorf("submit: %s %s %w", a.name, a.message, err)
	}
	poll := c.function(c.world.pollStatus, nil)
	defer poll.close()
	const most = 10
	for range most {
		a, err := poll.invoke(c.stepPayload(), functionTime)
		if err != nil || a.name != "" {
			return fmt.Errorf("poll-status: %s %s %w", a.name, a.message, err)
		}
		var state struct {
			Done bool `json:"done"`
		}
		if err := json.Unmarshal(a.body, &state); err != nil || state.Done {
			return err
		}
	}
	return fmt.Errorf("poll-status saw no end in %d calls", most)
}

// stepPayload is what the states after Submit send.
func (c *cell) stepPayload() []byte {
	return fmt.Appendf(nil, `{"run_id":%q,"redrive_count":%d,"attempts":0}`, c.runID, c.now().redrives)
}

// copyStep calls CopyResult as the state machine does, until all is copied, it failed
// for good, or the execution was stopped. With once, its first failure is for good.
func (c *cell) copyStep(once bool) (answer, error) {
	budget := tries{machine: c.world.machine, used: map[int]float64{}}
	for {
		a, err := c.copyResult.invoke(c.stepPayload(), functionTime)
		if err != nil || c.now().status != "RUNNING" {
			return a, err
		}
		if a.name == "" {
			var out struct {
				Done bool `json:"done"`
			}
			if err := json.Unmarshal(a.body, &out); err != nil {
				return a, err
			}
			if out.Done {
				c.ended("SUCCEEDED", "", "")
				return a, nil
			}
			continue
		}
		pause, again := budget.again(a.name)
		if !again || once {
			c.ended("FAILED", a.name, a.message)
			return a, nil
		}
		time.Sleep(pause)
	}
}

// copied: a task's output is copied, the function called again after a failure.
func copied(_ context.Context, c *cell) (answer, error) {
	if err := c.completed(); err != nil {
		return answer{}, err
	}
	a, err := c.copyStep(false)
	if err == nil && c.now().status != "SUCCEEDED" {
		err = c.event()
	}
	return a, err
}

// copiedNextLife: the execution ends at the first failure and is closed, which leaves
// one document; then a redrive delivers.
func copiedNextLife(ctx context.Context, c *cell) (answer, error) {
	if err := c.completed(); err != nil {
		return answer{}, err
	}
	a, err := c.copyStep(true)
	if err != nil || c.now().status == "SUCCEEDED" {
		return a, err
	}
	event := c.now().event()
	if err := c.send(event); err != nil {
		return a, err
	}
	if err := c.oneDocument(ctx, "once it was closed"); err != nil {
		return a, err
	}
	c.redrive()
	if a, err = c.copyStep(false); err != nil {
		return a, err
	}
	if err := c.oneDocument(ctx, "once it was redriven"); err != nil {
		return a, err
	}
	return a, c.send(event) // the first life's comes once more
}

// oneDocument is documents in the middle of a run's lives.
func (c *cell) oneDocument(ctx context.Context, when string) error {
	var r result
	if err := documents(ctx, c, &r); err != nil || len(r.problems) > 0 {
		return fmt.Errorf("%s: %v %w", when, r.problems, err)
	}
	return nil
}

// documents holds that a run has left a manifest or an error.json, as its record
// says, and never both.
func documents(ctx context.Context, c *cell, r *result) error {
	paid, err := c.world.ledger()
	if err != nil {
		return err
	}
	r.paid = len(paid.Tasks)
	state, rec, err := c.swept(ctx)
	if err != nil {
		return err
	}
	outputs, err := c.bucket(ctx, "output")
	if err != nil {
		return err
	}
	prefix := outputPrefix + "runs/" + c.runID + "/"
	manifest, failure := outputs[prefix+"manifest.json"], outputs[prefix+"error.json"]
	r.end = "delivered"
	if rec.Status != "succeeded" {
		r.end = "open"
		if rec.Error != nil {
			r.end = rec.Error.Name
		}
	}
	if (manifest != nil) != (rec.Status == "succeeded") || (failure != nil) == (manifest != nil) {
		r.problems = append(r.problems, fmt.Sprintf("the run is %s with the manifest %q and the error.json %q", rec.Status, manifest, failure))
	}
	if left := append(below(state, "manifests/"), below(state, "copies/")...); rec.Status == "succeeded" && len(left) > 0 && c.target.kind == none {
		r.problems = append(r.problems, fmt.Sprintf("left behind: %v", left))
	}
	return nil
}
