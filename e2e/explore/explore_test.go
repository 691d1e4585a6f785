package explore

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

var (
	faultsFlag = flag.Int("faults", 1, "faults in each schedule")
	only       = flag.String("only", "", "scenarios of these names, separated by semicolons")
	most       = flag.Int("states", 2_000_000, "states at most, for each scenario")
	schedule   = flag.String("replay", "", "a schedule as a violation printed it, of the one scenario named with -only")
	first      = flag.Bool("first", false, "stop at the first violation")
	all        = flag.Bool("all", false, "every scenario, not only those that matter most")
)

// inTests is how many of the scenarios, the first ones, run without -all.
const inTests = 8

// workers explore scenarios side by side: as many as the smallest machine has cores.
const workers = 2

// least is how many states a scenario must have to say anything.
const least = 300

func chosen(t *testing.T) []scenario {
	if *only == "" {
		if *all {
			return scenarios
		}
		return scenarios[:inTests]
	}
	var some []scenario
	for name := range strings.SplitSeq(*only, ";") {
		i := slices.IndexFunc(scenarios, func(sc scenario) bool { return sc.name == name })
		if i < 0 {
			t.Fatalf("no scenario is named %q", name)
		}
		some = append(some, scenarios[i])
	}
	return some
}

func TestExplore(t *testing.T) {
	if raced && !*all && *only == "" {
		t.Skip("the scenarios are explored without the race detector: make explored")
	}
	if *schedule != "" {
		replayOne(t)
		return
	}
	chosen := chosen(t)
	outcomes := make([]outcome, len(chosen))
	fmt.Printf("%-50s %6s %8s %6s %8s %9s %7s %s\n", "scenario", "faults", "states", "ends", "code runs", "exhausted", "time", "violations")
	var group sync.WaitGroup
	var printing sync.Mutex
	next := make(chan int)
	for range workers {
		group.Go(func() {
			for i := range next {
				outcomes[i] = explore(chosen[i], *faultsFlag, *most, *first)
				printing.Lock()
				outcomes[i].print(chosen[i].name)
				printing.Unlock()
			}
		})
	}
	for i := range chosen {
		next <- i
	}
	close(next)
	group.Wait()
	for i, sc := range chosen {
		t.Run(sc.name, func(t *testing.T) { report(t, sc, outcomes[i]) })
	}
}

// print is a scenario's row of the table.
func (out outcome) print(name string) {
	fmt.Printf("%-50s %6d %8d %6d %8d %9v %6.1fs %d\n", name, *faultsFlag, out.states, out.ends, out.runs, out.exhausted, out.took.Seconds(), len(out.violations))
}

// report fails on what must not be.
func report(t *testing.T, sc scenario, out outcome) {
	for _, v := range out.violations {
		words, _, _, err := replay(sc, *faultsFlag, v.schedule)
		if err != nil {
			words = append(words, err.Error())
		}
		t.Errorf("%s (%d of %d ends)\n    %s\n    replay: make explore FAULTS=%d ONLY=%s REPLAY=%s", v.text, v.ends, out.ends,
			strings.Join(words, "\n    "), *faultsFlag, strconv.Quote(sc.name), line(v.schedule))
	}
	if out.states < least {
		t.Errorf("only %d states", out.states)
	}
	if !out.exhausted && *faultsFlag < 2 && !*first {
		t.Errorf("not exhausted after %d states", out.states)
	}
}

func replayOne(t *testing.T) {
	some := chosen(t)
	path, err := parseLine(*schedule)
	if err != nil || len(some) != 1 {
		t.Fatalf("%v; %d scenarios", err, len(some))
	}
	words, notes, _, err := replay(some[0], *faultsFlag, path)
	t.Logf("%s\n    %s", some[0].name, strings.Join(words, "\n    "))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range notes {
		t.Error(n)
	}
}
