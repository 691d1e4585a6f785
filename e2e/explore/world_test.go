package explore

import (
	"slices"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// began is when every world begins.
var began = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const (
	stateBucket  = "state"
	outputBucket = "outputs"
	inboxBucket  = "inbox" // it keeps versions
	workflowID   = "wf-1"
	workflowRef  = "w"
	arnPrefix    = "arn:aws:states:eu-central-1:123456789012:execution:relay-run:"
)

// world is what the buckets, Cyberun and Step Functions hold at a moment. Its values
// are copied when it is cloned, and what they point at is never changed.
type world struct {
	now     time.Time
	faults  int      // left
	objects []object // by place
	sum     uint64   // of all objects
	tasks   []task
	files   []file // that were given to Cyberun
	execs   []execution
	events  []endEvent
	tokens  []string // task tokens that were resumed
	// receipts are those of calls that did not die of it; told are the runs whose
	// DELETE answered that they are cancelled.
	receipts []string
	told     []string
	serial   int      // ids that were made alone
	wrong    []string // what must not be, seen on the way

	// How the world is, from its beginning to its end.
	runFor      time.Duration // how long a task takes; 0: for ever
	webhooks    bool
	inDoubt     string // the stack's setting
	takesFiles  bool   // the workflow has a parameter "image", a file
	refuses     bool   // the output bucket refuses every write
	unannounced bool   // the doubts of the beginning were never announced: their calls died
	listedAs    string // the id that the task list has for the workflow; empty: its own
}

// object is all versions of an object that its bucket keeps, the newest last.
type object struct {
	place    string // bucket/key
	versions []storetest.Object
	hash     uint64
}

// task is one of Cyberun's tasks. Its id ends in the run that paid for it.
type task struct {
	id, owner string
	input     string // what its file parameter holds
	cancelled bool
	ended     cyberun.Status // of one that ended before the search
	created   time.Time
}

// file is one that was given to Cyberun.
type file struct{ key, content string }

// execution is one execution of the state machine.
type execution struct {
	id       string
	state    executions.Status
	error    named.Error
	at       string // the state that it stands at
	redrives int
	request  string
	before   *executions.Execution // what a stale DescribeExecution says; without a name: that there is none
}

// endEvent is what EventBridge reports of an execution's end.
type endEvent struct {
	id, status, error, cause string
	redrives                 int
	handled                  bool // a call of close-run has ended well
}

func (w *world) clone() *world {
	c := *w
	c.objects, c.tasks, c.files, c.execs = slices.Clone(w.objects), slices.Clone(w.tasks), slices.Clone(w.files), slices.Clone(w.execs)
	c.events, c.tokens = slices.Clone(w.events), slices.Clone(w.tokens)
	c.receipts, c.told, c.wrong = slices.Clone(w.receipts), slices.Clone(w.told), slices.Clone(w.wrong)
	return &c
}

func (w *world) passTo(t time.Time) {
	if w.now.Before(t) {
		w.now = t
	}
}

// exec is an execution, or nil.
func (w *world) exec(id string) *execution {
	for i := range w.execs {
		if w.execs[i].id == id {
			return &w.execs[i]
		}
	}
	return nil
}

func (w *world) running(id string) bool {
	x := w.exec(id)
	return x != nil && x.state == executions.Running
}

func (w *world) ended(id string) bool {
	x := w.exec(id)
	return x != nil && x.state.Unsuccessful()
}

// event is the n-th event of an execution's ends, or nil.
func (w *world) event(id string, n int) *endEvent {
	for i := range w.events {
		if w.events[i].id == id {
			if n == 0 {
				return &w.events[i]
			}
			n--
		}
	}
	return nil
}

// view is what an actor sees without asking.
func (w *world) view(a *actor) view {
	v := view{now: w.now, webhooks: w.webhooks, inDoubt: w.inDoubt}
	if x := w.exec(a.owner); x != nil {
		v.state, v.at, v.redrives, v.request = x.state, x.at, x.redrives, x.request
	}
	if e := w.event(a.owner, a.nth); e != nil {
		v.event = *e
		v.event.handled = false
	}
	return v
}

func (w *world) find(place string) (i int, found bool) {
	return slices.BinarySearchFunc(w.objects, place, func(o object, place string) int { return strings.Compare(o.place, place) })
}

// object is the newest version of what lies there.
func (w *world) object(bucket, key string) (storetest.Object, bool) {
	i, found := w.find(bucket + "/" + key)
	if !found {
		return storetest.Object{}, false
	}
	return w.objects[i].versions[len(w.objects[i].versions)-1], true
}

// keys are a bucket's below a prefix, sorted.
func (w *world) keys(bucket, prefix string) (keys []string) {
	i, _ := w.find(bucket + "/" + prefix)
	for ; i < len(w.objects) && strings.HasPrefix(w.objects[i].place, bucket+"/"+prefix); i++ {
		keys = append(keys, strings.TrimPrefix(w.objects[i].place, bucket+"/"))
	}
	return keys
}

// put stores an object; in the inbox beside its earlier versions.
func (w *world) put(bucket, key string, o storetest.Object) {
	place := bucket + "/" + key
	i, found := w.find(place)
	if !found {
		w.objects = slices.Insert(w.objects, i, object{place: place})
	}
	at := &w.objects[i]
	now := meaning(key, o)
	if bucket == inboxBucket {
		at.versions = append(slices.Clip(at.versions), o)
		now = mix(at.hash, o.ETag)
	} else {
		at.versions = []storetest.Object{o}
	}
	w.sum ^= at.hash ^ now
	at.hash = now
}

func (w *world) remove(bucket, key string) {
	if i, found := w.find(bucket + "/" + key); found {
		w.sum ^= w.objects[i].hash
		w.objects = slices.Delete(w.objects, i, i+1)
	}
}

// set stores an object as somebody outside the relay does.
func (w *world) set(bucket, key string, o storetest.Object) {
	fake := &storetest.S3{Now: func() time.Time { return w.now }}
	fake.Set(bucket, key, o)
	o, _ = fake.Object(bucket, key)
	w.put(bucket, key, o)
}

// end ends an execution, and has EventBridge say so.
func (w *world) end(id string, s executions.Status, e named.Error) {
	x := w.exec(id)
	before := x.shown()
	x.state, x.error, x.before = s, e, &before
	status := map[executions.Status]string{executions.Failed: "FAILED", executions.Aborted: "ABORTED", executions.TimedOut: "TIMED_OUT"}[s]
	if s.Unsuccessful() {
		w.events = append(w.events, endEvent{id: id, status: status, error: e.Name, cause: e.Message(), redrives: x.redrives})
	}
}

// shown is an execution as DescribeExecution shows it.
func (x *execution) shown() executions.Execution {
	out := executions.Execution{ARN: arnPrefix + x.id, Name: x.id, Status: x.state, StartedAt: began, Redrives: x.redrives, Input: x.request}
	if x.state.Unsuccessful() {
		failure := x.error
		out.Error = &failure
	}
	return out
}

// status is how a task stands.
func (w *world) status(t task) cyberun.Status {
	switch {
	case t.ended != "":
		return t.ended
	case t.cancelled:
		return cyberun.StatusCancelled
	case w.runFor > 0 && w.now.Sub(t.created) >= w.runFor:
		return cyberun.StatusCompleted
	}
	return cyberun.StatusPending
}
