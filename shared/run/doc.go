// Package run has the values that a run consists of (request, record, progress,
// manifest, ownership of a task, submission) and the rules that need nothing else: how
// a request is read and compared, where outputs go and how they are named, how long a
// run waits. It does no I/O and calls no client, so that each rule can be read and
// tested alone.
//
// What happens to a run is decided in shared/lifecycle; what a workflow asks of a
// request is checked in shared/workflows.
//
// # Terms
//
//   - A task is one execution of a workflow at Cyberun, which bills it. A run is one
//     execution of the relay's state machine: it gets one task and delivers its outputs.
//   - A life of a run lasts from its start, or from a redrive of its execution, to the
//     next redrive. Lives are counted from 0, as Step Functions counts redrives.
//   - A submission is the POST that starts the run's task. It is marked before it is
//     sent: in the record, and by a [Marker] that other runs of the workflow read.
//   - A receipt is Cyberun's answer to that POST, with the task's id.
//   - A run is in doubt while the outcome of its POST is unknown. A candidate is a task
//     that such a run may have started.
//   - A witness is a task that a receipt named, and that a complete and fresh task list
//     has to show.
//   - A task is adopted if the run found it in the task list after a lost reply, and
//     rescued if a person names it for a new run.
//   - The run that delivers a task copies the task's outputs and writes the manifest. The
//     task's ownership names it (DeliveredBy) from the moment at which it gets the task.
//     The status [Delivering] is only the last part of that: all outputs are stored, and
//     the manifest is to be written.
//   - An event of the table in shared/lifecycle is fenced if it is refused from a step of an
//     earlier life.
//   - A task is cancelled; a run is stopped, by a person, and then ends as [Cancelled]. A run is closed when its
//     record gets one of the statuses [Succeeded], [Failed] and [Cancelled].
//   - The sweep is the hourly call of close-run: it closes the runs whose event was lost,
//     and does what earlier closes left undone.
//
// It imports shared/media and shared/named.
package run
