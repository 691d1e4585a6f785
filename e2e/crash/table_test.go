package crash

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

// workers play cells side by side. Cells wait more than they work, and two
// processors keep up with so many.
const workers = 16

// leastCells: fewer would mean that the dry runs saw too little.
const leastCells = 30

func gated(t *testing.T) {
	t.Helper()
	if os.Getenv("RELAY_CRASH") != "1" {
		t.Skip("RELAY_CRASH is not 1: `make crash` kills the functions at each of their calls, which takes minutes")
	}
}

// TestCrashPoints: whatever happens at whichever call, one run pays for one task
// at most, and what was paid is delivered or named.
func TestCrashPoints(t *testing.T) {
	gated(t)
	start := time.Now()
	b := newBench(t)
	all := append(scenarios(), copyScenarios()...)
	if only := os.Getenv("RELAY_CRASH_ONLY"); only != "" {
		all = slices.DeleteFunc(all, func(s scenario) bool { return !strings.Contains(s.title, only) })
	}
	pool := newPool(t, b, slices.ContainsFunc(all, func(s scenario) bool { return s.witness }))
	dry := make([]result, len(all))
	for i, s := range all { // one after the other: a busy machine adds calls to a dry run
		dry[i] = pool.dryRun(t.Context(), s)
	}
	var group sync.WaitGroup
	sum := summary{ends: map[string]int{}}
	tables := make([]*table, len(all))
	for i, s := range all {
		tables[i] = &table{scenario: s, dry: dry[i], results: map[call]map[kind]result{}}
		if len(dry[i].problems) > 0 {
			t.Fatalf("%s: even without a fault: %s\n%s", s.title, strings.Join(dry[i].problems, "; "), dry[i].log)
		}
		tables[i].play(t.Context(), pool, &group)
	}
	group.Wait()
	for _, table := range tables {
		table.print(t, &sum)
	}
	sum.print(time.Since(start))
	if sum.cells < leastCells && os.Getenv("RELAY_CRASH_ONLY") == "" {
		t.Errorf("only %d cells", sum.cells)
	}
}

// pool hands out worlds.
type pool chan *world

// newPool gives each world a witness that is old enough, if one is needed.
func newPool(t *testing.T, b *bench, witnessed bool) pool {
	p := make(pool, workers)
	var group sync.WaitGroup
	for range workers {
		w := b.newWorld(t)
		if witnessed {
			group.Go(func() {
				if err := w.complete(t.Context()); err != nil {
					t.Errorf("the first run of a world: %v", err)
				}
			})
		}
		p <- w
	}
	if group.Wait(); witnessed && !t.Failed() {
		time.Sleep(witnessAge)
	}
	if t.Failed() {
		t.FailNow()
	}
	return p
}

func (p pool) play(ctx context.Context, s scenario, f fault) result {
	w := <-p
	defer func() { p <- w }()
	c, err := s.cell(ctx, w, f)
	if err != nil {
		return result{problems: []string{err.Error()}}
	}
	return c.play(ctx)
}

// dryRun lists the calls of a scenario without its fault.
func (p pool) dryRun(ctx context.Context, s scenario) (r result) {
	const most = 5 // tries: a busy machine may have taken another way
	for range most {
		r = p.play(ctx, s, fault{})
		if len(r.problems) == 0 && (s.calls == 0 || r.calls == s.calls) {
			break
		}
	}
	if s.first {
		answer := slices.IndexFunc(r.recorded, func(c call) bool { return c.upstream == "lambda" })
		r.recorded = r.recorded[:answer+1]
	}
	return r
}

// table is one scenario's: its calls in order, down; the kinds, across.
type table struct {
	scenario scenario
	dry      result
	mu       sync.Mutex
	results  map[call]map[kind]result
}

func (tb *table) play(ctx context.Context, p pool, group *sync.WaitGroup) {
	for _, c := range tb.dry.recorded {
		tb.results[c] = map[kind]result{}
	}
	for _, c := range tb.dry.recorded {
		for _, k := range tb.scenario.kinds {
			if !k.applies(c) {
				continue
			}
			group.Go(func() {
				r := p.play(ctx, tb.scenario, fault{c.name, c.n, k})
				tb.mu.Lock()
				defer tb.mu.Unlock()
				tb.results[c][k] = r
			})
		}
	}
}

func (tb *table) print(t *testing.T, sum *summary) {
	fmt.Printf("\n%s (without a fault: %s)\n", tb.scenario.title, tb.dry.cell(tb.scenario))
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "  call")
	for _, k := range tb.scenario.kinds {
		fmt.Fprintf(w, "\t%s", k)
	}
	fmt.Fprintln(w)
	for i, c := range tb.dry.recorded {
		fmt.Fprintf(w, "  %2d %s", i+1, c.name)
		for _, k := range tb.scenario.kinds {
			r, ok := tb.results[c][k]
			if !ok {
				fmt.Fprint(w, "\t·")
				continue
			}
			fmt.Fprintf(w, "\t%s", r.cell(tb.scenario))
			sum.add(tb.scenario, r)
			if len(r.problems) > 0 {
				t.Errorf("%s, %s, %q (%d):\n  %s\n%s", tb.scenario.title, k, c.name, c.n, strings.Join(r.problems, "\n  "), r.log)
			}
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush()
}

// cell is how a result stands in the table: tasks paid, the end, in how many
// calls; with a file, how often it was uploaded.
func (r result) cell(s scenario) string {
	text := fmt.Sprintf("%d %s /%d", r.paid, r.end, r.calls)
	if s.file {
		text += fmt.Sprintf(" ↑%d", r.uploads)
	}
	if len(r.problems) > 0 {
		text = "!! " + text
	}
	return text
}

type summary struct {
	cells, bad, files, twice int
	ends                     map[string]int
}

func (s *summary) add(sc scenario, r result) {
	s.cells++
	s.ends[fmt.Sprintf("%d paid, %s", r.paid, r.end)]++
	if len(r.problems) > 0 {
		s.bad++
	}
	if sc.file {
		s.files++
		if r.uploads > 1 {
			s.twice++
		}
	}
}

func (s *summary) print(took time.Duration) {
	fmt.Printf("\n%d cells in %.0f s, %d of them wrong\n", s.cells, took.Seconds(), s.bad)
	for _, end := range slices.Sorted(maps.Keys(s.ends)) {
		fmt.Printf("  %4d  %s\n", s.ends[end], end)
	}
	if s.files > 0 {
		fmt.Printf("  a file was uploaded a second time in %d of %d cells with a file\n", s.twice, s.files)
	}
	fmt.Println("A cell: tasks paid, how the run ended, / calls of the function. ok: its own 202; adopted: found in the list.")
}
