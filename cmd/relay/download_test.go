package main

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// origin serves outputs as S3 does, or worse.
type origin struct {
	mu     sync.Mutex
	ranges []string // of the requests, in order
	serve  func(n int, w http.ResponseWriter, r *http.Request)
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	n := len(o.ranges)
	o.ranges = append(o.ranges, r.Header.Get("Range"))
	o.mu.Unlock()
	o.serve(n, w, r)
}

func startOrigin(t *testing.T, serve func(n int, w http.ResponseWriter, r *http.Request)) (*origin, string) {
	t.Helper()
	o := &origin{serve: serve}
	server := httptest.NewServer(o)
	t.Cleanup(server.Close)
	return o, server.URL
}

// text serves a body whole, or the part that is asked for.
func text(w http.ResponseWriter, r *http.Request, body string) {
	if from := rangeStart(r); from > 0 {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body)))
		w.WriteHeader(http.StatusPartialContent)
		body = body[from:]
	}
	_, _ = w.Write([]byte(body))
}

func rangeStart(r *http.Request) int {
	var from int
	_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
	return from
}

// cut promises a body and hangs up after n bytes of it.
func cut(w http.ResponseWriter, body string, n int) {
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	_, _ = w.Write([]byte(body[:n]))
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func both(_ int, w http.ResponseWriter, r *http.Request) {
	text(w, r, map[string]string{"/sunset": sunset, "/cloud": cloud}[r.URL.Path])
}

// folder is what a folder holds, hidden files too.
func folder(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range entries {
		if e.Type().IsRegular() {
			got[e.Name()] = read(t, filepath.Join(dir, e.Name()))
		} else {
			got[e.Name()] = "(" + e.Type().String() + ")"
		}
	}
	return got
}

func noSignature(t *testing.T, h *harness) {
	t.Helper()
	if strings.Contains(h.both(), "X-Amz") || strings.Contains(h.both(), "secret") {
		t.Errorf("a signed address was printed:\n%s", h.both())
	}
}

func TestDownload(t *testing.T) {
	_, address := startOrigin(t, both)
	h := newHarness(t, replay(t, life(lifePending, succeeded(address, sunsetJSON, cloudJSON))))
	t.Chdir(t.TempDir())
	h.run(t, codeOK, "run", "nerf-train", "--out", "pictures/today")
	want := map[string]string{"9.images.0.png": sunset, "cloud.ply": cloud}
	if diff := cmp.Diff(want, folder(t, "pictures/today")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	golden(t, "download.txt", h.both())
	noSignature(t, h)
}

// Again: what is there is left alone, and not fetched.
func TestDownloadAgain(t *testing.T) {
	o, address := startOrigin(t, both)
	h := newHarness(t, replay(t, life(succeeded(address, sunsetJSON, cloudJSON))))
	t.Chdir(t.TempDir())
	h.run(t, codeOK, "status", "key-1", "--out", ".")
	h.run(t, codeOK, "status", "key-1", "--out", ".")
	if len(o.ranges) != 2 || strings.Count(h.err.String(), "is there already") != 2 {
		t.Errorf("%d requests\n%s", len(o.ranges), h.both())
	}
}

// Another file of the name stays, of whatever kind and size.
func TestDownloadBesideOthers(t *testing.T) {
	for name, other := range map[string]func(t *testing.T){
		"other size": func(t *testing.T) { write(t, "9.images.0.png", "mine") },
		"same size":  func(t *testing.T) { write(t, "9.images.0.png", strings.ToUpper(sunset)) },
		"folder":     func(t *testing.T) { _ = os.Mkdir("9.images.0.png", 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			_, address := startOrigin(t, both)
			h := newHarness(t, replay(t, life(succeeded(address, sunsetJSON))))
			t.Chdir(t.TempDir())
			other(t)
			before := folder(t, ".")
			h.run(t, codeOK, "status", "key-1", "--out", ".")
			before["9.images.0-key-1.png"] = sunset
			if diff := cmp.Diff(before, folder(t, ".")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !strings.Contains(h.err.String(), "9.images.0.png is another file and stays as it is") {
				t.Errorf("not told:\n%s", h.err)
			}
			write(t, "9.images.0-key-1.png", "this too")
			h.run(t, codeFailed, "status", "key-1", "--out", ".")
		})
	}
}

// A download that breaks goes on where it was, or anew if the origin wants so.
func TestBrokenDownloads(t *testing.T) {
	for _, test := range []struct {
		name   string
		serve  func(n int, w http.ResponseWriter, r *http.Request)
		ranges []string
	}{
		{"cut thrice", func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 0 {
				cut(w, sunset, 5)
			}
			if from := rangeStart(r); n < 3 {
				if got := r.Header.Get("If-Match"); got != `"e1"` {
					panic("If-Match " + got)
				}
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-22/23", from))
				w.Header().Set("Content-Length", fmt.Sprint(23-from))
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write([]byte(sunset[from : from+4]))
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}
			text(w, r, sunset)
		}, []string{"", "bytes=5-", "bytes=9-", "bytes=13-"}},
		{"short without a length", func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 0 {
				_, _ = w.Write([]byte(sunset[:7])) // ends well, as far as HTTP knows
				return
			}
			text(w, r, sunset)
		}, []string{"", "bytes=7-"}},
		{"ranges are ignored", func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 0 {
				cut(w, sunset, 9)
			}
			_, _ = w.Write([]byte(sunset))
		}, []string{"", "bytes=9-"}},
		{"server errors", func(n int, w http.ResponseWriter, r *http.Request) {
			if n < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			text(w, r, sunset)
		}, []string{"", "", "", ""}},
		{"address runs out", func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 0 {
				cut(w, sunset, 9)
			}
			if n == 1 {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			text(w, r, sunset)
		}, []string{"", "bytes=9-", "bytes=9-"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			o, address := startOrigin(t, test.serve)
			h := newHarness(t, replay(t, life(succeeded(address, sunsetJSON))))
			t.Chdir(t.TempDir())
			h.run(t, codeOK, "status", "key-1", "--out", ".")
			if diff := cmp.Diff(map[string]string{"9.images.0.png": sunset}, folder(t, ".")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.ranges, o.ranges); diff != "" {
				t.Errorf("ranges (-want +got):\n%s", diff)
			}
			noSignature(t, h)
		})
	}
}

