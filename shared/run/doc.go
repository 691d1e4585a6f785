// Package run has the values that a run consists of (request, record, progress,
// manifest, ownership of a task, submission) and the rules that need nothing else:
// how a request is read and compared, where outputs go and how they are named, how
// long a run waits. It does no I/O and knows no client, so that each rule can be
// read and tested alone.
//
// What happens to a run is decided in shared/lifecycle; what a workflow asks of a
// request is checked in shared/workflows.
//
// It imports shared/media and shared/named.
package run
