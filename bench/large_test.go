package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// thousandMB is a file by which MB/s are easily reckoned.
const thousandMB = 1_000_000_000

// samples are processes that took that many seconds, and their copies less.
func samples(startUp float64, took ...float64) []sample {
	var all []sample
	for _, seconds := range took {
		s := sample{seconds: seconds, cpu: 1, rssMiB: 20}
		if startUp >= 0 {
			s.inner = []float64{seconds - startUp}
		}
		all = append(all, s)
	}
	return all
}

func measured() []largeRow {
	all := map[string][]sample{
		"get1": samples(0, 1, 1, 1), "put1": samples(0, 1.25, 1.2, 1.3), // 800
		"get": samples(0, 0.5, 0.5, 0.5), "put": samples(0, 0.625, 0.6, 0.7), // 1600
		"both":          samples(0, 1.5625, 1.6, 1.5), // 640
		"ours":          samples(0.0625, 2.0625, 1.3125, 1.0625),
		"manager":       samples(0.125, 2.625, 2.5, 3),
		"manager-tuned": samples(0.125, 2.1, 2.1, 2.1),
		"rclone":        samples(-1, 4, 5, 3.9),
	}
	var jobs []job
	for _, name := range []string{"get1", "put1", "get", "put", "both", "ours", "manager", "manager-tuned", "transfermanager", "rclone"} {
		jobs = append(jobs, job{name: name, secure: true, size: thousandMB})
	}
	return largeRows(jobs, all)
}

func TestLargeRows(t *testing.T) {
	rows := (&figures{Large: measured()}).rows(true)
	if _, there := rows["transfermanager"]; there || len(rows) != 9 {
		t.Errorf("a contestant that wasn't measured has a row, or one that was has none: %d rows", len(rows))
	}
	for _, want := range []largeRow{
		// The process took 1.3125 s, the copy alone 1.25 s: 800 MB/s, as the slower of
		// one GET and one PUT, and half of eight.
		{Name: "ours", MBps: 761.9, MinMBps: 484.8, MaxMBps: 941.2, StartMs: 62.5, CopyMBps: 800, OfStream: 1, OfLimit: 0.5},
		{Name: "manager", MBps: 381, MinMBps: 333.3, MaxMBps: 400, StartMs: 125, CopyMBps: 400, OfStream: 0.5, OfLimit: 0.25},
		{Name: "rclone", MBps: 250, MinMBps: 200, MaxMBps: 256.4}, // not held against a clock that it doesn't have
		{Name: "put1", MBps: 800, MinMBps: 769.2, MaxMBps: 833.3, CopyMBps: 800, OfStream: 1, OfLimit: 0.5},
		{Name: "both", MBps: 640, MinMBps: 625, MaxMBps: 666.7, CopyMBps: 640, OfStream: 0.8, OfLimit: 0.4},
	} {
		got := rows[want.Name]
		for _, figure := range []struct {
			what      string
			got, want float64
		}{
			{"MB/s", got.MBps, want.MBps}, {"min", got.MinMBps, want.MinMBps}, {"max", got.MaxMBps, want.MaxMBps},
			{"start-up", got.StartMs, want.StartMs}, {"copy alone", got.CopyMBps, want.CopyMBps},
			{"of one", got.OfStream, want.OfStream}, {"of eight", got.OfLimit, want.OfLimit},
		} {
			if d := figure.got - figure.want; d < -0.06 || d > 0.06 {
				t.Errorf("%s, %s: %g, want %g", want.Name, figure.what, figure.got, figure.want)
			}
		}
	}
}

func TestReport(t *testing.T) {
	dir := t.TempDir()
	f := &figures{
		Machine: machine{CPU: "some", Cores: 2, Go: "go1"}, Rounds: 3, Large: measured(),
		Small:    []smallRow{{Size: kib, Name: "ours", Ms: 1}, {Size: kib, Name: "rclone", Ms: 74.5, Process: true}},
		Lambda:   []lambdaRow{{MB: 128, Name: "ours", MBps: 33.2, StartMs: 200, RSSMiB: 21}, {MB: 128, Name: "rclone", MBps: 12, RSSMiB: 99}},
		Confined: "by a fake",
		Profile:  profiled(),
	}
	if err := writeReport(dir, f); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	report := string(raw)
	for _, want := range []string{
		"| **cyberun-relay** | 762 | 485–941 | 62 | 800 | 1.00 | 0.50 | 1.07 | 20 |\n",
		"| SDK `feature/s3/manager`, 16 MiB × 8 | 476 | 476–476 | 125 |",
		"| `rclone copyurl` | 250 | 200–256 |  |  |  |  | 1.07 | 20 |\n",
		"| limit: PUT from memory, one connection | 800 | 769–833 |  | 800 | 1.00 | 0.50 |",
		"| reference: GET and PUT at once, unconnected | 640 |",
		"Over TLS the relay's copy alone reaches 1.00 of one connection's limit and 0.50 of eight's, and is 1.25 × the reference.\n" +
			"As a process it is 2.00 × SDK `feature/s3/manager`; 1.60 × SDK `feature/s3/manager`, 16 MiB × 8; 3.05 × `rclone copyurl`.\n",
		"`manager` parts of 5 MiB, 5 at\nonce, `transfermanager` parts of 8 MiB, 5 at once.",
		"the smallest file takes them (below): `rclone copyurl` 74 ms.",
		"| 128 | **cyberun-relay** | 33.2 | 200 | 21 |\n| 128 | `rclone copyurl` | 12.0 |  | 99 |\n",
		"Not measured: SDK `feature/s3/transfermanager`, which",
	} {
		if !strings.Contains(report, want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if strings.Contains(report, "plain HTTP the relay") || strings.Contains(report, "NaN") || strings.Contains(report, "Inf") {
		t.Error("the report has figures that were not measured")
	}
	if t.Failed() {
		t.Log(report)
	}
	kept := &figures{}
	if raw, err = os.ReadFile(filepath.Join(dir, "results.json")); err != nil || json.Unmarshal(raw, kept) != nil {
		t.Fatal(err)
	}
	if r := kept.rows(true)["ours"]; int(r.MinMBps) != 484 || int(r.MaxMBps) != 941 {
		t.Errorf("results.json keeps a spread of %g–%g", r.MinMBps, r.MaxMBps)
	}
}

func TestPlot(t *testing.T) {
	dir := t.TempDir()
	if err := writePlot(dir, &figures{Large: measured()}); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "plot.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"limit, one connection 800<", "limit, eight 1600<", "for reference, GET and PUT at once 640<", ">SDK manager, 16 MiB × 8<", ">762<"} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("the plot lacks %q", want)
		}
	}
}