// What cannot be had whole is not kept at all, and the others are.
func TestDownloadsThatFail(t *testing.T) {
	for name, serve := range map[string]func(n int, w http.ResponseWriter, r *http.Request){
		"damaged":       func(_ int, w http.ResponseWriter, r *http.Request) { text(w, r, strings.ToUpper(sunset)) },
		"too long":      func(_ int, w http.ResponseWriter, r *http.Request) { text(w, r, sunset+"!") },
		"gone":          func(_ int, w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"always 503":    func(_ int, w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"always 403":    func(_ int, w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"always cut":    func(_ int, w http.ResponseWriter, r *http.Request) { cut(w, sunset, 0) },
		"changed":       cutThen(func(w http.ResponseWriter) { w.WriteHeader(http.StatusPreconditionFailed) }),
		"another part":  cutThen(func(w http.ResponseWriter) { w.Header().Set("Content-Range", "bytes 3-22/23"); w.WriteHeader(206) }),
		"another total": cutThen(func(w http.ResponseWriter) { w.Header().Set("Content-Range", "bytes 9-22/99"); w.WriteHeader(206) }),
		"no range":      cutThen(func(w http.ResponseWriter) { w.WriteHeader(206) }),
	} {
		t.Run(name, func(t *testing.T) {
			_, address := startOrigin(t, func(n int, w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/cloud" {
					text(w, r, cloud)
					return
				}
				serve(n, w, r)
			})
			h := newHarness(t, replay(t, life(succeeded(address, sunsetJSON, cloudJSON))))
			t.Chdir(t.TempDir())
			h.run(t, codeFailed, "status", "key-1", "--out", ".")
			if diff := cmp.Diff(map[string]string{"cloud.ply": cloud}, folder(t, ".")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			golden(t, "download-"+strings.ReplaceAll(name, " ", "-")+".txt", h.err.String())
			noSignature(t, h)
		})
	}
}

func cutThen(then func(w http.ResponseWriter)) func(n int, w http.ResponseWriter, r *http.Request) {
	return func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 0 {
			cut(w, sunset, 9)
		}
		then(w)
	}
}

// A dead server's error names its address: the signature must not be in it.
func TestDownloadFromNowhere(t *testing.T) {
	h := newHarness(t, replay(t, life(succeeded("http://127.0.0.1:1", sunsetJSON))))
	h.run(t, codeFailed, "status", "key-1", "--out", t.TempDir())
	noSignature(t, h)
	for _, address := range []string{"", "ftp://127.0.0.1", "\u0001"} {
		h := newHarness(t, replay(t, life(strings.Replace(succeeded("", sunsetJSON), `"/sunset?X-Amz-Signature=secret"`, mustJSON(address), 1))))
		dir := t.TempDir()
		h.run(t, codeFailed, "status", "key-1", "--out", dir)
		if len(folder(t, dir)) != 0 || !strings.Contains(h.err.String(), "address") {
			t.Errorf("%q: %s", address, h.err)
		}
	}
}

func TestDownloadInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, address := startOrigin(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		cancel()
		cut(w, sunset, 9)
	})
	h := newHarness(t, replay(t, life(succeeded(address, sunsetJSON))))
	t.Chdir(t.TempDir())
	if got := h.execute(ctx, []string{"status", "key-1", "--out", "."}); got != codeInterrupted {
		t.Errorf("exit code %d\n%s", got, h.both())
	}
	if got := folder(t, "."); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
	golden(t, "download-interrupted.txt", h.both())
}

