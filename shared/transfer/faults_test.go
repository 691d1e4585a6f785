package transfer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// fault is one row of the matrix. The rows stand in originfaults_test.go and
// s3faults_test.go.
type fault struct {
	name string
	set  func(*fixture)
	want string           // the name of the error that it comes to; "" for a right object
	in   func(shape) bool // the columns in which it comes to that error, in the others to a right object; nil: all
}

// shape is one column: an output's size, and whether its origin has ranges.
type shape struct {
	size   int
	ranges bool
}

func (s shape) String() string { return fmt.Sprintf("%d bytes, ranges=%t", s.size, s.ranges) }

func withRanges(s shape) bool    { return s.ranges }
func withoutRanges(s shape) bool { return !s.ranges }
func severalParts(s shape) bool  { return s.size > testPart }
func inParts(s shape) bool       { return s.ranges && s.size > testPart }
func inStream(s shape) bool      { return !s.ranges && s.size > testPart }
func manyRequests(s shape) bool  { return s.ranges && s.size > 2*testPart }
func belowRange(s shape) bool    { return s.ranges && s.size < testPart-100 } // what the origin adds still fits into the first range

// matrixSizes lie below, at and above one part.
var matrixSizes = []int{testPart / 2, testPart, testPart + 1, 6*testPart + 77}

// TestFaultMatrix copies every shape of output through every fault. What comes of
// it is a right object and no error, or the error of the row and no object.
func TestFaultMatrix(t *testing.T) {
	for _, row := range append(originFaults(), s3Faults()...) {
		for _, size := range matrixSizes {
			for _, ranges := range []bool{true, false} {
				s := shape{size, ranges}
				t.Run(row.name+"/"+s.String(), func(t *testing.T) {
					t.Parallel()
					f := newFixture(t, s.size)
					f.origin.noRanges = !s.ranges
					row.set(f)
					res, err := f.copy()
					if row.want == "" || row.in != nil && !row.in(s) {
						checkMatrixObject(t, f, res, err)
					} else {
						checkMatrixError(t, f, err, row.want)
					}
				})
			}
		}
	}
}

func checkMatrixError(t *testing.T, f *fixture, err error, want string) {
	t.Helper()
	if name := errorName(err); name != want {
		t.Fatalf("%v, want %q", err, want)
	}
	if strings.Contains(err.Error(), "=secret") || strings.Contains(err.Error(), "Signature") {
		t.Errorf("the signed URL is in the error: %v", err)
	}
	f.s3.mu.Lock()
	defer f.s3.mu.Unlock()
	if len(f.s3.objects) != 0 {
		t.Errorf("%v, and yet an object", err)
	}
	if (want == named.OutputChanged || want == named.OutputTruncated) && len(f.s3.uploads) > 0 {
		t.Errorf("%v leaves an upload that nothing can resume", err)
	}
}

func errorName(err error) string {
	if named, ok := named.As(err); ok {
		return named.Name
	}
	if errors.Is(err, context.Canceled) {
		return "cancelled"
	}
	return ""
}

// checkMatrixObject demands the content that the origin has in the end, whole.
func checkMatrixObject(t *testing.T, f *fixture, res Result, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	object, data := f.s3.object(res.Key), f.origin.data
	if object == nil || string(object.data) != string(data) {
		t.Fatalf("a wrong object: %+v", res)
	}
	if sum := encodeCRC32(res.CRC32); res.Bytes != int64(len(data)) || sum != object.crc {
		t.Errorf("%+v, S3's checksum %s", res, object.crc)
	}
}
