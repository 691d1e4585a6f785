package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// childEnv makes the test's own binary copy, to be killed at it.
const childEnv = "TRANSFER_TEST_CHILD"

func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		os.Exit(copyAsChild(spec))
	}
	os.Exit(m.Run())
}

type childSpec struct{ URL, Endpoint, Checkpoint string }

func copyAsChild(spec string) int {
	var s childSpec
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		return 2
	}
	t := &testing.T{}
	copier := testCopier(t, clientOf(t, s.Endpoint))
	copier.Connections = 2
	res, err := copier.Copy(context.Background(), Source{URL: redact.SignedURL(s.URL)}, testTarget(), loadCheckpoint(s.Checkpoint), func(_ context.Context, cp Checkpoint) error {
		raw, err := json.Marshal(cp)
		return errors.Join(err, os.WriteFile(s.Checkpoint, raw, 0o600))
	})
	if err != nil || !res.Done {
		fmt.Fprintln(os.Stderr, res, err)
		return 1
	}
	return 0
}

func loadCheckpoint(file string) *Checkpoint {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	cp := new(Checkpoint)
	if json.Unmarshal(raw, cp) != nil {
		return nil
	}
	return cp
}

// A copy is interrupted ten times, five by its deadline and five by a kill, and
// fetches little more than each byte once.
func TestInterruptedTenTimes(t *testing.T) {
	origin, store := newFakeOrigin(160*testPart+321), newFakeS3()
	client := store.client(t)
	spec := childSpec{URL: string(origin.serve(t)), Endpoint: *client.Options().BaseEndpoint, Checkpoint: filepath.Join(t.TempDir(), "checkpoint")}
	for i := range 10 {
		limit := store.count("UploadPart") + 12
		if i%2 == 0 {
			stopAfter(t, store, spec, limit)
		} else {
			killAfter(t, store, spec, limit)
		}
	}
	copier := testCopier(t, client)
	res, err := copier.Copy(t.Context(), Source{URL: redact.SignedURL(spec.URL)}, testTarget(), loadCheckpoint(spec.Checkpoint), nil)
	if err != nil {
		t.Fatal(err)
	}
	checkCopied(t, store, origin, res)
	if ratio := float64(origin.served.Load()) / float64(len(origin.data)); ratio > 1.1 {
		t.Errorf("each byte was fetched %.2f times, want at most 1.1", ratio)
	}
}

func stopAfter(t *testing.T, store *fakeS3, spec childSpec, limit int) {
	copier := testCopier(t, clientOf(t, spec.Endpoint))
	copier.StopBefore = time.Unix(int64(limit), 0)
	copier.now = func() time.Time { return time.Unix(int64(store.count("UploadPart")), 0) }
	res, err := copier.Copy(t.Context(), Source{URL: redact.SignedURL(spec.URL)}, testTarget(), loadCheckpoint(spec.Checkpoint), func(_ context.Context, cp Checkpoint) error {
		raw, err := json.Marshal(cp)
		return errors.Join(err, os.WriteFile(spec.Checkpoint, raw, 0o600))
	})
	if err != nil || res.Done {
		t.Fatalf("stopping: %+v, %v", res, err)
	}
}

// killAfter lets a process of its own copy until S3 has seen so many parts; the
// last of them is held up, so that the kill falls into one.
func killAfter(t *testing.T, store *fakeS3, spec childSpec, limit int) {
	reached, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	store.mu.Lock()
	store.fault = func(op string, n int, _ http.ResponseWriter, _ *http.Request) bool {
		if op == "UploadPart" && n >= limit {
			once.Do(func() { close(reached) })
			<-release
		}
		return false
	}
	store.mu.Unlock()
	raw, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childEnv+"="+string(raw))
	var said bytes.Buffer
	child.Stderr = &said
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-reached:
	case <-time.After(30 * time.Second):
		t.Errorf("the child got nowhere: %s", said.String())
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	store.mu.Lock()
	store.fault = nil
	store.mu.Unlock()
	close(release)
}

