package explore

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// scenario is a world with its actors, and what must hold of its ends beside the
// invariants.
type scenario struct {
	name  string
	build func(*scene)
	// lostEvents says that EventBridge's events do not come when the world is brought
	// to rest; then the sweep alone closes.
	lostEvents bool
	// early says that a person's decision may come before what it says is true: then a
	// run may pay twice, and what it learns of must still not be lost.
	early bool
	// after is called at each end, when the world has come to rest and what failed was
	// redriven.
	after func(*judge)
}

type violation struct {
	text     string
	ends     int
	schedule []choice
}

type outcome struct {
	states, ends, runs int
	exhausted          bool
	took               time.Duration
	violations         []violation
}

// search explores one scenario, depth first.
type search struct {
	scenario scenario
	scene    *scene
	most     int
	first    bool
	touches  *touches
	memory   *memory

	stack   []branch
	visited map[uint64]uint64 // state → the steps that were not taken from it
	out     outcome
	found   map[string]*violation
}

// branch is a step that is still to be taken: from where, and the steps that need
// not be taken after it, since an equal order of them was.
type branch struct {
	from  *state
	trail *trail
	step  choice
	sleep uint64
}

// trail is the way to a state, its last step first.
type trail struct {
	before *trail
	step   choice
}

func (t *trail) path() (path []choice) {
	for ; t != nil; t = t.before {
		path = append(path, t.step)
	}
	slices.Reverse(path)
	return path
}

// explore follows every schedule of a scenario, up to as many states as most; with
// first it stops at the first violation.
func explore(sc scenario, faults, most int, first bool) outcome {
	began := time.Now()
	s := prepare(sc, faults)
	s.most, s.first = most, first
	defer s.memory.end()
	s.walk()
	for {
		s.touches.grew = false
		s.visited, s.found, s.out, s.stack = map[uint64]uint64{}, map[string]*violation{}, outcome{}, nil
		s.follow(s.origin(), nil, 0)
		for len(s.stack) > 0 && !s.over() {
			b := s.stack[len(s.stack)-1]
			s.stack = s.stack[:len(s.stack)-1]
			s.follow(s.step(b.from, b.step), &trail{b.trail, b.step}, b.sleep)
		}
		if !s.touches.grew || len(s.found) > 0 && first {
			break
		}
	}
	s.out.exhausted = len(s.stack) == 0
	s.out.took, s.out.runs = time.Since(began), s.memory.runs
	for _, v := range s.found {
		s.out.violations = append(s.out.violations, *v)
	}
	slices.SortFunc(s.out.violations, func(a, b violation) int { return strings.Compare(a.text, b.text) })
	return s.out
}

func prepare(sc scenario, faults int) *search {
	s := &search{scenario: sc, scene: newScene(), touches: newTouches()}
	sc.build(s.scene)
	s.scene.faults, s.scene.wrong = faults, nil
	s.memory = &memory{touches: s.touches}
	return s
}

// walks is how many schedules are tried at random first, to learn what touches what:
// each time that the search itself learns of it, it begins anew.
const walks = 300

func (s *search) walk() {
	random := rand.New(rand.NewPCG(1, 2)) // the same ones each time
	for range walks {
		now := s.origin()
		for choices := s.choices(now); len(choices) > 0; choices = s.choices(now) {
			now = s.step(now, choices[random.IntN(len(choices))])
		}
	}
}

// origin is the state that a search begins in.
func (s *search) origin() *state {
	now := &state{s.scene.world.clone(), make([]*moment, len(s.scene.actors))}
	s.begin(now)
	return now
}

func (s *search) over() bool {
	return s.touches.grew || s.out.states >= s.most || s.first && len(s.found) > 0
}

// follow goes on from a state to an end, leaving the other branches on the stack.
func (s *search) follow(now *state, way *trail, sleep uint64) {
	for !s.over() {
		choices := s.choices(now)
		if len(choices) == 0 {
			s.end(now, way)
			return
		}
		todo, done := s.todo(now.hash(), choices, sleep)
		if len(todo) == 0 {
			return
		}
		for i, c := range todo {
			child := now.asleep(done, c)
			if i == 0 {
				sleep = child
			} else {
				s.stack = append(s.stack, branch{now, way, c, child})
			}
			done |= c.bit()
		}
		now, way = s.step(now, todo[0]), &trail{way, todo[0]}
	}
	// Cut short: what is left here counts as not explored.
	s.stack = append(s.stack, branch{from: now, trail: way})
}

// asleep keeps of the steps that need not be taken those that c does not touch.
func (now *state) asleep(sleep uint64, c choice) (kept uint64) {
	if sleep == 0 {
		return 0
	}
	for actor := range now.actors {
		for how := range fates {
			b := choice{actor, how}
			if sleep&b.bit() != 0 && now.independent(b, c) {
				kept |= b.bit()
			}
		}
	}
	return kept
}

// todo lists the steps to take from a state: all but the sleeping ones the first
// time, later those that slept then and do not now. done are the steps that need
// not be taken after these: the sleeping ones, and those that were taken before.
func (s *search) todo(state uint64, choices []choice, sleep uint64) (todo []choice, done uint64) {
	slept, seen := s.visited[state]
	done = sleep
	for _, c := range choices {
		switch {
		case seen && slept&c.bit() == 0:
			done |= c.bit()
		case sleep&c.bit() == 0:
			todo = append(todo, c)
		}
	}
	if seen {
		s.visited[state] = slept & sleep
	} else {
		s.visited[state] = sleep
		s.out.states++
	}
	return todo, done
}

func (s *search) end(now *state, way *trail) {
	hash := now.hash()
	if _, seen := s.visited[hash]; seen {
		return
	}
	s.visited[hash] = 0
	s.out.states++
	s.out.ends++
	for _, text := range s.scenario.judge(now.world) {
		v := s.found[text]
		if v == nil {
			v = &violation{text: text, schedule: way.path()}
			s.found[text] = v
		}
		v.ends++
	}
}
