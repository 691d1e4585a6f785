package explore

import (
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
)

// actor is somebody who calls the functions: what it does, and from when on.
type actor struct {
	name    string
	index   int
	owner   string // the run that its POSTs are for
	mortal  bool   // faults may meet it
	slow    bool   // it may take as long as it likes: time passes while it is at work
	nth     int    // the event of its owner's execution that it is about
	enabled func(*world) bool
	body    func(*universe)
	warm    []string // it goes on alone until it is about to do these, one after the other

	starts []*moment // what it does first, for each view that it may begin with
}

// view is what an actor sees of the world without asking: the clock, and what Step
// Functions tells those that it drives of their own execution.
type view struct {
	now      time.Time
	state    executions.Status
	at       string
	redrives int
	request  string
	event    endEvent
	// What the functions are deployed with.
	webhooks bool
	inDoubt  string
}
