package crash

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// scenario is one way through the protocol. A dry run lists its calls; then each
// of them meets each kind of fault, one in a cell.
type scenario struct {
	title   string
	request string
	file    bool     // the request names an S3 object, which is uploaded
	inDoubt string   // the function's setting; empty: verify
	witness bool     // the stack has completed a run of the workflow before
	post    string   // SUBMIT_POST=…, where it is not that of settings
	decided bool     // a person names the task
	ends    []string // what a cell may come to, tasks paid and end; without a fault, the first
	before  []fault  // played first; the calls after them are the scenario's
	pause   time.Duration
	kinds   []kind
	calls   int  // of the function, without a fault; a dry run that took more was disturbed
	first   bool // only the calls of the first invocation after before
	about   func(*cell) *function
	life    func(context.Context, *cell) (answer, error)
	end     func(context.Context, *cell, *result) error // what it is held against at its end; nil: what submit and close-run leave
}

const (
	imageRun = `{"workflow":"text-to-image@2","parameters":{"prompt":"a crash","seconds":600}}`
	// shortRun is the witness's.
	shortRun = `{"workflow":"text-to-image@2","parameters":{"prompt":"a witness","seconds":1}}`
	postCall = "cyberun POST workflows/slug/text-to-image@2/run"
)

func scenarios() []scenario {
	every := []kind{killBefore, killAfter, lostBefore, lostAfter, wrong, wrongAll, page, slow, late}
	some := []kind{killBefore, killAfter, lostAfter, wrong, page, slow}
	few := []kind{killBefore, killAfter, lostAfter}
	posted, unposted := []fault{{postCall, 1, killAfter}}, []fault{{postCall, 1, killBefore}}
	// Without a witness a POST that never left is left to a person.
	submission := []string{"1 ok", "1 adopted", "0 SubmitOutcomeUnknown"}
	adopted, again := []string{"1 adopted"}, []string{"1 ok", "1 adopted"}
	named, nothing := []string{"1 SubmitOutcomeUnknown, named"}, []string{"0 SubmitOutcomeUnknown"}
	stopped := []string{"1 RunCancelled, cancelled", "0 RunCancelled", "1 RunCancelled, named"}
	return []scenario{
		{title: "a submission", request: imageRun, kinds: every, calls: 1, about: theSubmit, ends: submission, life: submitted},
		{title: "a submission with a file", file: true, kinds: some, calls: 1, about: theSubmit, ends: submission, life: submitted},

		{title: "in doubt, looked at at once (first killed after the POST)", request: imageRun, before: posted, kinds: few, first: true,
			about: theSubmit, ends: adopted, life: submitted},
		{title: "in doubt, adopted (first killed after the POST)", request: imageRun, before: posted, pause: settled, kinds: some, calls: 2,
			about: theSubmit, ends: adopted, life: submitted},
		{title: "in doubt with InDoubt=absent-only, a candidate (first killed after the POST)", request: imageRun, inDoubt: "absent-only", before: posted,
			pause: settled, kinds: few, calls: 2, about: theSubmit, ends: named, life: submitted},
		{title: "in doubt with InDoubt=stop, a candidate (first killed after the POST)", request: imageRun, inDoubt: "stop", before: posted,
			pause: settled, kinds: few, calls: 2, about: theSubmit, ends: named, life: submitted},

		{title: "in doubt, absent, posted again (first killed before the POST)", request: imageRun, witness: true, before: unposted,
			pause: settled, kinds: some, calls: 3, about: theSubmit, ends: again, life: submitted},
		{title: "in doubt with InDoubt=absent-only, absent, posted again (first killed before the POST)", request: imageRun, witness: true,
			inDoubt: "absent-only", before: unposted, pause: settled, kinds: few, calls: 3, about: theSubmit, ends: []string{"1 ok", "1 SubmitOutcomeUnknown, named"}, life: submitted},
		{title: "in doubt with InDoubt=stop, absent (first killed before the POST)", request: imageRun, witness: true, inDoubt: "stop",
			before: unposted, pause: settled, kinds: few, calls: 2, about: theSubmit, ends: nothing, life: submitted},
		{title: "in doubt, absent, on a stack without a witness (first killed before the POST)", request: imageRun, before: unposted,
			pause: settled, kinds: few, calls: 3, about: theSubmit, ends: nothing, life: submitted},

		{title: "a person names the task of a run that failed in doubt", request: imageRun, inDoubt: "stop", before: posted, pause: settled, decided: true,
			kinds: some, about: theSubmit, ends: []string{"1 ok"}, life: taskNamed},
		{title: "a person says that a run's task was not started", request: imageRun, inDoubt: "stop", before: unposted, pause: settled,
			kinds: some, about: theSubmit, ends: []string{"1 ok", "1 SubmitOutcomeUnknown, named", "0 SubmitOutcomeUnknown"}, life: notStarted},

		{title: "stopped while it submits", request: imageRun, post: longPost, kinds: []kind{stopBefore, stopAfter, stopKill}, calls: 1,
			about: theSubmit, ends: []string{"1 ok", "1 RunCancelled, cancelled", "0 RunCancelled", "1 RunCancelled, named"}, life: submitted},
		{title: "stopped between the 202 and its being stored", request: imageRun, post: longPost, before: []fault{{postCall, 1, stopAfter}}, kinds: some,
			calls: 1, about: theSubmit, ends: []string{stopped[0], stopped[2]}, life: swept},

		{title: "close-run, of a run that waits and is stopped", request: imageRun, kinds: some, calls: 1, about: theClose, ends: stopped[:1], life: stoppedWaiting},
		{title: "close-run, of a run that was stopped before its record", request: imageRun, kinds: some, calls: 1, about: theClose, ends: stopped[1:2], life: stoppedEarly},
		{title: "close-run, of a run that was killed in its POST and stopped", request: imageRun, kinds: few, calls: 1, about: theClose, ends: stopped[2:], life: stoppedInDoubt},
		{title: "the sweep, of a stopped run whose event was lost", request: imageRun, kinds: few, calls: 1, about: theClose, ends: stopped[:1], life: eventLost},
		{title: "close-run, of a run that failed and is then redriven", request: imageRun, kinds: some, about: theClose, ends: []string{"1 ok"}, life: redriven},
		{title: "close-run, of a run that failed and is redriven meanwhile", request: imageRun, kinds: []kind{redriveBefore, redriveAfter, redriveKill},
			about: theClose, ends: []string{"1 ok"}, life: redriven},
	}
}

