// Poll-status asks how a run's task stands: on its event stream at first, then at
// growing intervals, or once for a run that waits for a webhook.
package main

import "github.com/cyberun-cloud/cyberun-relay/shared/function"

func main() { function.StartStep("poll-status", build) }
