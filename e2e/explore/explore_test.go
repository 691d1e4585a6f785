package explore

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

var (
	faultsFlag = flag.Int("faults", 1, "faults in each schedule")
	only       = flag.String("only", "", "scenarios whose names contain this; separated by semicolons")
	most       = flag.Int("states", 0, "states at most, for each scenario; 0: 2,000,000 with -all or -only, else 5,000")
	schedule   = flag.String("replay", "", "a schedule as a violation printed it, of the one scenario named with -only")
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
	if *schedule != "" {
		replayOne(t)
		return
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	if *all || *only != "" {
		fmt.Fprintf(table, "scenario\tfaults\tstates\tends\treplays\texhausted\ttime\tviolations\n")
		defer table.Flush()
	}
	for _, sc := range chosen(t) {
		t.Run(sc.name, func(t *testing.T) {
			deep := *all || *only != ""
			limit := cmp.Or(*most, 5000)
			if deep {
				limit = cmp.Or(*most, 2_000_000)
			}
			out := explore(sc, *faultsFlag, limit, workers)
			if !out.exhausted {
				t.Logf("not exhausted: %d states were looked at", out.states)
			}
			if *all || *only != "" {
				fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%v\t%s\t%d\n", sc.name, *faultsFlag, out.states, out.ends, out.replays, out.exhausted, out.took.Round(10*time.Millisecond), len(out.violations))
			}
			for _, v := range out.violations {
				t.Errorf("%s (%d of %d ends)\n    %s\n    replay: make explore FAULTS=%d ONLY=%s REPLAY=%s", v.text, v.ends, out.ends,
					strings.Join(v.words, "\n    "), *faultsFlag, strconv.Quote(sc.name), line(v.schedule))
			}
			if deep && out.states < least {
				t.Errorf("only %d states", out.states)
			}
			if deep && !out.exhausted && *faultsFlag < 2 {
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
