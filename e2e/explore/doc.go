// Package explore runs the real handlers of the functions beside each other, over
// S3, Cyberun and Step Functions in memory, in every order that their I/O allows,
// with a budget of faults: a call killed before or after an I/O, a request or a
// reply lost, a stale answer of DescribeExecution. It checks invariants at each end:
// no run pays twice, no receipt is lost, a stopped run's task is cancelled or named,
// every end has a closed record and either a manifest or an error.json.
//
//	make explore                          every scenario with one fault
//	make explore FAULTS=2 ONLY=NAME       one of them, deeper
//	make explore ONLY=NAME REPLAY=…       one schedule, as a violation printed it
//
// # How it explores
//
// An actor is one coroutine that runs real code: a state machine with its steps, a late
// call, a person's DELETE, an event of close-run, the sweep. Each I/O suspends its
// actor, and the search decides which actor continues, and with which fault. The clock
// moves only in waits.
//
// The world (what the buckets, Cyberun and Step Functions hold) is plain data that is
// copied for each step. What an actor does next depends on what it was answered and on
// nothing else, so its code is run once for each different history of answers: see
// moment. States that were seen before are not explored again, and of two I/Os that
// touch different keys only one order is (sleep sets).
//
// docs/how-it-is-tested.md says what each reduction leaves out.
package explore
