package explore

import (
	"strings"
)

// meets reports whether the order of two touches can make a difference.
func (t touch) meets(o touch) bool {
	switch {
	case t.kind == reads && o.kind == reads, t.kind == removes && o.kind == removes:
		return false
	case t.except != "" && strings.HasPrefix(o.key, t.except), o.except != "" && strings.HasPrefix(t.key, o.except):
		return false
	}
	return t.key == o.key || t.prefix && strings.HasPrefix(o.key, t.key) || o.prefix && strings.HasPrefix(t.key, o.key)
}

// touches is what a search learns of who touches what, and from where in the code
// on. An I/O that nothing can meet which the other actors may still do, or that all
// only read, need not be interleaved. When an actor does come to such a key after
// all, the search begins anew with that known: whatever can come to a key does so
// also in the smaller search, since nothing that leads there was left out but the
// order of I/O that does not meet.
type touches struct {
	ids   map[touch]int
	all   []touch
	ahead map[spot]*ahead
	grew  bool
}

// spot is how far an actor has come: the write that it did last, if any.
type spot struct {
	actor int
	stage string
}

// ahead is what an actor was seen to touch from a spot on, and what it was asked
// about: whether it meets that or not.
type ahead struct {
	touches []uint64 // a set of touches' ids
	meets   map[touch]bool
}

const mostTouches = 1024 // distinct ones of a scenario

func newTouches() *touches { return &touches{ids: map[touch]int{}, ahead: map[spot]*ahead{}} }

// met reports whether an actor that stands at a stage may still do what meets a touch.
func (k *touches) met(actor int, stage string, t touch) bool {
	if t.key == "" {
		return false
	}
	f := k.of(spot{actor, stage})
	met, asked := f.meets[t]
	if !asked {
		for id, other := range k.all {
			if f.touches[id/64]&(1<<(id%64)) != 0 && other.meets(t) {
				met = true
				break
			}
		}
		f.meets[t] = met
	}
	return met
}

func (k *touches) of(at spot) *ahead {
	f := k.ahead[at]
	if f == nil {
		f = &ahead{touches: make([]uint64, mostTouches/64), meets: map[touch]bool{}}
		k.ahead[at] = f
	}
	return f
}

// does learns what an actor does now, for every stage that it has come by.
func (k *touches) does(c *coroutine, o op) {
	if o.key == "" {
		return
	}
	k.learn(c.index, c.stages, o.touch)
	if o.awaits != nil {
		k.learn(c.index, c.stages, touch{key: o.also})
	}
}

func (k *touches) learn(actor int, stages []string, t touch) {
	id, there := k.ids[t]
	if !there {
		id = len(k.all)
		k.ids[t], k.all = id, append(k.all, t)
	}
	for _, stage := range stages {
		f := k.of(spot{actor, stage})
		if f.touches[id/64]&(1<<(id%64)) != 0 {
			continue
		}
		f.touches[id/64] |= 1 << (id % 64)
		for other, met := range f.meets {
			if !met && other.meets(t) {
				f.meets[other] = true
				k.grew = true
			}
		}
	}
}
