// Package lifecycle is the one place where the life of a run is decided. It
// alone creates and changes a run's record, the ownership of tasks, and the
// markers that runs of one workflow leave for each other.
//
// # The table
//
// A run has a status, and it may be stopping. What an event does to a run in
// each of these phases stands in one table (table.go): it leads to a new status
// and to effects, or it is refused under a named error. Every write of a record
// goes through it, by one function.
//
// # Lives
//
// Redriving a failed execution begins a new life of its run. Step Functions
// counts redrives; the first step of a higher life raises the record's life, and
// whatever comes from a lower one is refused as Superseded. The fence bars
// decisions, never receipts: Accept takes a task's id from any life, in any
// phase, since what was paid for must never be forgotten.
//
// # Objects in the state bucket
//
//	runs/{run_id}.json                            the record
//	index/{newest first}-{run_id}                 the order of GET /runs
//	tasks/{task_id}                               ownership: who started the task, how that is known, who delivers it
//	submitting/{workflow_id}/{run_id}/{attempt}   a POST is about to be sent
//	doubt/{workflow_id}/{run_id}                  the outcome of a POST is unknown
//	manifests/{run_id}/{id}.json                  the manifest's bytes, fixed before it is written to the output bucket
//	copies/{run_id}/{hash}.json                   how far the copy of an output has come
//	progress/{run_id}.json                        what poll-status last saw
//	wake/{run_id}.json                            the task token of a run that awaits a webhook
//
// It imports the state bucket's store, the client's types of Cyberun, the copy
// engine's checkpoints, shared/executions for what Step Functions says,
// shared/observe for the log, shared/run and shared/named.
package lifecycle
