// Poll-status looks at a run's task: held on its event stream at first, then at
// growing intervals, or once for a run that waits for a webhook.
package main

import "github.com/cyberun-cloud/cyberun-relay/shared/function"

func main() { function.StartStep("poll-status", build) }
