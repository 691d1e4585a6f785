package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

const mib = 1 << 20

// TestLargeOutput copies 512 MiB through a function whose memory stays small.
func TestLargeOutput(t *testing.T) {
	s := open(t)
	const size, most = 512 * mib, 128 * mib
	v := s.end(t, s.start(t, fmt.Sprintf(`{"workflow":"big-file","parameters":{"bytes":%d}}`, size)))
	s.checkLarge(t, v, size)
	peak := peakMemory(s.resources["CopyResultFunction"])
	if peak == 0 {
		t.Skip("no /proc: the function's memory cannot be read on this system; the copy itself was checked")
	}
	t.Logf("peak resident memory of copy-result: %d MiB", peak/mib)
	if peak >= most {
		t.Errorf("peak resident memory %d MiB, want under %d", peak/mib, most/mib)
	}
}

// TestCopyOverSeveralCalls: an output that no single call can copy arrives whole.
func TestCopyOverSeveralCalls(t *testing.T) {
	s := open(t)
	const size = 768 * mib
	s.timeOut(t, "CopyResultFunction", 16)
	// 48 parts of 5.6 s, eight at a time, and half of 16 s is left when a call starts no more
	// parts: two rounds in a call. Eight connections carry 24 MB/s together, so that the fault
	// and not the machine says how fast the copy goes.
	s.addFault(t, `{"name":"slow","match":{"workflow":"big-file","path_regexp":"^/bucket/"},"action":{"type":"slow","bytes_per_second":3000000}}`)
	t.Cleanup(func() { s.clearFaults(t) })
	v := s.end(t, s.start(t, fmt.Sprintf(`{"workflow":"big-file","parameters":{"bytes":%d,"seed":7}}`, size)))
	s.checkLarge(t, v, size)
	calls := 0
	for _, e := range s.history(t, v.RunID) {
		if d := e.StateEnteredEventDetails; d != nil && aws.ToString(d.Name) == "CopyResult" {
			calls++
		}
	}
	t.Logf("%d calls of copy-result", calls)
	if calls < 3 {
		t.Errorf("%d calls of copy-result, want at least 3", calls)
	}
}

// checkLarge recomputes the checksum from S3 without holding the file.
func (s *stack) checkLarge(t *testing.T, v runView, size int64) {
	t.Helper()
	if v.Status != "succeeded" || len(v.Outputs) != 1 {
		t.Fatalf("the run is %s, %+v", v.Status, v.Error)
	}
	out, err := s.s3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &s.outputs, Key: &v.Outputs[0].Key})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Body.Close()
	sum := crc32.NewIEEE()
	n, err := io.Copy(sum, out.Body)
	if err != nil || n != size || v.Outputs[0].Bytes != size || fmt.Sprintf("%08x", sum.Sum32()) != v.Outputs[0].CRC32 {
		t.Errorf("S3 has %d bytes, crc32 %08x (%v); the manifest says %d, %s", n, sum.Sum32(), err, v.Outputs[0].Bytes, v.Outputs[0].CRC32)
	}
	// MiniStack keeps objects in its memory.
	if _, err := s.s3.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &s.outputs, Key: &v.Outputs[0].Key}); err != nil {
		t.Error(err)
	}
}

// timeOut changes a function's for the rest of the test. What changes a function
// is not parallel: tests that are run after it is set back.
func (s *stack) timeOut(t *testing.T, function string, seconds int32) {
	t.Helper()
	name := s.resources[function]
	before, err := s.lambda.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: &name})
	if err != nil {
		t.Fatal(err)
	}
	set := func(n int32) {
		if _, err := s.lambda.UpdateFunctionConfiguration(background(t), &lambda.UpdateFunctionConfigurationInput{FunctionName: &name, Timeout: &n}); err != nil {
			t.Error(err)
		}
	}
	set(seconds)
	t.Cleanup(func() { set(*before.Timeout) })
}

// peakMemory is the highest resident size that a process of the function had; 0
// where the system does not tell.
func peakMemory(function string) int64 {
	var peak int64
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		environ, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(environ), "AWS_LAMBDA_FUNCTION_NAME="+function+"\x00") {
			continue
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(file), "status"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			if kib, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kib), "kB")), 10, 64)
				peak = max(peak, n<<10)
			}
		}
	}
	return peak
}

// TestKeyRotation: a key that is refused is read again, once; one that is still
// refused fails the run under its name, and nothing is paid.
func TestKeyRotation(t *testing.T) {
	s := open(t)
	const fresh = "sk-local-rotated"
	t.Cleanup(func() {
		s.setKeys(t, s.key)
		s.setSecret(t, s.key)
	})
	word := uniqueWord(t)
	request := mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": word}})
	s.delivered(t, s.end(t, s.start(t, request))) // every function has the old key by now
	s.setKeys(t, fresh)
	if a := s.call(t, "POST", "/runs", request); a.status != 502 || !strings.Contains(string(a.body), "secret") {
		t.Errorf("with a revoked key: HTTP %d: %s", a.status, a.body)
	}
	name := runName(t)
	s.execute(t, name, request)
	s.checkFailure(t, s.end(t, name), "Unauthorized")
	if paid := s.paid(t, word); len(paid) != 1 {
		t.Errorf("paid for %d tasks, want the first alone", len(paid))
	}
	s.setSecret(t, fresh)
	s.delivered(t, s.end(t, s.start(t, request)))
}

// TestStaleCheckpoint: what an earlier call stored of another file than the one that
// the origin shows now is no beginning of it: its upload is aborted.
func TestStaleCheckpoint(t *testing.T) {
	s := open(t)
	t.Parallel()
	size := uniqueSize() + 20_000_000 // more than one part
	runID := s.start(t, mustJSON(t, map[string]any{"workflow": "big-file", "parameters": map[string]any{"bytes": size, "seconds": 60}}))
	s.taskOf(t, runID)
	key := "runs/" + runID + "/another.bin"
	upload, err := s.s3.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &s.outputs, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	id := sha256.Sum256([]byte(run.LoneOutputID))
	s.put(t, s.state, "copies/"+runID+"/"+hex.EncodeToString(id[:16])+".json", []byte(mustJSON(t, map[string]any{"checkpoint": map[string]any{
		"key": key, "upload_id": upload.UploadId, "part_size": 8 << 20, "total": size, "etag": `"another"`,
	}})), nil)
	s.checkLarge(t, s.end(t, runID), int64(size))
	if _, err := s.s3.ListParts(t.Context(), &s3.ListPartsInput{Bucket: &s.outputs, Key: &key, UploadId: upload.UploadId}); err == nil {
		t.Error("the other upload still takes up room")
	}
}
