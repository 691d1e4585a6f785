package run

// How is how it is known which run started a task. One value is more certain than
// another, and what is known of a task is only ever replaced by what is more certain.
type How string

// The values of [How], the most certain first.
const (
	ByReceipt   How = "receipt"   // Cyberun's answer to the run's POST named the task
	Exclusion   How = "exclusion" // found after a lost reply as the only task that it can be, or named by a person's decision
	AsCandidate How = "candidate" // a run in doubt has it among its candidates
	Rescue      How = "rescue"    // a person named it for a run, and who started it is not known
)

var certainty = map[How]int{Rescue: 1, AsCandidate: 2, Exclusion: 3, ByReceipt: 4}

// Surer reports whether h is more certain than o.
func (h How) Surer(o How) bool { return certainty[h] > certainty[o] }

// Certain reports whether h leaves no doubt about which run started the task.
func (h How) Certain() bool { return h == ByReceipt || h == Exclusion }

// Ownership is the object tasks/{task_id} in the state bucket: which run started
// a task, how that is known, and which run delivers it.
type Ownership struct {
	StartedBy   string `json:"started_by,omitempty"`
	How         How    `json:"how"`
	DeliveredBy string `json:"delivered_by,omitempty"`
}

// With returns the ownership with one more fact. StartedBy and How change only if the
// fact is more certain than what was known, DeliveredBy only if no run delivers the
// task yet.
func (o Ownership) With(fact Ownership) Ownership {
	if fact.How.Surer(o.How) {
		o.StartedBy, o.How = fact.StartedBy, fact.How
	}
	if o.DeliveredBy == "" {
		o.DeliveredBy = fact.DeliveredBy
	}
	return o
}

// MayCancel reports whether a run may cancel the task: only if a receipt says that it
// started the task, and it still delivers it.
func (o Ownership) MayCancel(runID string) bool {
	return o.How == ByReceipt && o.StartedBy == runID && o.DeliveredBy == runID
}