// Between two invocations the origin has come to hold another file: the upload
// of the old one is aborted and the new one copied whole.
func TestResumeOfChangedOutput(t *testing.T) {
	origin, store := newFakeOrigin(8*testPart), newFakeS3()
	saved, src, client := stopHalfway(t, origin, store)
	origin.change(randomBytes(9*testPart+5), changedETag)
	res, err := testCopier(t, client).Copy(t.Context(), src, testTarget(), saved, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkCopied(t, store, origin, res)
}

// A part without a CRC32 cannot be vouched for, and is copied again.
func TestResumeWithoutSums(t *testing.T) {
	origin, store := newFakeOrigin(8*testPart), newFakeS3()
	store.noSums = true
	saved, src, client := stopHalfway(t, origin, store)
	res, err := testCopier(t, client).Copy(t.Context(), src, testTarget(), saved, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkCopied(t, store, origin, res)
	if res.Copied != int64(len(origin.data)) {
		t.Errorf("copied %d, want all %d", res.Copied, len(origin.data))
	}
}

func TestResumeAfterEnd(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *fakeS3, *Checkpoint, Source, S3){
		"completed by another invocation": func(t *testing.T, _ *fakeS3, cp *Checkpoint, src Source, client S3) {
			if _, err := testCopier(t, client).Copy(t.Context(), src, testTarget(), cp, nil); err != nil {
				t.Fatal(err)
			}
		},
		"aborted": func(t *testing.T, _ *fakeS3, cp *Checkpoint, _ Source, client S3) {
			for range 2 { // the second time there is nothing left to abort
				if err := Abort(t.Context(), client, "bucket", *cp); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			origin, store := newFakeOrigin(8*testPart), newFakeS3()
			saved, src, client := stopHalfway(t, origin, store)
			end(t, store, saved, src, client)
			res, err := testCopier(t, client).Copy(t.Context(), src, testTarget(), saved, nil)
			if err != nil {
				t.Fatal(err)
			}
			checkCopied(t, store, origin, res)
		})
	}
}

// Some seconds of trouble, at the origin or at S3, cost no part that is there:
// the error is one that is tried again, and the next call goes on.
func TestTroubleIsNoEnd(t *testing.T) {
	for name, trouble := range map[string]func(*fakeOrigin, *fakeS3, *atomic.Bool){
		"the origin cuts each answer after some bytes": func(origin *fakeOrigin, store *fakeS3, on *atomic.Bool) {
			origin.body = func(_ int, w http.ResponseWriter) io.Writer {
				if on.Load() && store.count("UploadPart") > 20 {
					return &breakAfter{w: w, limit: 100}
				}
				return w
			}
		},
		"the origin resets each answer at once": func(origin *fakeOrigin, store *fakeS3, on *atomic.Bool) {
			origin.fault = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
				return on.Load() && store.count("UploadPart") > 20 && hijack(w, "")
			}
		},
		"S3 cuts its answers": func(_ *fakeOrigin, store *fakeS3, on *atomic.Bool) {
			store.after = func(op string, n int, w http.ResponseWriter, _ *http.Request) bool {
				return on.Load() && op == "UploadPart" && n > 20 && hijack(w, "HTTP/1.1 200 OK\r\nETag: \"x")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			origin, store := newFakeOrigin(40*testPart+5), newFakeS3()
			var on atomic.Bool
			on.Store(true)
			trouble(origin, store, &on)
			client, src := store.client(t), Source{URL: origin.serve(t)}
			var saved *Checkpoint
			_, err := testCopier(t, client).Copy(t.Context(), src, testTarget(), nil, func(_ context.Context, cp Checkpoint) error {
				saved = &cp
				return nil
			})
			if !named.Is(err, named.Unavailable) || store.openUploads() != 1 || saved == nil {
				t.Fatalf("%v, %d uploads", err, store.openUploads())
			}
			on.Store(false)
			res, err := testCopier(t, client).Copy(t.Context(), src, testTarget(), saved, nil)
			if err != nil {
				t.Fatal(err)
			}
			checkCopied(t, store, origin, res)
			if res.Stored == 0 || res.Stored > 24*testPart {
				t.Errorf("the second call stored %d of %d bytes", res.Stored, len(origin.data))
			}
		})
	}
}

