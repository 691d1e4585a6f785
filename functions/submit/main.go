// Submit is the state machine's first step: it claims the run, checks its
// request, gives Cyberun its files, and starts its task exactly once.
package main

import "github.com/cyberun-cloud/cyberun-relay/shared/function"

func main() { function.StartStep("submit", build) }
