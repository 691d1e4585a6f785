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

// childSpec is a copy that several processes work on, one after the other, with the
// checkpoint in a file.
type childSpec struct{ URL, Endpoint, Checkpoint string }

func (s childSpec) copy(copier *Copier) (Result, error) {
	var from *Checkpoint
	if raw, err := os.ReadFile(s.Checkpoint); err == nil {
		if err := json.Unmarshal(raw, &from); err != nil {
			return Result{}, err
		}
	}
	return copier.Copy(context.Background(), Source{URL: redact.SignedURL(s.URL)}, testTarget(), from, func(_ context.Context, cp Checkpoint) error {
		raw, err := json.Marshal(cp)
		return errors.Join(err, os.WriteFile(s.Checkpoint, raw, 0o600))
	})
}

func copyAsChild(spec string) int {
	var s childSpec
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		return 2
	}
	t := &testing.T{}
	copier := testCopier(t, clientOf(t, s.Endpoint))
	copier.Connections = 2
	if res, err := s.copy(copier); err != nil || !res.Done {
		fmt.Fprintln(os.Stderr, res, err)
		return 1
	}
	return 0
}

// TestInterruptedTenTimes: a copy that is interrupted, five times by its deadline
// and five times by a kill, fetches little more than each byte once.
func TestInterruptedTenTimes(t *testing.T) {
	f := newFixture(t, 160*testPart+321)
	spec := childSpec{URL: string(f.src.URL), Endpoint: *f.client.Options().BaseEndpoint, Checkpoint: filepath.Join(t.TempDir(), "checkpoint")}
	for i := range 10 {
		if i%2 == 1 {
			killAfter(t, f.s3, spec, f.s3.count("UploadPart")+12)
			continue
		}
		f.stopAfter(12, 4)
		if res, err := spec.copy(f.copier); err != nil || res.Done {
			t.Fatalf("stopping: %+v, %v", res, err)
		}
		f.copier = testCopier(t, f.client)
	}
	res, err := spec.copy(f.copier)
	if err != nil {
		t.Fatal(err)
	}
	checkCopied(t, f.s3, f.origin, res)
	if ratio := float64(f.origin.served.Load()) / float64(len(f.origin.data)); ratio > 1.1 {
		t.Errorf("each byte was fetched %.2f times, want at most 1.1", ratio)
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
