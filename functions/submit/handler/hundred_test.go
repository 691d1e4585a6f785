package handler

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// timeline lets many calls be under way at once on the world's one clock: each
// runs until it sleeps, and the one that wakes first goes on.
type timeline struct {
	w       *world
	asleep  []*sleeper
	current chan struct{} // told when the one that runs has gone to sleep, or ended
}

type sleeper struct {
	until time.Time
	wake  chan struct{}
}

// sleep parks the one that runs.
func (l *timeline) sleep(d time.Duration) {
	s := &sleeper{until: l.w.Now.Add(d), wake: make(chan struct{})}
	l.asleep = append(l.asleep, s)
	l.current <- struct{}{}
	<-s.wake
}

// begin adds one that starts at a moment of the clock.
func (l *timeline) begin(at time.Time, do func()) {
	s := &sleeper{until: at, wake: make(chan struct{})}
	l.asleep = append(l.asleep, s)
	go func() {
		<-s.wake
		do()
		l.current <- struct{}{}
	}()
}

// run goes on until nobody is left.
func (l *timeline) run() {
	for len(l.asleep) > 0 {
		first := 0
		for i, s := range l.asleep {
			if s.until.Before(l.asleep[first].until) {
				first = i
			}
		}
		s := l.asleep[first]
		l.asleep = append(l.asleep[:first], l.asleep[first+1:]...)
		if s.until.After(l.w.Now) {
			l.w.Now = s.until
		}
		s.wake <- struct{}{}
		<-l.current
	}
}

// TestHundredRuns of one workflow start over two minutes, and every 20th reply is
// lost, half of them with a task. At least nine of ten lost replies are decided
// without a person, and none wrongly.
func TestHundredRuns(t *testing.T) {
	const runs, every, seeds = 100, 20, 10
	lost, decided := 0, 0
	var longest time.Duration
	for seed := range uint64(seeds) {
		luck := rand.New(rand.NewPCG(seed, 2))
		w := witnessed(t)
		w.Cyberun.Lag = 2 * time.Second
		line := &timeline{w: w, current: make(chan struct{})}
		posts := 0
		doubted := map[string]bool{}
		w.Around = func(call string, do func() error) error {
			if call != "StartTask" {
				return do()
			}
			posts++
			n := posts
			line.sleep(time.Duration(200+luck.IntN(1500)) * time.Millisecond)
			if n%every != 0 {
				err := do()
				line.sleep(time.Duration(200+luck.IntN(1500)) * time.Millisecond)
				return err
			}
			if n%(2*every) != 0 {
				_ = do()
			}
			line.sleep(time.Duration(luck.IntN(5000)) * time.Millisecond)
			return errNetwork
		}
		errs, retried := map[string]error{}, retriers(t)
		for i := range runs {
			id := fmt.Sprintf("r%d", i)
			line.begin(began.Add(time.Duration(luck.IntN(120_000))*time.Millisecond), func() {
				in := w.input(id, prompted(id))
				for tries := 0; ; tries++ {
					h := w.handler()
					h.Random = func(d time.Duration) time.Duration { return time.Duration(luck.Float64() * float64(d)) }
					h.Sleep = func(_ context.Context, d time.Duration) error { line.sleep(d); return nil }
					_, name, err, _ := w.call(h, in)
					doubted[id] = doubted[id] || name == named.SubmitInDoubt
					retrier, found := retried[name]
					if !found || tries > 1000 {
						errs[id] = err
						longest = max(longest, w.Now.Sub(in.StartedAt))
						return
					}
					line.sleep(time.Duration(luck.Float64() * 2 * float64(delay(retrier, tries))))
				}
			})
		}
		line.run()
		w.Around = nil
		for i := range runs {
			id := fmt.Sprintf("r%d", i)
			paid, record := w.Cyberun.Paid(id), w.Run(id)
			if doubted[id] {
				lost++
			}
			switch {
			case len(paid) > 1:
				t.Errorf("seed %d: %s paid for %v", seed, id, paid)
			case record.TaskID != "" && (len(paid) != 1 || record.TaskID != paid[0]):
				t.Errorf("seed %d: %s has %s and paid for %v", seed, id, record.TaskID, paid)
			case named.Is(errs[id], named.SubmitOutcomeUnknown) && doubted[id]:
				t.Logf("seed %d: %v", seed, errs[id])
			case errs[id] != nil:
				t.Errorf("seed %d: %s: %v", seed, id, errs[id])
			case doubted[id]:
				decided++
			}
		}
	}
	t.Logf("of %d runs %d lost a reply, of which %d were decided without a person; the longest took %s", runs*seeds, lost, decided, longest.Round(time.Second))
	if lost < runs*seeds/every || decided*10 < lost*9 {
		t.Errorf("of %d lost replies %d were decided", lost, decided)
	}
}
