package crash

import (
	"context"
	"slices"
	"strings"
	"time"
)

// scenario is one way through the protocol. A dry run lists its calls; then each
// of them meets each kind of fault, one in a cell.
type scenario struct {
	title   string
	request string
	file    bool    // the request names an S3 object, which is uploaded
	inDoubt string  // the function's setting; empty: verify
	before  []fault // played first; the calls after them are the scenario's
	pause   time.Duration
	kinds   []kind
	calls   int  // of the function, without a fault; a dry run that took more was disturbed
	first   bool // only the calls of the first invocation after before
	about   func(*cell) *function
	life    func(context.Context, *cell) (answer, error)
}

const (
	imageRun = `{"workflow":"text-to-image@2","parameters":{"prompt":"a crash","seconds":600}}`
	postCall = "cyberun POST workflows/slug/text-to-image@2/run"
)

func scenarios() []scenario {
	every := []kind{killBefore, killAfter, lostBefore, lostAfter, wrong, wrongAll, slow, late}
	some := []kind{killBefore, killAfter, lostAfter, wrong, slow}
	few := []kind{killBefore, killAfter, lostAfter}
	posted := []fault{{postCall, 1, killAfter}}
	return []scenario{
		{title: "a submission", request: imageRun, kinds: every, calls: 1, about: theSubmit, life: submitted},
		{title: "a submission with a file", file: true, kinds: some, calls: 1, about: theSubmit, life: submitted},
		{title: "in doubt, looked at at once (first killed after the POST)", request: imageRun, before: posted, kinds: few, first: true,
			about: theSubmit, life: submitted},
		{title: "in doubt, adopted (first killed after the POST)", request: imageRun, before: posted, pause: settled, kinds: some, calls: 2,
			about: theSubmit, life: submitted},
		{title: "in doubt, absent, posted again (first killed before the POST)", request: imageRun, before: []fault{{postCall, 1, killBefore}},
			pause: settled, kinds: few, calls: 3, about: theSubmit, life: submitted},
		{title: "in doubt with InDoubt=stop (first killed after the POST)", request: imageRun, inDoubt: "stop", before: posted, pause: settled,
			kinds: few, calls: 2, about: theSubmit, life: submitted},
		{title: "stopped while it submits", request: imageRun, kinds: []kind{stopBefore, stopAfter, stopKill}, calls: 1, about: theSubmit, life: submitted},
		{title: "stopped between the 202 and its being stored", request: imageRun, before: []fault{{postCall, 1, stopAfter}}, kinds: some, calls: 1,
			about: theSubmit, life: swept},
		{title: "close-run, of a run that waits and is stopped", request: imageRun, kinds: some, calls: 1, about: theClose, life: stoppedWaiting},
		{title: "close-run, of a run that was stopped before its record", request: imageRun, kinds: some, calls: 1, about: theClose, life: stoppedEarly},
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

// applies tells whether a kind of fault can happen at a call.
func (k kind) applies(c call) bool {
	posts := strings.HasSuffix(c.name, "/run")
	switch {
	case c.upstream == "lambda":
		return slices.Contains([]kind{killBefore, lostAfter}, k)
	case k == wrongAll:
		return c.upstream != "cyberun"
	case k == late:
		return posts
	}
	return true
}
