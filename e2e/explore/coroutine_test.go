package explore

import (
	"encoding/binary"
	"hash/maphash"
	"iter"
	"runtime"
	"slices"
	"strings"
	"time"
)

// coroutine runs an actor's code.
type coroutine struct {
	*actor
	memory *memory
	next   func() (op, bool)
	stop   func()
	yield  func(op) bool
	since  time.Time // it stands where it is

	op       op
	done     bool
	got      reply
	view     view
	heard    uint64 // a hash of what earlier calls left
	answers  []fact // that were given in this call, the last to each question
	told     uint64 // a hash of them
	inSubmit bool
	receipt  string    // the task that this call was told it has started
	place    uint64    // where in the code it is
	stage    string    // the write that it did last
	stages   []string  // all that it has been at
	holds    []version // the objects it was answered, or wrote, in this call
	serial   int       // ids that it has made
	attempts int

	receipts  []string // since the last moment
	cancelled string
	handled   bool
}

type (
	killed    struct{}
	abandoned struct{}
)

func (l *memory) begin(a *actor, v view) *coroutine {
	l.runs++
	c := &coroutine{actor: a, memory: l, view: v, stages: []string{""}}
	c.next, c.stop = iter.Pull(func(yield func(op) bool) {
		c.yield = yield
		defer func() {
			switch r := recover(); r.(type) {
			case nil, killed, abandoned:
			default:
				panic(r)
			}
		}()
		a.body(&universe{code: c, owner: a.owner})
	})
	c.on()
	return c
}

func (c *coroutine) resume(got reply) {
	c.got, c.receipts, c.cancelled = got, nil, ""
	c.on()
}

func (c *coroutine) on() {
	o, more := c.next()
	c.op, c.done = o, !more
	if c.done {
		c.keep()
	}
}

// keep notes the receipt of a call that has ended.
func (c *coroutine) keep() {
	if c.receipt != "" {
		c.receipts, c.receipt = append(c.receipts, c.receipt), ""
	}
}

func (c *coroutine) moment(before *moment, got reply) *moment {
	m := &moment{
		actor: c.actor, before: before, got: got, pending: c.op, done: c.done, stage: c.stage,
		holds: slices.Clone(c.holds), receipts: c.receipts, told: c.cancelled, handled: c.handled,
	}
	if c.done {
		return m
	}
	var h maphash.Hash
	h.SetSeed(seed)
	_, _ = h.WriteString(c.op.name)
	var b []byte
	if c.op.clock {
		b = binary.LittleEndian.AppendUint64(b, uint64(c.op.until.UnixMilli()))
	}
	b = binary.LittleEndian.AppendUint64(b, c.heard^c.told)
	b = binary.LittleEndian.AppendUint64(b, c.place)
	if before != nil {
		b = append(b, 1)
	}
	_, _ = h.Write(b)
	m.hash = h.Sum64()
	return m
}

// call suspends the code until the search has decided how its op goes.
func (c *coroutine) call(o op) answer {
	if o.takes > 0 {
		o.until = c.view.now.Add(o.takes)
	}
	c.place = here()
	if !slices.Contains(c.stages, c.stage) {
		c.stages = append(c.stages, c.stage)
	}
	c.memory.touches.does(c, o)
	if !c.yield(o) {
		panic(abandoned{})
	}
	got := c.got
	c.view = got.view
	if o.kind == writes && !o.clock {
		c.stage = o.name
	}
	if got.killed {
		c.receipt = ""
		c.heard = mix(c.heard, o.name, "killed")
		panic(killed{})
	}
	c.hear(o.name, got.meaning)
	if got.holds != (version{}) {
		c.hold(got.holds)
	}
	if c.inSubmit && (o.name == "POST run" || strings.HasPrefix(o.name, "PutObject state/tasks/")) {
		c.settles()
	}
	return got.answer
}

// fact is what an actor was told last about one thing.
type fact struct {
	about string
	hash  uint64
}

// hear adds an answer to what a call knows; one that a later answer to the same
// question replaces is forgotten.
func (c *coroutine) hear(about, learnt string) {
	h := mix(0, about, learnt)
	c.told ^= h
	for i := range c.answers {
		if c.answers[i].about == about {
			c.told ^= c.answers[i].hash
			c.answers[i].hash = h
			return
		}
	}
	c.answers = append(c.answers, fact{about, h})
}

func (c *coroutine) hold(v version) {
	if i := slices.IndexFunc(c.holds, func(o version) bool { return o.place == v.place }); i >= 0 {
		c.holds[i] = v
		return
	}
	c.holds = append(c.holds, v)
}

// settled are the questions of Submit whose answers nothing is decided by any more
// once it has posted, or owns a task.
var settled = []string{
	"GET tasks", "GET workflow", "clock", "waits ", "CreateMultipartUpload ", "AbortMultipartUpload ", "GetObject state/ended/",
	"ListObjectsV2 state/ended/", "ListObjectsV2 state/submitting/" + workflowID + "/ ", "GetObject state/submitting/", "ListObjectsV2 state/doubt/", "PutObject state/doubt/",
	"PutObject state/index/",
}

// settles forgets those answers.
func (c *coroutine) settles() {
	c.answers = slices.DeleteFunc(c.answers, func(f fact) bool {
		dead := slices.ContainsFunc(settled, func(prefix string) bool { return strings.HasPrefix(f.about+" ", prefix) })
		if dead {
			c.told ^= f.hash
		}
		return dead
	})
}

// forget is the end of a call: what its function was answered is gone with it, and
// the caller keeps no more than what is given.
func (c *coroutine) forget(kept ...string) {
	c.keep()
	c.holds, c.answers, c.told, c.heard = c.holds[:0], c.answers[:0], 0, mix(0, kept...)
}

// here is a hash of the stack: where in the code the actor is.
func here() uint64 {
	var frames [64]uintptr
	h := uint64(14695981039346656037)
	for _, pc := range frames[:runtime.Callers(3, frames[:])] {
		h = (h ^ uint64(pc)) * 1099511628211
	}
	return h
}
