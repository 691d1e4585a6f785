// On-upload turns objects that land in the inbox into runs.
package main

import "github.com/cyberun-cloud/cyberun-relay/shared/function"

func main() { function.StartStep("on-upload", build) }
