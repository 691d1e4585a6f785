// Copy-result streams a task's outputs into the user's bucket, over as many
// calls as it takes, writes the manifest last, and closes the run.
package main

import "github.com/cyberun-cloud/cyberun-relay/shared/function"

func main() { function.StartStep("copy-result", build) }
