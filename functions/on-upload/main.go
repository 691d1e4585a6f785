// On-upload starts a run for each object that lands in the inbox.
package main

import "github.com/cyberun-cloud/cyberun-relay/shared/function"

func main() { function.StartStep("on-upload", build) }
