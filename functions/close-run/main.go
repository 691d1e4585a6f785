// Close-run closes the runs whose execution was stopped, failed or timed out: it
// cancels the task where a person stopped the run, and writes error.json.
package main

import "github.com/cyberun-cloud/cyberun-relay/shared/function"

func main() { function.StartStep("close-run", build) }
