// Submit is the state machine's first step: it creates the run's record, checks its
// request, uploads its files to Cyberun, and starts its task exactly once.
package main

import "github.com/cyberun-cloud/cyberun-relay/shared/function"

func main() { function.StartRetried("submit", build) }
