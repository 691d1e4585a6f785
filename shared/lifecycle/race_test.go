//go:build race

package lifecycle

// stride is how many of a call's moments TestPairs passes on from one meeting to
// the next: under the race detector each takes ten times as long, and nothing in
// a meeting runs side by side.
const stride = 20
