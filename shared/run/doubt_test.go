package run

import (
	"slices"
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	task := func(id string, second int, owner string) Candidate {
		return Candidate{TaskID: id, CreatedAt: noon.Add(time.Duration(second) * time.Second), Owner: owner}
	}
	disputed := func(c Candidate) Candidate { c.Disputed = true; return c }
	marker := func(run string, from, until int) Marker {
		return Marker{RunID: run, Window: Window{noon.Add(time.Duration(from) * time.Second), noon.Add(time.Duration(until) * time.Second)}}
	}
	tests := []struct {
		name    string
		tasks   []Candidate
		markers []Marker
		want    Verdict
		ids     []string
	}{
		{"nothing", nil, nil, Absent, nil},
		{"nothing, and another run is submitting", nil, []Marker{marker("other", -5, 30)}, Absent, nil},
		{"one that another run has", []Candidate{task("t1", 1, "other")}, nil, Absent, nil},
		{"one that nobody has", []Candidate{task("t1", 1, "")}, nil, Ours, []string{"t1"}},
		{"one that we have", []Candidate{task("t1", 1, "me")}, nil, Ours, []string{"t1"}},
		{"one of ours beside another's", []Candidate{task("t2", 2, "other"), task("t1", 1, "")}, nil, Ours, []string{"t1"}},
		{"our own marker is no rival", []Candidate{task("t1", 1, "")}, []Marker{marker("me", -5, 30)}, Ours, []string{"t1"}},
		{"a rival whose window holds it", []Candidate{task("t1", 1, "")}, []Marker{marker("me", -5, 30), marker("other", -5, 30)}, Rivals, []string{"t1"}},
		{"a rival whose window begins with it", []Candidate{task("t1", 1, "")}, []Marker{marker("other", 1, 30)}, Rivals, []string{"t1"}},
		{"a rival whose window ends with it", []Candidate{task("t1", 1, "")}, []Marker{marker("other", -30, 1)}, Rivals, []string{"t1"}},
		{"a rival that was earlier", []Candidate{task("t1", 1, "")}, []Marker{marker("other", -60, 0)}, Ours, []string{"t1"}},
		{"a rival that was later", []Candidate{task("t1", 1, "")}, []Marker{marker("other", 2, 60)}, Ours, []string{"t1"}},
		{"two that nobody has", []Candidate{task("t2", 2, ""), task("t1", 1, "")}, nil, Unclear, []string{"t1", "t2"}},
		{"two, and a rival that may take one", []Candidate{task("t2", 2, ""), task("t1", 1, "")}, []Marker{marker("other", 2, 3)}, Rivals, []string{"t1", "t2"}},
		{"two, one of them ours already", []Candidate{task("t2", 2, ""), task("t1", 1, "me")}, nil, Unclear, []string{"t1", "t2"}},
		{"one that another run in doubt named", []Candidate{disputed(task("t1", 1, ""))}, nil, Unclear, []string{"t1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			verdict, ids := Judge("me", test.tasks, test.markers)
			if verdict != test.want || !slices.Equal(ids, test.ids) {
				t.Errorf("got %v %v, want %v %v", verdict, ids, test.want, test.ids)
			}
			slices.Reverse(test.tasks)
			slices.Reverse(test.markers)
			if again, idsAgain := Judge("me", test.tasks, test.markers); again != verdict || !slices.Equal(ids, idsAgain) {
				t.Errorf("in another order: %v %v", again, idsAgain)
			}
		})
	}
}

// Of two runs in doubt over one task, never both may call it theirs.
func TestTwoRunsNeverAdoptOneTask(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for gap := -40; gap <= 40; gap++ {
		one := Submission{MarkedAt: noon, PostUntil: noon.Add(25 * time.Second)}
		two := Submission{MarkedAt: noon.Add(time.Duration(gap) * time.Second), PostUntil: noon.Add(time.Duration(gap+25) * time.Second)}
		markers := []Marker{{RunID: "one", Window: one.Window()}, {RunID: "two", Window: two.Window()}}
		for second := -40; second <= 80; second++ {
			created := noon.Add(time.Duration(second) * time.Second)
			if !one.Window().Contains(created) || !two.Window().Contains(created) {
				continue
			}
			tasks := []Candidate{{TaskID: "t", CreatedAt: created}}
			for _, id := range []string{"one", "two"} {
				if verdict, _ := Judge(id, tasks, markers); verdict != Rivals {
					t.Fatalf("gap %d, task at %d: %s says %v", gap, second, id, verdict)
				}
			}
		}
	}
}

func TestWindow(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	w := Submission{MarkedAt: noon, PostUntil: noon.Add(25 * time.Second)}.Window()
	for second, want := range map[int]bool{-6: false, -5: true, 0: true, 25: true, 30: true, 31: false} {
		if got := w.Contains(noon.Add(time.Duration(second) * time.Second)); got != want {
			t.Errorf("second %d: %v, want %v", second, got, want)
		}
	}
}
