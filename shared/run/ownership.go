package run

// How says how it is known who started a task. The words are ordered: knowledge
// of a task only ever grows.
type How string

const (
	Receipt   How = "receipt"   // a 202 said so
	Exclusion How = "exclusion" // found after a lost reply, and nobody else can have started it
	Named     How = "candidate" // a run in doubt named it as possibly its own
	Rescue    How = "rescue"    // nobody knows
)

var certainty = map[How]int{Rescue: 1, Named: 2, Exclusion: 3, Receipt: 4}

// Surer reports whether h is better knowledge than o.
func (h How) Surer(o How) bool { return certainty[h] > certainty[o] }

// Certain reports whether h says for certain who started the task.
func (h How) Certain() bool { return h == Receipt || h == Exclusion }

// Ownership is the object tasks/{task_id} in the state bucket: which run started
// a task, how that is known, and which run delivers it.
type Ownership struct {
	StartedBy   string `json:"started_by,omitempty"`
	How         How    `json:"how"`
	DeliveredBy string `json:"delivered_by,omitempty"`
}

// With returns the ownership after one more fact is known. What is known less
// surely changes nothing; a deliverer that stands stays, except that whoever is
// now known to have started the task delivers it if nobody else does.
func (o Ownership) With(fact Ownership) Ownership {
	if fact.How.Surer(o.How) {
		o.StartedBy, o.How = fact.StartedBy, fact.How
	}
	if o.DeliveredBy == "" {
		o.DeliveredBy = fact.DeliveredBy
	}
	return o
}

// MayCancel reports whether the end of that run is the end of the task: only a
// run that a receipt named as its starter, and that still delivers it, may.
func (o Ownership) MayCancel(runID string) bool {
	return o.How == Receipt && o.StartedBy == runID && o.DeliveredBy == runID
}
