// Package lifecycle decides what becomes of a run. It alone creates and changes a run's
// record, the ownership of tasks, and the markers that runs of one workflow leave for
// each other. The terms are those of the package comment of shared/run.
//
// # The table
//
// A run has a status, and a person may have stopped it: both together are its phase.
// What an event does to a run in each phase stands in one table (table.go): it leads
// to a new status and to effects, or it is refused under a named error. Every change of
// a record goes through the table, by one function.
//
// # Lives
//
// Redriving a failed execution begins a new life of its run. Step Functions counts
// redrives; the first step of a higher life raises the record's life, and from then on
// an event of a step of a lower life is refused as Superseded. Events with that check
// are called fenced. Events that report a fact are not, [Runs.Accept] above all: it takes
// the id of a task from a call of any life, and in any phase, since a task that is billed
// must never be forgotten.
//
// # Objects in the state bucket
//
//	runs/{run_id}.json                            the record
//	index/{newest first}-{run_id}                 the order of GET /runs
//	tasks/{task_id}                               ownership: who started the task, how that is known, who delivers it
//	submitting/{workflow_id}/{run_id}/{attempt}   a marker: a POST is about to be sent
//	doubt/{workflow_id}/{run_id}                  the outcome of a POST is unknown
//	manifests/{run_id}/{id}.json                  the manifest's bytes, fixed before it is written to the output bucket
//	copies/{run_id}/{hash}.json                   how far the copy of an output has come
//	progress/{run_id}.json                        what poll-status last saw, and since when the task or its result is gone
//	wake/{run_id}.json                            the task token of a run that awaits a webhook
//	sweep/state.json                              when the sweep last looked nine days back
//
// shared/doubt keeps one more kind there: ended/{workflow}/…, the tasks that were seen
// to end.
//
// It imports the state bucket's store, the client's types of Cyberun, the copy engine's
// checkpoints, shared/executions for what Step Functions says, shared/observe for the
// log, shared/s3errors, shared/fanout, shared/run and shared/named.
package lifecycle
