package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// picture is one that no other test has.
func picture(t *testing.T) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, 16, 16))
	sum := sha256.Sum256([]byte(uniqueWord(t)))
	for i := range img.Bounds().Dx() {
		for j := range img.Bounds().Dy() {
			img.Set(i, j, color.RGBA{sum[i], sum[16+j], sum[(i+j)%len(sum)], 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// putVersion uploads an object and returns its version and its ETag.
func (s *stack) putVersion(t *testing.T, key string, body []byte) (version, etag string) {
	t.Helper()
	out, err := s.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &s.inbox, Key: &key, Body: bytes.NewReader(body)})
	if err != nil {
		t.Fatal(err)
	}
	if out.VersionId == nil {
		t.Fatalf("the inbox %s keeps no versions", s.inbox)
	}
	return *out.VersionId, strings.Trim(*out.ETag, `"`)
}

// paidFiles counts the tasks that were paid for each file, by its SHA-256, among
// the files whose names hold a word.
func (s *stack) paidFiles(t *testing.T, word string) map[string]int {
	t.Helper()
	all := s.whole(t)
	sums := map[string]string{}
	for _, u := range all.Uploads {
		if strings.Contains(u.Name, word) {
			sums[u.FileKey] = u.SHA256
		}
	}
	counts := map[string]int{}
	for _, task := range all.Tasks {
		fileKey, _ := task.Parameters["image"].(string)
		if sum, ours := sums[fileKey]; ours {
			counts[sum]++
		}
	}
	return counts
}

// runsEnded are the runs whose ids begin so, once there are at least n and all have
// ended.
func (s *stack) runsEnded(t *testing.T, name string, n int) []runView {
	t.Helper()
	var views []runView
	eventually(t, fmt.Sprintf("%d runs of %s have ended", n, name), func() (bool, any) {
		views = nil
		ended := true
		for _, id := range s.runsNamed(t, name+"-", "") {
			v := s.view(t, id, "")
			ended = ended && v.ended()
			views = append(views, v)
		}
		return ended && len(views) >= n, len(views)
	})
	return views
}

// pinnedBy reports by what an execution's input pins its image.
func (s *stack) pinnedBy(t *testing.T, runID string) (versionID, etag string) {
	t.Helper()
	var request struct {
		InputVersions map[string]struct {
			VersionID string `json:"version_id"`
			ETag      string `json:"etag"`
		} `json:"input_versions"`
	}
	if err := json.Unmarshal([]byte(aws.ToString(s.execution(t, runID).Input)), &request); err != nil {
		t.Fatal(err)
	}
	pin := request.InputVersions["image"]
	return pin.VersionID, pin.ETag
}

// TestTwoPhotosAtOneKey: photo B is written over photo A a moment later.
func TestTwoPhotosAtOneKey(t *testing.T) {
	s := open(t)
	for _, gap := range []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond, time.Second} {
		t.Run(gap.String(), func(t *testing.T) {
			t.Parallel()
			s.checkOwnBytes(t, runName(t), gap, picture(t), picture(t))
		})
	}
}

// TestPhotosDuringAnOutage: while Cyberun takes no files a key is written three
// times.
func TestPhotosDuringAnOutage(t *testing.T) {
	s := open(t)
	t.Parallel()
	name := runName(t)
	s.addFault(t, fmt.Sprintf(`{"match":{"method":"POST","path_regexp":"/presign$","body_contains":%q},"period_seconds":6,"action":{"type":"status","status":503}}`, name))
	s.checkOwnBytes(t, name, 2*time.Second, picture(t), picture(t), picture(t))
}

// checkOwnBytes writes photos to one key, one after the other. Where events name
// versions, as AWS's do, each is a task with its own bytes. Where they do not, the
// ETag decides: the last one is processed, each other one is too or is named as
// replaced, and no run takes another's bytes.
func (s *stack) checkOwnBytes(t *testing.T, name string, gap time.Duration, photos ...[]byte) {
	t.Helper()
	key := "files/upscale/image/" + name + ".png"
	var version, etag string // of the last one
	for i, photo := range photos {
		if i > 0 {
			time.Sleep(gap) // what is tested, not what is waited for
		}
		version, etag = s.putVersion(t, key, photo)
	}
	last := sumOf(photos[len(photos)-1])
	eventually(t, "the last photo is paid for", func() (bool, any) {
		paid := s.paidFiles(t, name)
		return paid[last] > 0, paid
	})
	want := 1
	for _, id := range s.runsNamed(t, name+"-", "") {
		if version, etag := s.pinnedBy(t, id); version != "" {
			want = len(photos)
		} else if etag == "" {
			t.Errorf("the run %s is pinned to nothing", id)
		}
	}
	views := s.runsEnded(t, name, want)
	paid := s.paidFiles(t, name)
	for i, photo := range photos {
		n := paid[sumOf(photo)]
		delete(paid, sumOf(photo))
		if n > 1 || n < 1 && (want > 1 || i == len(photos)-1) {
			t.Errorf("photo %d was paid for %d times", i, n)
		}
		t.Logf("photo %d of %d, %v apart: paid for %d times; events with versions: %v", i+1, len(photos), gap, n, want > 1)
	}
	if len(paid) > 0 {
		t.Errorf("paid for what was never uploaded: %v", paid)
	}
	for _, v := range views {
		pinnedVersion, pinnedETag := s.pinnedBy(t, v.RunID)
		newest := pinnedVersion == version || pinnedETag == etag
		if v.Status != "succeeded" && (newest || want > 1 || v.Error == nil || v.Error.Name != "InputReplaced") {
			t.Errorf("%s, pinned to %s%s: %s %+v", v.RunID, pinnedVersion, pinnedETag, v.Status, v.Error)
		}
	}
}

// TestVersionsNamedByEvents: the events name versions, their keys come raw and
// URL-encoded, long after both photos were written: each run has its own.
func TestVersionsNamedByEvents(t *testing.T) {
	s := open(t)
	t.Parallel()
	name := runName(t)
	key, encoded := "files/upscale/image/"+name+" +ä.png", "files/upscale/image/"+name+"+%2B%C3%A4.png"
	photos := [][]byte{picture(t), picture(t)}
	var events []string
	for i, photo := range photos {
		version, etag := s.putVersion(t, key, photo)
		for _, k := range []string{key, encoded} {
			object := map[string]any{"key": k, "size": len(photo), "etag": etag, "version-id": version, "sequencer": fmt.Sprintf("0066F3A1C2D4E5F%d", i)}
			events = append(events, mustJSON(t, map[string]any{"detail-type": "Object Created", "source": "aws.s3", "detail": map[string]any{
				"reason": "PutObject", "bucket": map[string]any{"name": s.inbox}, "object": object}}))
		}
	}
	started := map[string]string{} // run id → the photo's sum
	for i, event := range events {
		out, err := s.lambda.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String(s.resources["OnUploadFunction"]), Payload: []byte(event)})
		var answer struct{ Started []string }
		if err != nil || out.FunctionError != nil || json.Unmarshal(out.Payload, &answer) != nil || len(answer.Started) != 1 {
			t.Fatalf("on-upload: %v %s", err, out.Payload)
		}
		started[answer.Started[0]] = sumOf(photos[i/2])
	}
	if len(started) != 2 {
		t.Fatalf("an event with its key raw and encoded is two: %v", started)
	}
	for id, sum := range started {
		v := s.end(t, id)
		s.delivered(t, v)
		all := s.whole(t)
		i := slices.IndexFunc(all.Tasks, func(task ledgerTask) bool { return task.ID == v.TaskID })
		if i < 0 {
			t.Fatalf("the task %s of %s was not paid for", v.TaskID, id)
		}
		j := slices.IndexFunc(all.Uploads, func(u ledgerUpload) bool { return u.FileKey == all.Tasks[i].Parameters["image"] })
		if j < 0 || all.Uploads[j].SHA256 != sum {
			t.Errorf("%s processed another photo", id)
		}
	}
}