// Keys come from afar: none may lead out of the folder, be hidden in it, or fall
// on another output's.
func TestNamesOfOutputs(t *testing.T) {
	for _, key := range []string{"", "/", ".", "..", "a/..", "a/.", "a/", `a/b\c`, "a/b:c", "a/\x00", "a/b\x1b[2J", "a/\u202egnp.exe", "a/\xff", "a/" + strings.Repeat("x", 300)} {
		if name, err := localName(key); err == nil {
			t.Errorf("%q became %q", key, name)
		}
	}
	for key, want := range map[string]string{"runs/1/a b.png": "a b.png", "~2E.txt": "~2E.txt", "x/日本.gz": "日本.gz"} {
		if name, err := localName(key); err != nil || name != want {
			t.Errorf("%q became %q, %v", key, name, err)
		}
	}
}

func TestOutputsOfOneName(t *testing.T) {
	_, address := startOrigin(t, both)
	twin := strings.NewReplacer("9.images.0.png", "sub/9.IMAGES.0.png", `"9.images.0"`, `"twin"`).Replace(sunsetJSON)
	escape := strings.NewReplacer("runs/key-1/cloud.ply", "runs/key-1/..").Replace(cloudJSON)
	h := newHarness(t, replay(t, life(succeeded(address, sunsetJSON, twin, escape))))
	t.Chdir(t.TempDir())
	h.run(t, codeFailed, "status", "key-1", "--out", ".")
	if diff := cmp.Diff(map[string]string{"9.images.0.png": sunset, "9.IMAGES.0-2.png": sunset}, folder(t, ".")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	golden(t, "download-names.txt", h.err.String())
}

// A link in the folder does not lead a download out of it.
func TestDownloadThroughALink(t *testing.T) {
	_, address := startOrigin(t, both)
	h := newHarness(t, replay(t, life(succeeded(address, sunsetJSON))))
	outside, dir := t.TempDir(), t.TempDir()
	victim := filepath.Join(outside, "victim")
	write(t, victim, "precious")
	if err := os.Symlink(victim, filepath.Join(dir, "9.images.0.png")); err != nil {
		t.Fatal(err)
	}
	h.execute(t.Context(), []string{"status", "key-1", "--out", dir})
	if got := read(t, victim); got != "precious" {
		t.Errorf("a file outside was written: %q", got)
	}
}

func TestFoldersThatAreNone(t *testing.T) {
	_, address := startOrigin(t, both)
	h := newHarness(t, replay(t, life(succeeded(address, sunsetJSON))))
	t.Chdir(t.TempDir())
	write(t, "file", "")
	h.run(t, codeFailed, "status", "key-1", "--out", "file")
	if !strings.Contains(h.err.String(), "relay: the outputs cannot be saved") {
		t.Errorf("got %s", h.err)
	}
}

// Bytes in the middle of a large file arrive as they are, over many reads and
// with the bar on a terminal.
func TestLargeDownload(t *testing.T) {
	body := strings.Repeat("0123456789abcdef", 1<<16)
	_, address := startOrigin(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 0 {
			cut(w, body, 700_001)
		}
		text(w, r, body)
	})
	large := fmt.Sprintf(`{"id":"o","key":"runs/key-1/o.bin","bytes":%d,"crc32":"%08X","content_type":"x","etag":"e","s3_uri":"s3://out/o.bin","url":"ORIGIN/o"}`, len(body), crc32.ChecksumIEEE([]byte(body)))
	h := newHarness(t, replay(t, life(succeeded(address, large))))
	h.terminal = true
	dir := t.TempDir()
	h.run(t, codeOK, "status", "key-1", "--out", dir)
	if got := folder(t, dir); len(got) != 1 || got["o.bin"] != body {
		t.Errorf("o.bin has %d bytes of %d, or others, in a folder of %d", len(got["o.bin"]), len(body), len(got))
	}
}

func TestEmptyOutput(t *testing.T) {
	_, address := startOrigin(t, func(int, http.ResponseWriter, *http.Request) {})
	empty := `{"id":"e","key":"runs/key-1/e.bin","bytes":0,"crc32":"00000000","content_type":"x","etag":"e","s3_uri":"s3://out/e.bin","url":"ORIGIN/e"}`
	h := newHarness(t, replay(t, life(succeeded(address, empty))))
	dir := t.TempDir()
	h.run(t, codeOK, "status", "key-1", "--out", dir)
	if diff := cmp.Diff(map[string]string{"e.bin": ""}, folder(t, dir)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func mustJSON(s string) string {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(raw)
}