// A stream that was cut after several parts and is then short enough for one
// request leaves no upload.
func TestStreamGrowsShort(t *testing.T) {
	origin, store := newFakeOrigin(5*testPart), newFakeS3()
	origin.noRanges, origin.noLength = true, true
	origin.body = func(n int, w http.ResponseWriter) io.Writer {
		if n == 1 {
			origin.change(origin.data[:testPart/2], origin.etag)
			return &breakAfter{w: w, limit: 4 * testPart}
		}
		return w
	}
	res, err := testCopier(t, store.client(t)).Copy(t.Context(), Source{URL: origin.serve(t)}, testTarget(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if store.count("CreateMultipartUpload") != 1 {
		t.Fatal("the first attempt was to begin an upload")
	}
	checkCopied(t, store, origin, res)
}

// stopHalfway copies some parts of a file and gives the checkpoint.
func stopHalfway(t *testing.T, origin *fakeOrigin, store *fakeS3) (*Checkpoint, Source, S3) {
	client, src := store.client(t), Source{URL: origin.serve(t)}
	var saved *Checkpoint
	copier := testCopier(t, client)
	copier.Connections = 1
	copier.StopBefore = time.Unix(3, 0)
	copier.now = func() time.Time { return time.Unix(int64(store.count("UploadPart")), 0) }
	res, err := copier.Copy(t.Context(), src, testTarget(), nil, func(_ context.Context, cp Checkpoint) error {
		saved = &cp
		return nil
	})
	if err != nil || res.Done || saved == nil || res.Copied == 0 {
		t.Fatalf("stopping: %+v, %v", res, err)
	}
	return saved, src, client
}

// deadline is a context whose time is over when the test says so.
type deadline struct {
	context.Context
	over chan struct{}
}

func (d deadline) Done() <-chan struct{} { return d.over }

func (d deadline) Err() error {
	select {
	case <-d.over:
		return context.DeadlineExceeded
	default:
		return d.Context.Err()
	}
}

// The deadline itself, after StopBefore, is no failure: what S3 has is gone on
// with. Without ranges nothing is, and nothing is left.
func TestDeadline(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		origin, store := newFakeOrigin(8*testPart), newFakeS3()
		origin.noRanges = !ranges
		copier := testCopier(t, store.client(t))
		copier.now = func() time.Time { return time.Unix(0, 0) }
		copier.StopBefore = time.Unix(1, 0)
		ctx := deadline{t.Context(), make(chan struct{})}
		store.fault = func(op string, n int, _ http.ResponseWriter, _ *http.Request) bool {
			if op == "UploadPart" && n == 3 {
				close(ctx.over)
			}
			return false
		}
		res, err := copier.Copy(ctx, Source{URL: origin.serve(t)}, testTarget(), nil, nil)
		if res.Done || err != nil {
			t.Errorf("ranges %t: %+v, %v", ranges, res, err)
		}
		if left := store.openUploads(); left != 1 && ranges || left != 0 && !ranges {
			t.Errorf("ranges %t: %d uploads are left", ranges, left)
		}
		if !ranges && res.Stored != 0 {
			t.Errorf("a stream has stored %d bytes, on which no later call can build", res.Stored)
		}
	}
}

// After a thousand copies, most of them with faults, nothing is left running
// and nothing open.
func TestNothingLeftBehind(t *testing.T) {
	rows := append(originFaults(), storeFaults()...)
	before, filesBefore := runtime.NumGoroutine(), openFiles(t)
	for i := range 1000 {
		t.Run("copy", func(t *testing.T) { // its clean-up closes servers and clients
			f := rows[i%len(rows)]
			c := &cell{origin: newFakeOrigin(2*testPart + 1), store: newFakeS3(), ctx: t.Context()}
			c.origin.noRanges = i%3 == 0
			c.copier = testCopier(t, c.store.client(t))
			c.url = c.origin.serve(t)
			c.src = &Source{URL: c.url, Refresh: func(context.Context) (redact.SignedURL, error) { return c.url, nil }}
			if f.set(c); c.copier.attempts == 0 {
				c.copier.attempts = 2
			}
			_, _ = c.copier.Copy(c.ctx, *c.src, testTarget(), nil, c.save)
		})
	}
	for range 100 { // servers and cancelled dials end a moment later
		if runtime.NumGoroutine() <= before && openFiles(t) <= filesBefore {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("%d goroutines, %d before; %d descriptors, %d before\n%s", runtime.NumGoroutine(), before, openFiles(t), filesBefore, stacks[:runtime.Stack(stacks, true)])
}

func openFiles(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Logf("descriptors are not counted here: %v", err)
	}
	return len(entries)
}
