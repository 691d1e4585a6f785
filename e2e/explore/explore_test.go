package explore

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	faultsFlag = flag.Int("faults", 1, "faults in each schedule")
	only       = flag.String("only", "", "scenarios whose names contain this; separated by semicolons")
	most       = flag.Int("states", 2_000_000, "states at most, for each scenario")
	schedule   = flag.String("replay", "", "a schedule as a violation printed it, of the one scenario named with -only")
	first      = flag.Bool("first", false, "stop at the first violation")
	all        = flag.Bool("all", false, "every scenario, and the table of figures")
)

// inTests is how many of the scenarios, the first ones, run without -all.
const inTests = 8

// workers explore one scenario together: as many as the smallest machine has cores.
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
	for _, sc := range scenarios {
		if slices.ContainsFunc(strings.Split(*only, ";"), func(name string) bool { return sc.name == name }) {
			some = append(some, sc)
		}
	}
	if len(some) == 0 {
		t.Fatalf("no scenario is named %q", *only)
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
	fmt.Printf("%-50s %6s %8s %6s %8s %9s %7s %s\n", "scenario", "faults", "states", "ends", "replays", "exhausted", "time", "violations")
	for _, sc := range chosen(t) {
		t.Run(sc.name, func(t *testing.T) {
			most := *most
			if sc.bounded > 0 && *only == "" {
				most = min(most, sc.bounded)
			}
			out := explore(sc, *faultsFlag, most, workers)
			fmt.Printf("%-50s %6d %8d %6d %8d %9v %6.1fs %d\n", sc.name, *faultsFlag, out.states, out.ends, out.replays, out.exhausted, out.took.Seconds(), len(out.violations))
			for _, v := range out.violations {
				t.Errorf("%s (%d of %d ends)\n    %s\n    replay: make explore FAULTS=%d ONLY=%s REPLAY=%s", v.text, v.ends, out.ends,
					strings.Join(v.words, "\n    "), *faultsFlag, strconv.Quote(sc.name), line(v.schedule))
			}
			if out.states < least {
				t.Errorf("only %d states", out.states)
			}
			if !out.exhausted && *faultsFlag < 2 && sc.bounded == 0 && !*first {
				t.Errorf("not exhausted after %d states", out.states)
			}
		})
	}
}

func replayOne(t *testing.T) {
	some := chosen(t)
	path, err := parseLine(*schedule)
	if err != nil || len(some) != 1 {
		t.Fatalf("%v; %d scenarios", err, len(some))
	}
	words, notes := replay(some[0], *faultsFlag, path)
	t.Logf("%s\n    %s", some[0].name, strings.Join(words, "\n    "))
	for _, n := range notes {
		t.Error(n)
	}
}
