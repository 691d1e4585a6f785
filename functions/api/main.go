// Api answers the HTTP API: it starts runs, shows them, and stops them.
package main

import "github.com/cyberun-cloud/cyberun-relay/shared/function"

func main() { function.Start("api", build) }
