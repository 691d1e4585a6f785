package run

// How says how it is known who started a task. The values are ordered by
// certainty, and that of a task only ever grows.
type How string

// The ways in which a task's owner is known, the surest first.
const (
	Receipt   How = "receipt"   // a 202 said so
	Exclusion How = "exclusion" // found after a lost reply, and nobody else can have started it
	Named     How = "candidate" // a run in doubt named it as possibly its own
	Rescue    How = "rescue"    // a person named it, and nobody knows who started it
)

var certainty = map[How]int{Rescue: 1, Named: 2, Exclusion: 3, Receipt: 4}

// Surer reports whether h is more certain than o.
func (h How) Surer(o How) bool { return certainty[h] > certainty[o] }

// Certain reports whether h leaves no doubt about who started the task.
func (h How) Certain() bool { return h == Receipt || h == Exclusion }

// Ownership is the object tasks/{task_id} in the state bucket: which run started
// a task, how that is known, and which run delivers it.
type Ownership struct {
	StartedBy   string `json:"started_by,omitempty"`
	How         How    `json:"how"`
	DeliveredBy string `json:"delivered_by,omitempty"`
}

// With returns the ownership after one more fact is known. The starter changes
// only if the fact is more certain than what was known; the deliverer only if there
// is none yet.
func (o Ownership) With(fact Ownership) Ownership {
	if fact.How.Surer(o.How) {
		o.StartedBy, o.How = fact.StartedBy, fact.How
	}
	if o.DeliveredBy == "" {
		o.DeliveredBy = fact.DeliveredBy
	}
	return o
}

// MayCancel reports whether a run may cancel the task: only the one that started
// it by a receipt, and that still delivers it.
func (o Ownership) MayCancel(runID string) bool {
	return o.How == Receipt && o.StartedBy == runID && o.DeliveredBy == runID
}
