package explore

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// scenario is a world with its actors, and what must hold of its ends beside the
// invariants.
type scenario struct {
	name  string
	build func(faults int) *universe
	// events says whether EventBridge's events come in the drain; without them the
	// sweep alone closes.
	lostEvents bool
	// bounded is how many states are explored where all of them take too long for a
	// test of each change; named with -only, as many as -states allows.
	bounded int
	// after is called at each end, after the drain.
	after func(*universe)
}

// judge brings a world to rest and returns what is wrong with it: then, and after
// what failed was redriven.
func (sc scenario) judge(u *universe) []string {
	u.drain(!sc.lostEvents)
	if sc.after != nil {
		sc.after(u)
	}
	u.judge()
	if u.redriveAll() {
		u.drain(!sc.lostEvents)
		u.judge()
	}
	return u.notes
}

type violation struct {
	text     string
	ends     int
	schedule []choice
	words    []string
}

type outcome struct {
	states, ends, replays int
	exhausted             bool
	took                  time.Duration
	violations            []violation
}

// node is a state that is still to be explored: the way there, and the steps that
// need not be taken from it, since an equal order of them was.
type node struct {
	path  []choice
	sleep uint64
}

// search explores one scenario with several workers on one stack.
type search struct {
	scenario scenario
	faults   int
	most     int
	keys     *keys

	mu      sync.Mutex
	more    *sync.Cond
	stack   []node
	working int
	visited map[uint64]uint64 // state → the steps that were not taken from it
	out     outcome
	found   map[string]*violation
}

func explore(sc scenario, faults, most, workers int) outcome {
	began, known := time.Now(), newKeys()
	train(sc, faults, known)
	for {
		s := &search{scenario: sc, faults: faults, most: most, keys: known, visited: map[uint64]uint64{}, found: map[string]*violation{}, stack: []node{{}}}
		s.more = sync.NewCond(&s.mu)
		var group sync.WaitGroup
		for range workers {
			group.Go(s.work)
		}
		group.Wait()
		if known.grew {
			known.grew = false
			continue
		}
		s.out.took = time.Since(began)
		s.out.exhausted = len(s.stack) == 0
		for _, v := range s.found {
			s.out.violations = append(s.out.violations, *v)
		}
		slices.SortFunc(s.out.violations, func(a, b violation) int { return strings.Compare(a.text, b.text) })
		return s.out
	}
}

// walks is how many schedules are tried at random first, to learn what touches what.
const walks = 300

func train(sc scenario, faults int, known *keys) {
	random := rand.New(rand.NewPCG(1, 2))
	for range walks {
		u := sc.build(faults)
		u.quiet, u.keys = false, known
		u.begin()
		for {
			choices := u.choices()
			if len(choices) == 0 {
				break
			}
			c := choices[random.IntN(len(choices))]
			u.step(c)
		}
		u.close()
	}
	known.grew = false
}

func (s *search) work() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.stack) == 0 && s.working > 0 {
			s.more.Wait()
		}
		if len(s.stack) == 0 || s.out.states >= s.most || *first && len(s.found) > 0 || s.keys.hasGrown() {
			s.more.Broadcast()
			return
		}
		n := s.stack[len(s.stack)-1]
		s.stack = s.stack[:len(s.stack)-1]
		s.working++
		s.mu.Unlock()
		s.follow(n)
		s.mu.Lock()
		s.working--
		s.more.Broadcast()
	}
}

// follow replays the way to a state and goes on from it to an end, leaving the
// other branches on the stack.
func (s *search) follow(n node) {
	u := s.scenario.build(s.faults)
	u.quiet, u.keys = false, s.keys
	u.begin()
	words := make([]string, 0, 64)
	path := slices.Clone(n.path)
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(os.Stderr, "%s: panic at %s: %v\n%s", s.scenario.name, line(path), r, debug.Stack())
			os.Exit(1)
		}
	}()
	for _, c := range path {
		words = append(words, u.word(c))
		u.step(c)
	}
	sleep := n.sleep
	s.mu.Lock()
	s.out.replays++
	s.mu.Unlock()
	for {
		choices := u.choices()
		if len(choices) == 0 {
			if s.first(u.hash()) {
				s.end(u, path, words)
			} else {
				u.close()
			}
			return
		}
		todo, done := s.todo(u.hash(), choices, sleep)
		if len(todo) == 0 {
			u.close()
			return
		}
		next := todo[0]
		var first uint64
		branches := make([]node, 0, len(todo)-1)
		for i, c := range todo {
			child := s.asleep(u, done, c)
			if i == 0 {
				first = child
			} else {
				branches = append(branches, node{path: append(slices.Clone(path), c), sleep: child})
			}
			done |= c.bit()
		}
		if len(branches) > 0 {
			s.mu.Lock()
			s.stack = append(s.stack, branches...)
			s.more.Broadcast()
			s.mu.Unlock()
		}
		path = append(path, next)
		words = append(words, u.word(next))
		sleep = first
		u.step(next)
	}
}

// asleep keeps of the steps that need not be taken those that c does not touch.
func (s *search) asleep(u *universe, sleep uint64, c choice) uint64 {
	var kept uint64
	for actor := range u.actors {
		for how := range decisions {
			b := choice{actor, how}
			if sleep&b.bit() != 0 && u.independent(b, c) {
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
	s.mu.Lock()
	defer s.mu.Unlock()
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

func (s *search) first(state uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, seen := s.visited[state]; seen {
		return false
	}
	s.visited[state] = 0
	s.out.states++
	s.out.ends++
	return true
}

func (s *search) end(u *universe, path []choice, words []string) {
	notes := s.scenario.judge(u)
	u.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range notes {
		v := s.found[text]
		if v == nil {
			v = &violation{text: text, schedule: slices.Clone(path), words: slices.Clone(words)}
			s.found[text] = v
		}
		v.ends++
	}
}

// word says a step in words.
func (u *universe) word(c choice) string {
	a := u.actors[c.actor]
	return strings.TrimSpace(fmt.Sprintf("%-10s %s %s", a.name, a.pending.name, decisionNames[c.how]))
}

// line writes a schedule so that it can be replayed: actor and decision of each
// step, runs of one actor in short.
func line(path []choice) string {
	var b strings.Builder
	for i := 0; i < len(path); {
		j := i
		for j < len(path) && path[j] == path[i] {
			j++
		}
		fmt.Fprintf(&b, "%d.%d*%d,", path[i].actor, path[i].how, j-i)
		i = j
	}
	return strings.TrimSuffix(b.String(), ",")
}

func parseLine(text string) (path []choice, err error) {
	for part := range strings.SplitSeq(text, ",") {
		var actor, how, times int
		if _, err := fmt.Sscanf(part, "%d.%d*%d", &actor, &how, &times); err != nil {
			return nil, fmt.Errorf("%q is no step of a schedule: %w", part, err)
		}
		for range times {
			path = append(path, choice{actor, decision(how)})
		}
	}
	return path, nil
}

// replay follows one schedule to its end and judges it.
func replay(sc scenario, faults int, path []choice) (words, notes []string) {
	u := sc.build(faults)
	u.quiet = false
	u.begin()
	for _, c := range path {
		words = append(words, u.word(c))
		u.step(c)
	}
	for len(u.choices()) > 0 { // the line may have been cut
		c := u.choices()[0]
		words = append(words, u.word(c)+" (not in the line)")
		u.step(c)
	}
	notes = sc.judge(u)
	u.close()
	return words, notes
}
