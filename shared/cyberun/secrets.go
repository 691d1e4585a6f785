package cyberun

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// StaticKey is a [KeySource] whose key never changes: for tests, and for a key that
// the environment holds. It prints, logs and marshals as [redact.Placeholder].
type StaticKey string

// Key returns the key.
func (k StaticKey) Key(context.Context) (string, error) { return string(k), nil }

// Refresh returns the same key, since there is no other.
func (k StaticKey) Refresh(context.Context, string) (string, error) { return string(k), nil }

// Format prints [redact.Placeholder] for every verb.
func (k StaticKey) Format(s fmt.State, _ rune) { io.WriteString(s, redact.Placeholder) }

// MarshalText returns [redact.Placeholder], for encoders.
func (k StaticKey) MarshalText() ([]byte, error) { return []byte(redact.Placeholder), nil }

// SignedURL is an address whose query gives access, as a password does. It prints, logs
// and marshals without its query; string(u) is the whole address.
type SignedURL = redact.SignedURL

// UploadHeaders are the signed headers of an upload. Since some stores put a token
// among them, they print, log and marshal as their names only.
type UploadHeaders map[string]string

// Format prints the names for every verb.
func (h UploadHeaders) Format(s fmt.State, _ rune) { fmt.Fprint(s, slices.Sorted(maps.Keys(h))) }

// MarshalJSON returns the names as a list.
func (h UploadHeaders) MarshalJSON() ([]byte, error) {
	return json.Marshal(slices.Sorted(maps.Keys(h)))
}
