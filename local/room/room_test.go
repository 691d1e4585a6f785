//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets this test be what the program is: it starts itself anew to become a
// function.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == confineCommand {
		if err := confined(os.Args[2:]); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// probe runs testdata/probe in a room of that size and returns what it said.
func probe(t *testing.T, jail limit, mb int64, env ...string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "probe")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./testdata/probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	var said bytes.Buffer
	p, err := jail.start(t.TempDir(), mb, binary, env, &said)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		t.Error("the probe does not end")
	}
	p.stop()
	return said.String()
}

func TestRoomIsBare(t *testing.T) {
	jail, missing := limits()
	if !jail.namespaces {
		t.Skipf("this machine gives no root of its own: %v", missing)
	}
	jail.groups = groups{}
	said := probe(t, jail, 128)
	var got struct {
		MIMETypes    bool `json:"mime_types"`
		Shell        bool
		Etc          []string
		User         int
		Mov          string
		RootWritable bool `json:"root_writable"`
		TaskWritable bool `json:"task_writable"`
		TmpWritable  bool `json:"tmp_writable"`
	}
	if err := json.Unmarshal([]byte(said), &got); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	if got.MIMETypes || got.Shell || got.Mov != "" || got.RootWritable || got.TaskWritable || !got.TmpWritable {
		t.Errorf("the room is %s", said)
	}
	if !jail.user && got.User != sandboxUser {
		t.Errorf("it runs as %d", got.User)
	}
	if _, err := os.Stat("/x"); err == nil {
		t.Error("it wrote into this machine's root")
	}
}

func TestRoomIsSmall(t *testing.T) {
	jail, missing := limits()
	if jail.groups.version == 0 {
		t.Skipf("this machine gives no cgroups: %v", missing)
	}
	if said := probe(t, jail, 128, "TAKE=1"); strings.Contains(said, "took it all") {
		t.Errorf("it took 200 MiB of 128 MB: %s", said)
	}
	if said := probe(t, jail, 512, "TAKE=1"); !strings.Contains(said, "took it all") {
		t.Errorf("it could not take 200 MiB of 512 MB: %s", said)
	}
}
