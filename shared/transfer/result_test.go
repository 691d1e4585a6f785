package transfer

import (
	"strings"
	"testing"
)

// TestContentTypesToStore: what S3 could not be told in a signed header is not.
func TestContentTypesToStore(t *testing.T) {
	for told, want := range map[string]string{
		"image/png": "image/png", "text/plain; charset=utf-8": "text/plain; charset=utf-8", "image/png; name=größe.png": "image/png",
		"image/png; name=gr\xf6\xdfe.png": "image/png", "größe": "application/octet-stream", "": "application/octet-stream",
		"image/png; name=" + strings.Repeat("x", maxContentType): "image/png", strings.Repeat("x", maxContentType+1): "application/octet-stream",
	} {
		if got := contentType(told); got != want {
			t.Errorf("%q is stored as %q, want %q", told, got, want)
		}
	}
}
