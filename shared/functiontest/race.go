//go:build race

package functiontest

// stride passes over statuses under the race detector, where each takes ten times
// as long.
const stride = 25