// TestPinnedInputs: anybody may pin an input; what is no more is named, and nothing
// is paid for.
func TestPinnedInputs(t *testing.T) {
	s := open(t)
	t.Parallel()
	name := runName(t)
	key := "pinned/" + name + ".png" // not under files/: no upload's run
	version, etag := s.putVersion(t, key, picture(t))
	gone, _ := s.putVersion(t, key, picture(t))
	if _, err := s.s3.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &s.inbox, Key: &key, VersionId: &gone}); err != nil {
		t.Fatal(err)
	}
	newest := picture(t)
	_, newestETag := s.putVersion(t, key, newest)
	for i, test := range []struct{ pin, want string }{
		{fmt.Sprintf(`{"version_id":%q}`, version), ""},
		{fmt.Sprintf(`{"etag":%q}`, newestETag), ""},
		{fmt.Sprintf(`{"etag":%q}`, etag), "InputReplaced"},
		{fmt.Sprintf(`{"version_id":%q}`, gone), "InputGone"},
		{fmt.Sprintf(`{"version_id":%q,"etag":%q}`, version, etag), "InvalidRequest"},
	} {
		runID := fmt.Sprintf("%s-%d", name, i)
		s.execute(t, runID, fmt.Sprintf(`{"workflow":"upscale","parameters":{"image":"s3://%s/%s"},"input_versions":{"image":%s}}`, s.inbox, key, test.pin))
		v := s.end(t, runID)
		if test.want == "" {
			s.delivered(t, v)
		} else {
			s.checkFailure(t, v, test.want)
		}
	}
	if paid := s.paidFiles(t, name); len(paid) != 2 || paid[sumOf(newest)] != 1 {
		t.Errorf("paid for %v", paid)
	}
}

