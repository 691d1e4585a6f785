// On-webhook takes the webhooks by which Cyberun reports that a task ended.
package main

import "github.com/cyberun-cloud/cyberun-relay/shared/function"

func main() { function.Start("on-webhook", build) }
