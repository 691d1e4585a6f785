package transfer

import (
	"fmt"
	"net/http"
	"testing"
)

// TestContentRangeForms: the unit's name is in any case (RFC 9110, 14.1), and
// some servers write the line otherwise. The ranges are used all the same.
func TestContentRangeForms(t *testing.T) {
	for _, form := range []string{"Bytes %d-%d/%d", "BYTES %d-%d/%d", "bytes=%d-%d/%d", "bytes: %d-%d/%d", "bytes  %d - %d / %d", "%d-%d/%d"} {
		for _, size := range []int{1000, 5*testPart + 7} {
			f := newFixture(t, size)
			ranged(func(from, to, total int) string { return fmt.Sprintf(form, from, to-1, total) })(f)
			if f.copied(); f.origin.wholes.Load() != 0 {
				t.Errorf("%q, %d bytes: the whole was asked for", form, size)
			}
		}
	}
}

// unusable are 206s that no part can be made of.
var unusable = map[string]func(from, to, total int) string{
	"an unknown total":     func(from, to, _ int) string { return fmt.Sprintf("bytes %d-%d/*", from, to-1) },
	"no Content-Range":     func(int, int, int) string { return "" },
	"it starts elsewhere":  func(from, to, total int) string { return fmt.Sprintf("bytes %d-%d/%d", from+1, to, total+1) },
	"it ends elsewhere":    func(from, to, total int) string { return fmt.Sprintf("bytes %d-%d/%d", from, to+1, total+2) },
	"another unit":         func(from, to, total int) string { return fmt.Sprintf("octets %d-%d/%d", from, to-1, total) },
	"a negative byte":      func(int, int, int) string { return "bytes -1-5/6" },
	"more than 63 bits":    func(int, int, int) string { return "bytes 0-9223372036854775807/9223372036854775808" },
	"backwards":            func(_, to, total int) string { return fmt.Sprintf("bytes %d-0/%d", to, total) },
	"a total that is less": func(from, to, _ int) string { return fmt.Sprintf("bytes %d-%d/%d", from, to-1, to-1) },
	"a part of a set":      func(int, int, int) string { return "bytes */100" },
}

// TestUnusableRanges: where a 206 cannot be used, the whole is asked for and
// copied in a single stream: at once where the first answer is such, after some
// tries where a later one is.
func TestUnusableRanges(t *testing.T) {
	for name, contentRange := range unusable {
		for _, size := range []int{1000, 5*testPart + 7} {
			for _, from := range []int{1, 3} {
				t.Run(fmt.Sprintf("%s/%d bytes/from answer %d", name, size, from), func(t *testing.T) {
					t.Parallel()
					f := newFixture(t, size)
					ranged(contentRange)(f)
					odd := f.origin.fault
					f.origin.fault = func(n int, w http.ResponseWriter, r *http.Request) bool { return n >= from && odd(n, w, r) }
					f.copied()
					asked, wholes := f.origin.requests.Load(), f.origin.wholes.Load()
					if odd := size > 1000 || from == 1; odd && wholes != 1 || from == 1 && asked != 2 {
						t.Errorf("%d requests, %d of them for the whole", asked, wholes)
					}
				})
			}
		}
	}
}

func FuzzContentRange(f *testing.F) {
	for _, value := range []string{"bytes 0-15/100", "Bytes=0-0/1", "bytes */1", "bytes 0-1/*", "0-9223372036854775807/9223372036854775807"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		r, err := parseContentRange(value)
		if err == nil && (r.from < 0 || r.to <= r.from || r.total >= 0 && r.total < r.to) {
			t.Fatalf("%q is %+v", value, r)
		}
	})
}