// TestTextAsItIs: what a client may write as one text or another reaches Cyberun as
// it was meant, or is refused at once. (Bytes that are not UTF-8 are replaced by an
// HTTP API itself; the function never sees them.)
func TestTextAsItIs(t *testing.T) {
	s := open(t)
	emoji := strings.Repeat("😀", 60_000) // 240 kB of UTF-8, 720 kB of escapes
	escaped := strings.Repeat(`\ud83d\ude00`, 60_000)
	for name, test := range map[string]struct {
		body, prompt string // %s: a word
		status       int
	}{
		"a byte order mark":       {"\xef\xbb\xbf" + `{"workflow":"text-to-image","parameters":{"prompt":"%s"}}`, "%s", 202},
		"60,000 emoji":            {`{"workflow":"text-to-image","parameters":{"prompt":"%s ` + emoji + `"}}`, "%s " + emoji, 202},
		"60,000 emoji as escapes": {`{"workflow":"text-to-image","parameters":{"prompt":"%s ` + escaped + `"}}`, "%s " + emoji, 202},
		"more than there is room": {`{"workflow":"text-to-image","parameters":{"prompt":"%s ` + strings.Repeat("x", 262_144-400) + `"}}`, "", 400},
		"half of an emoji":        {`{"workflow":"text-to-image","parameters":{"prompt":"%s \ud83d"}}`, "", 400},
		"a name given twice":      {`{"workflow":"text-to-image","parameters":{"prompt":"%s","prompt":"%[1]s"}}`, "", 400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			word := strings.ReplaceAll(uniqueWord(t), ",", "")
			answer := s.call(t, "POST", "/runs", fmt.Sprintf(test.body, word))
			if answer.status != test.status {
				t.Fatalf("HTTP %d, want %d: %.500s", answer.status, test.status, answer.body)
			}
			if test.status != 202 {
				if paid := s.paid(t, word); len(paid) > 0 {
					t.Errorf("paid for %d tasks", len(paid))
				}
				return
			}
			var told runView
			answer.into(t, &told)
			s.delivered(t, s.end(t, told.RunID))
			if paid := s.paid(t, word); len(paid) != 1 || paid[0].Parameters["prompt"] != fmt.Sprintf(test.prompt, word) {
				t.Errorf("paid for %d tasks", len(paid))
			}
		})
	}
}
