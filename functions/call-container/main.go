// Call-container lets callers reach Cyberun's container services: it lists them and
// passes calls on to them, with the stack's key in place of the caller's own.
package main

import "github.com/cyberun-cloud/cyberun-relay/shared/function"

func main() { function.Start("call-container", build) }
