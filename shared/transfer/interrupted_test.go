package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

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
