package explore

import (
	"slices"
	"testing"
)

// TestReplay: a violation that is planted is replayed from its one line to the same
// end, and a line of other code is refused.
func TestReplay(t *testing.T) {
	sc := scenarios[0]
	sc.after = func(j *judge) {
		if len(j.receipts) == 0 && len(j.paid("r1")) > 0 {
			j.note("planted: r1 has paid, and nobody was told so")
		}
	}
	out := explore(sc, 1, *most, true)
	if len(out.violations) != 1 {
		t.Fatalf("%d violations", len(out.violations))
	}
	v := out.violations[0]
	path, err := parseLine(line(v.schedule))
	if err != nil || !slices.Equal(path, v.schedule) {
		t.Fatalf("%v is read as %v: %v", v.schedule, path, err)
	}
	words, notes, end, err := replay(sc, 1, path)
	if err != nil || len(words) != len(path) || !slices.Equal(notes, []string{v.text}) {
		t.Errorf("%d words of %d, %q, %v; found was %q", len(words), len(path), notes, err, v.text)
	}
	if _, _, again, _ := replay(sc, 1, v.schedule); again.hash() != end.hash() {
		t.Error("two replays come to different ends")
	}
	if _, _, _, err := replay(sc, 1, append(path, path...)); err == nil {
		t.Error("a line that the code does not follow is replayed")
	}
}
