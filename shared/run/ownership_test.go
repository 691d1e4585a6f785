package run

import "testing"

// ownerships are all that can be known of a task among two runs.
func ownerships() (all []Ownership) {
	for _, how := range []Evidence{ByRescue, AsCandidate, ByExclusion, ByReceipt} {
		for _, starter := range []string{"", "r1", "r2"} {
			for _, deliverer := range []string{"", "r1", "r2"} {
				all = append(all, Ownership{StartedBy: starter, Evidence: how, DeliveredBy: deliverer})
			}
		}
	}
	return all
}

// TestOwnershipOnlyGrows: what is known of who started a task never gets less
// sure, a surer fact is always taken, and a deliverer that stands is not replaced.
func TestOwnershipOnlyGrows(t *testing.T) {
	for _, o := range ownerships() {
		for _, fact := range ownerships() {
			next := o.With(fact)
			switch {
			case o.Evidence.StrongerThan(next.Evidence):
				t.Errorf("%+v with %+v knows less: %+v", o, fact, next)
			case fact.Evidence.StrongerThan(o.Evidence) && (next.Evidence != fact.Evidence || next.StartedBy != fact.StartedBy):
				t.Errorf("%+v with %+v does not take it: %+v", o, fact, next)
			case !fact.Evidence.StrongerThan(o.Evidence) && (next.Evidence != o.Evidence || next.StartedBy != o.StartedBy):
				t.Errorf("%+v with %+v takes what is no surer: %+v", o, fact, next)
			case o.DeliveredBy != "" && next.DeliveredBy != o.DeliveredBy:
				t.Errorf("%+v with %+v has another deliverer: %+v", o, fact, next)
			case o.DeliveredBy == "" && next.DeliveredBy != fact.DeliveredBy:
				t.Errorf("%+v with %+v has no deliverer: %+v", o, fact, next)
			case next.With(fact) != next:
				t.Errorf("%+v with %+v twice is another", o, fact)
			}
		}
	}
}

// TestMayCancel: a run may cancel a task that it started by a receipt and
// delivers, and no other.
func TestMayCancel(t *testing.T) {
	may := 0
	for _, o := range ownerships() {
		want := o == Ownership{StartedBy: "r1", Evidence: ByReceipt, DeliveredBy: "r1"}
		if o.MayCancel("r1") != want {
			t.Errorf("%+v: %v", o, !want)
		}
		if want {
			may++
		}
	}
	if may != 1 {
		t.Errorf("%d of them may", may)
	}
}

func TestCertain(t *testing.T) {
	for how, want := range map[Evidence]bool{ByReceipt: true, ByExclusion: true, AsCandidate: false, ByRescue: false, "": false} {
		if how.Proves() != want {
			t.Errorf("%q: %v", how, !want)
		}
	}
}
