package crash

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const mib = 1 << 20

// TestLargeInput: a file of the largest size that Cyberun takes goes from S3 to
// it in little memory, and once, though the step is killed and called again.
func TestLargeInput(t *testing.T) {
	gated(t)
	const size, most = 500 * mib, 64 * mib
	b := newBench(t)
	for _, test := range []struct {
		name   string
		target fault
	}{
		{"not killed", fault{}},
		{"killed before the upload", fault{"cyberun PUT {upload_url}", 1, killBefore}},
		{"killed after the upload's record", fault{"PUT runs/{run}.json (file key) if unchanged", 1, killAfter}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := b.newWorld(t)
			c, err := (scenario{file: true, about: theSubmit, life: submitted}).cell(t.Context(), w, test.target)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(c.buckets + "-inbox"), Key: aws.String("photo.png"),
				Body: io.NewSectionReader(ramp{}, 0, size), ContentType: aws.String("image/png")}); err != nil {
				t.Fatal(err)
			}
			r := c.play(t.Context())
			for _, problem := range r.problems {
				t.Error(problem)
			}
			if r.uploads != 1 || r.paid != 1 || r.end != "ok" {
				t.Fatalf("%d uploads, %d tasks, %s\n%s", r.uploads, r.paid, r.end, r.log)
			}
			paid, err := w.ledger()
			if err != nil {
				t.Fatal(err)
			}
			if got := paid.Uploads[0]; got.Bytes != size || got.SHA256 != (ramp{}).sum(size) {
				t.Errorf("Cyberun has %d bytes with the SHA-256 %s", got.Bytes, got.SHA256)
			}
			if c.submit.began == 0 {
				t.Skip("no /proc: the function's memory cannot be read on this system; the upload itself was checked")
			}
			t.Logf("peak resident memory of submit: %.1f MiB when it was ready, at most %.1f MiB more", float64(c.submit.began)/mib, float64(c.submit.grown)/mib)
			if c.submit.grown >= most {
				t.Errorf("submit grew by %d MiB, want under %d", c.submit.grown/mib, most/mib)
			}
		})
	}
}

// ramp is an endless file: each byte tells its place.
type ramp struct{}

func (ramp) ReadAt(p []byte, offset int64) (int, error) {
	for i := range p {
		n := offset + int64(i)
		p[i] = byte(n ^ n>>8 ^ n>>16 ^ n>>24)
	}
	return len(p), nil
}

func (r ramp) sum(size int64) string {
	sum := sha256.New()
	_, _ = io.Copy(sum, io.NewSectionReader(r, 0, size))
	return hex.EncodeToString(sum.Sum(nil))
}
