package explore

import (
	"fmt"
	"slices"
	"time"
)

// moment is a point in what an actor does: all that it was answered so far, one answer
// after the other, and the I/O that it is about to do. What the code does next
// depends on nothing else, so a moment is reached by running the code once, and
// stands for it in every state of the world in which the actor is there.
type moment struct {
	actor  *actor
	before *moment // nil at the start
	got    reply   // that led here
	next   []*moment
	parked *coroutine // the code, if it still stands here

	pending  op
	done     bool
	stage    string    // the write that was done last
	hash     uint64    // of where in the code this is, and what was answered
	holds    []version // the objects that the call knows
	receipts []string  // those told to calls that ended on the way here
	told     string    // the run of which the caller was told that it is cancelled
	handled  bool      // the event that the actor is about is dealt with
}

func (m *moment) acted() bool { return m.before != nil }

// memory runs the code of actors, and keeps what came of it.
type memory struct {
	touches *touches
	runs    int       // of an actor's code from its start
	parked  []*moment // the latest at which code stands, the oldest first
}

const (
	// mostParked bounds the coroutines that are kept: each has a stack.
	mostParked = 200
	// parkedFor bounds how long one is kept. The code has deadlines by the real clock
	// in its contexts, of 5 s and more, which must not come to pass.
	parkedFor = time.Second
)

// start returns how an actor begins.
func (l *memory) start(a *actor, v view) *moment {
	for _, m := range a.starts {
		if m.got.view == v {
			return m
		}
	}
	c := l.begin(a, v)
	m := c.moment(nil, reply{view: v})
	a.starts = append(a.starts, m)
	l.park(m, c)
	return m
}

// advance returns where an actor comes with a reply to its op.
func (l *memory) advance(m *moment, got reply) *moment {
	for _, n := range m.next {
		if n.got.killed == got.killed && n.got.exact == got.exact && n.got.view == got.view {
			return n
		}
	}
	c := l.at(m)
	c.resume(got)
	n := c.moment(m, got)
	m.next = append(m.next, n)
	l.park(n, c)
	return n
}

// at returns code that stands at a moment: code that was left there, or is run
// again from the start with the same answers.
func (l *memory) at(m *moment) *coroutine {
	if c := m.parked; c != nil {
		m.parked = nil
		if time.Since(c.since) < parkedFor {
			return c
		}
		c.stop()
	}
	var way []*moment
	for n := m; n.before != nil; n = n.before {
		way = append(way, n)
	}
	start := m
	if len(way) > 0 {
		start = way[len(way)-1].before
	}
	c := l.begin(m.actor, start.got.view)
	for _, n := range slices.Backward(way) {
		if c.op.name != n.before.pending.name {
			panic(fmt.Sprintf("%s is about to do %q, and was about to do %q with the same answers: its code depends on something else", m.actor.name, c.op.name, n.before.pending.name))
		}
		c.resume(n.got)
	}
	return c
}

func (l *memory) park(m *moment, c *coroutine) {
	if m.done {
		return
	}
	c.since, m.parked = time.Now(), c
	if l.parked = append(l.parked, m); len(l.parked) > mostParked {
		l.evict(l.parked[0])
		l.parked = l.parked[1:]
	}
}

func (l *memory) evict(m *moment) {
	if m.parked != nil {
		m.parked.stop()
		m.parked = nil
	}
}

// end stops the code that still stands somewhere.
func (l *memory) end() {
	for _, m := range l.parked {
		l.evict(m)
	}
	l.parked = nil
}
