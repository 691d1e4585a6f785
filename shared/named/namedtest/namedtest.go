// Package namedtest has, for tests, the check of a named error. It imports shared/named
// only.
package namedtest

import (
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// signature begins each parameter by which AWS signs an address.
const signature = "X-Amz"

// Want fails the test unless err is the named error name, with text in its message. It
// also fails if err shows a signed address: who reads it could fetch the file.
func Want(t testing.TB, err error, name, text string) {
	t.Helper()
	e, ok := named.As(err)
	if !ok || e.Name != name || !strings.Contains(e.Message(), text) {
		t.Errorf("got %v, want %s with %q", err, name, text)
	}
	if ok && strings.Contains(err.Error(), signature) {
		t.Errorf("the error %s shows a signed address: %v", name, err)
	}
}
