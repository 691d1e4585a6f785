package cyberun

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"

	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// StaticKey is a key that never changes: for tests, and for a key that the
// environment holds.
type StaticKey string

func (k StaticKey) Key(context.Context) (string, error)             { return string(k), nil }
func (k StaticKey) Refresh(context.Context, string) (string, error) { return string(k), nil }

func (k StaticKey) String() string               { return redact.Mark }
func (k StaticKey) Format(s fmt.State, _ rune)   { io.WriteString(s, redact.Mark) }
func (k StaticKey) LogValue() slog.Value         { return slog.StringValue(redact.Mark) }
func (k StaticKey) MarshalText() ([]byte, error) { return []byte(redact.Mark), nil }

// SignedURL is an address whose query is as good as a password. It prints, logs
// and marshals without its query; string(u) is the address itself.
type SignedURL = redact.SignedURL

// UploadHeaders are the signed headers of an upload. Some stores put a token
// among them, so only the names print and marshal.
type UploadHeaders map[string]string

func (h UploadHeaders) String() string             { return fmt.Sprint(slices.Sorted(maps.Keys(h))) }
func (h UploadHeaders) Format(s fmt.State, _ rune) { io.WriteString(s, h.String()) }
func (h UploadHeaders) LogValue() slog.Value       { return slog.StringValue(h.String()) }
func (h UploadHeaders) MarshalJSON() ([]byte, error) {
	return json.Marshal(slices.Sorted(maps.Keys(h)))
}