func theSubmit(c *cell) *function { return c.submit }
func theClose(c *cell) *function  { return c.closeRun }

// submitted: the step, then whatever its end calls for. An event may come twice.
func submitted(_ context.Context, c *cell) (answer, error) {
	a, err := c.step()
	if err != nil || c.now().status == "RUNNING" {
		return a, err
	}
	return a, c.event()
}

// swept: the event of the stop came while submit ran, and comes no more.
func swept(_ context.Context, c *cell) (answer, error) {
	a, err := c.step()
	if err != nil {
		return a, err
	}
	return a, c.sweep()
}

// stoppedWaiting: a run with a task, stopped by a person.
func stoppedWaiting(_ context.Context, c *cell) (answer, error) {
	a, err := c.step()
	if err != nil {
		return a, err
	}
	c.ended("ABORTED", "", "")
	return a, c.event()
}

// stoppedEarly: the stop comes first, and Submit, already on its way, after it.
func stoppedEarly(_ context.Context, c *cell) (answer, error) {
	c.ended("ABORTED", "", "")
	if err := c.event(); err != nil {
		return answer{}, err
	}
	return c.step()
}

// stoppedInDoubt: Submit dies with its POST sent, and a person stops the run. The
// task is named, and nobody cancels it.
func stoppedInDoubt(_ context.Context, c *cell) (answer, error) {
	c.submit.gate.arm(fault{postCall, 1, killAfter})
	a, err := c.submit.invoke(c.payload(), functionTime)
	if err != nil {
		return a, err
	}
	c.ended("ABORTED", "", "")
	return a, c.event()
}

// eventLost: a stopped run of which close-run hears by its sweep alone.
func eventLost(_ context.Context, c *cell) (answer, error) {
	a, err := c.step()
	if err != nil {
		return a, err
	}
	c.ended("ABORTED", "", "")
	return a, c.sweep()
}

// redriven: a run fails for a revoked key and is closed; with the key let in
// again it is redriven, and the event of its first life comes once more.
func redriven(_ context.Context, c *cell) (answer, error) {
	if err := c.world.letIn(); err != nil {
		return answer{}, err
	}
	if a, err := c.step(); err != nil || a.name != "Unauthorized" {
		return a, fmt.Errorf("without a key submit says %s %s %w", a.name, a.message, err)
	}
	event := c.now().event()
	if err := c.send(event); err != nil {
		return answer{}, err
	}
	c.redriveNow()
	return c.redriven, c.send(event)
}

// taskNamed: a run fails in doubt, and a person names its task.
func taskNamed(ctx context.Context, c *cell) (answer, error) {
	return decided(c, func() (string, error) {
		paid, err := c.world.ledger()
		if err != nil || len(paid.Tasks) != 1 {
			return "", fmt.Errorf("in doubt about %+v %w", paid.Tasks, err)
		}
		return fmt.Sprintf(`{"task_id":%q}`, paid.Tasks[0].ID), nil
	})
}

// notStarted: a run fails in doubt, and a person says that nothing was started.
func notStarted(ctx context.Context, c *cell) (answer, error) {
	return decided(c, func() (string, error) { return `{"not_started":true}`, nil })
}

// decided: the faults meet the life after a person's decision, which redrives the run.
func decided(c *cell, decision func() (string, error)) (answer, error) {
	c.submit.gate.arm(c.scenario.before...)
	if a, err := c.step(); err != nil || a.name != "SubmitOutcomeUnknown" {
		return a, fmt.Errorf("in doubt submit says %s %s %w", a.name, a.message, err)
	}
	if err := c.event(); err != nil {
		return answer{}, err
	}
	c.arm()
	said, err := decision()
	if err != nil {
		return answer{}, err
	}
	if err := c.decide(said); err != nil {
		return answer{}, err
	}
	a, err := c.step()
	if err == nil && c.now().status != "RUNNING" {
		err = c.event()
	}
	return a, err
}

// applies tells whether a kind of fault can happen at a call.
func (k kind) applies(c call) bool {
	posts := strings.HasSuffix(c.name, "/run")
	switch {
	case c.upstream == "lambda":
		return slices.Contains([]kind{killBefore, lostAfter}, k)
	case k == wrongAll:
		return c.upstream != "cyberun"
	case k == page:
		return c.upstream == "cyberun"
	case k == late:
		return posts
	}
	return true
}
