// Package e2e holds the tests of the deployed stack: real functions, a real
// state machine, real buckets, on the local stack. They run where
// RELAY_STACK_FILE names one (`make test` and `make e2e` bring it up), and print
// that they were skipped where it does not, so that `go test ./...` stays quick.
package e2e
