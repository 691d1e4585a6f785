// Package run says what a run is: its request, its record, its states, its
// waits and its named errors. It holds the rules and does no I/O: it imports
// the standard library and shared/cyberun only, so that each rule can be read
// and tested alone.
package run
