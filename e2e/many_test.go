package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// manyFiles are more than one answer of the API names; RELAY_MANY_FILES may name
// another number.
const manyFiles = 1100

// TestManyOutputs: a task that leaves more files than one answer names is delivered
// whole, every answer about it is below Lambda's 6 MB, and `relay … --out` saves
// each file.
func TestManyOutputs(t *testing.T) {
	s := open(t)
	relay, err := filepath.Abs("../bin/relay")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(relay); err != nil {
		t.Skip("bin/relay is not built: `make relay`")
	}
	t.Parallel()
	files := manyFiles
	if n, err := strconv.Atoi(os.Getenv("RELAY_MANY_FILES")); err == nil {
		files = n
	}
	began := time.Now()
	v := s.end(t, s.start(t, fmt.Sprintf(`{"workflow":"many-files","parameters":{"count":%d}}`, files)))
	delivered := time.Since(began)
	if v.Status != "succeeded" {
		t.Fatalf("the run is %s, %+v", v.Status, v.Error)
	}
	pages, seen, largest := 0, 0, 0
	for after := ""; pages == 0 || after != ""; pages++ {
		a := s.call(t, http.MethodGet, "/runs/"+v.RunID+"?outputs_after="+url.QueryEscape(after), "")
		var page struct {
			runView
			Next string `json:"outputs_next"`
		}
		a.into(t, &page)
		handed, err := json.Marshal(string(a.body)) // as the function's answer holds it
		if err != nil {
			t.Fatal(err)
		}
		seen, largest, after = seen+len(page.Outputs), max(largest, len(handed)), page.Next
	}
	if seen != files || pages < 2 || largest > 6*mib {
		t.Errorf("%d of %d outputs in %d answers, the largest of %d bytes", seen, files, pages, largest)
	}
	dir, began := t.TempDir(), time.Now()
	cmd := exec.CommandContext(t.Context(), relay, "status", v.RunID, "--out", dir)
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	saved := map[string]bool{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		body, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		saved[string(body)] = true
	}
	for i := range files {
		if want := fmt.Sprintf("file %d of %d\n", i+1, files); !saved[want] {
			t.Fatalf("among %d files none says %q", len(entries), want)
		}
	}
	t.Logf("%d files delivered within %v, in %d answers of at most %d bytes, and saved within %v; manifest %d bytes, copy-result's peak %d MiB",
		len(entries), delivered.Round(time.Second), pages, largest, time.Since(began).Round(time.Second),
		len(s.object(t, s.outputs, v.ManifestKey)), peakMemory(s.resources["CopyResultFunction"])/mib)
}
