package transfer

import (
	"bytes"
	"hash/crc32"
	"testing"
)

func TestCombineCRC32(t *testing.T) {
	data := randomBytes(100_000)
	for _, cut := range []int{0, 1, 7, 8, 255, 4096, 65_537, len(data)} {
		a, b := data[:cut], data[cut:]
		got := combineCRC32(crc32.ChecksumIEEE(a), crc32.ChecksumIEEE(b), int64(len(b)))
		if want := crc32.ChecksumIEEE(data); got != want {
			t.Errorf("cut at %d: %08x, want %08x", cut, got, want)
		}
	}
}

func FuzzCombineCRC32(f *testing.F) {
	f.Add([]byte("a"), []byte("bc"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		got := combineCRC32(crc32.ChecksumIEEE(a), crc32.ChecksumIEEE(b), int64(len(b)))
		if want := crc32.ChecksumIEEE(append(bytes.Clone(a), b...)); got != want {
			t.Errorf("%08x, want %08x", got, want)
		}
	})
}
