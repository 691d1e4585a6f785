package run

// Evidence says how it is known which run started a task. Of two values one is stronger,
// and what is known of a task is only ever replaced by what has stronger evidence.
type Evidence string

// The values of [Evidence], the strongest first.
const (
	ByReceipt   Evidence = "receipt"   // Cyberun's answer to the run's POST named the task
	ByExclusion Evidence = "exclusion" // found after a lost reply as the only task that it can be, or named by a person's decision
	AsCandidate Evidence = "candidate" // a run in doubt has it among its candidates
	ByRescue    Evidence = "rescue"    // a person named it for a run, and who started it is not known
)

var strength = map[Evidence]int{ByRescue: 1, AsCandidate: 2, ByExclusion: 3, ByReceipt: 4}

// StrongerThan reports whether h is stronger evidence than o.
func (h Evidence) StrongerThan(o Evidence) bool { return strength[h] > strength[o] }

// Proves reports whether h leaves no doubt about which run started the task.
func (h Evidence) Proves() bool { return h == ByReceipt || h == ByExclusion }

// Ownership is the object tasks/{task_id} in the state bucket: which run started
// a task, how that is known, and which run delivers it.
type Ownership struct {
	StartedBy   string   `json:"started_by,omitempty"`
	Evidence    Evidence `json:"how"`
	DeliveredBy string   `json:"delivered_by,omitempty"`
}

// With returns the ownership with one more fact. StartedBy and Evidence change only if
// the fact's evidence is stronger than what was known, DeliveredBy only if no run
// delivers the task yet.
func (o Ownership) With(fact Ownership) Ownership {
	if fact.Evidence.StrongerThan(o.Evidence) {
		o.StartedBy, o.Evidence = fact.StartedBy, fact.Evidence
	}
	if o.DeliveredBy == "" {
		o.DeliveredBy = fact.DeliveredBy
	}
	return o
}

// MayCancel reports whether a run may cancel the task: only if a receipt says that it
// started the task, and it still delivers it.
func (o Ownership) MayCancel(runID string) bool {
	return o.Evidence == ByReceipt && o.StartedBy == runID && o.DeliveredBy == runID
}
