// On-webhook hears from Cyberun that a task ended.
package main

import "github.com/cyberun-cloud/cyberun-relay/shared/function"

func main() { function.Start("on-webhook", build) }
