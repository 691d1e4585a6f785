package explore

import (
	"slices"
	"strings"
)

// state is a state of everything: the world, and where each actor is; nil for one
// that has not started.
type state struct {
	world  *world
	actors []*moment
}

// choice is one step that the search can take.
type choice struct {
	actor int
	how   fate
}

func (c choice) bit() uint64 { return 1 << (uint(c.actor)*uint(fates) + uint(c.how)) }

// choices lists what can happen next. An I/O that no other actor can take notice of
// is not interleaved: it alone is offered. Time moves to the end of the wait that
// ends first, and only when nobody is at work but those who may be slow.
func (s *search) choices(now *state) []choice {
	all := make([]choice, 0, 8)
	var first *moment
	waiting, atWork := 0, false
	for i, m := range now.actors {
		switch {
		case m == nil || m.done:
		case m.pending.awaits != nil && m.pending.awaits(now.world):
			atWork = true
		case m.pending.clock || m.pending.awaits != nil:
			if first == nil || m.pending.until.Before(first.pending.until) {
				first, waiting = m, i
			}
		case m.acted() && !m.actor.slow:
			atWork = true
		}
	}
	for i, m := range now.actors {
		if m == nil || m.done || m.pending.clock {
			continue
		}
		from := len(all)
		all = now.choicesOf(all, i, m)
		if m.pending.awaits == nil && !s.met(now, i) {
			return all[from:]
		}
	}
	switch {
	case first == nil || atWork:
	case first.pending.clock:
		all = append(all, choice{waiting, proceed})
	default:
		all = append(all, choice{waiting, timeOut})
	}
	return all
}

// met reports whether anything that the other actors may still do meets the I/O
// that one is about to do.
func (s *search) met(now *state, i int) bool {
	m := now.actors[i]
	// Who is slow, or has not begun, may do so before a wait of others or after it.
	anytime := m.actor.slow || !m.acted()
	for j, a := range s.scene.actors {
		other := now.actors[j]
		if j == i || other != nil && other.done {
			continue
		}
		stage := ""
		if other != nil {
			stage = other.stage
		}
		if s.touches.met(a.index, stage, m.pending.touch) || anytime && s.touches.met(a.index, stage, touch{key: timeKey}) {
			return true
		}
	}
	return false
}

func (now *state) choicesOf(own []choice, i int, m *moment) []choice {
	o := &m.pending
	if o.awaits != nil {
		if o.awaits(now.world) {
			own = append(own, choice{i, proceed})
		}
		return own
	}
	own = append(own, choice{i, proceed})
	if now.world.faults <= 0 || o.clock {
		return own
	}
	if !m.actor.mortal {
		return own
	}
	if o.lags != nil && o.lags(now.world) {
		own = append(own, choice{i, stale})
	}
	// A call that dies before an I/O leaves what one leaves that dies after the
	// write before it, and so does one that ends because S3 could not be read: only
	// its first I/O, its writes and its questions to others are places to fail at.
	if !m.acted() {
		own = append(own, choice{i, killBefore})
	}
	if o.kind != reads {
		return append(own, choice{i, lostRequest}, choice{i, killAfter}, choice{i, lostReply})
	}
	if !strings.HasPrefix(o.key, "s3/") && o.key != "" {
		own = append(own, choice{i, lostRequest})
	}
	return own
}

// independent reports whether two steps of different actors lead to the same
// state in either order.
func (now *state) independent(a, b choice) bool {
	if a.actor == b.actor {
		return false
	}
	x, y := &now.actors[a.actor].pending, &now.actors[b.actor].pending
	switch {
	case x.clock, y.clock, x.awaits != nil, y.awaits != nil, a.how.fault() && b.how.fault():
		return false
	case !a.how.reaches() || !b.how.reaches():
		return true
	}
	return x.key == "" || y.key == "" || !x.meets(y.touch)
}

// step takes a step, and starts the actors that may start after it, up to their
// first I/O: nothing of that can be seen.
func (s *search) step(now *state, c choice) *state {
	next := &state{now.world.clone(), slices.Clone(now.actors)}
	if c.how.fault() {
		next.world.faults--
	}
	s.move(next, c.actor, c.how)
	s.begin(next)
	return next
}

func (s *search) move(now *state, i int, how fate) {
	m := now.actors[i]
	got := m.pending.perform(now.world, how)
	got.view = now.world.view(m.actor)
	m = s.memory.advance(m, got)
	now.actors[i] = m
	now.world.receipts = append(now.world.receipts, m.receipts...)
	if m.told != "" {
		now.world.told = append(now.world.told, m.told)
	}
	if m.handled {
		now.world.event(m.actor.owner, m.actor.nth).handled = true
	}
}

func (s *search) begin(now *state) {
	for again := true; again; {
		again = false
		for i, a := range s.scene.actors {
			if now.actors[i] != nil || a.enabled != nil && !a.enabled(now.world) {
				continue
			}
			again = true
			now.actors[i] = s.memory.start(a, now.world.view(a))
			for passed := 0; passed < len(a.warm) && !now.actors[i].done; {
				if strings.HasPrefix(now.actors[i].pending.name, a.warm[passed]) {
					passed++
					continue
				}
				s.move(now, i, proceed)
			}
		}
	}
}
