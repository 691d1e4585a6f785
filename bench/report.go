package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	Go         string `json:"go"`
	Kernel     string `json:"kernel"`
	Congestion string `json:"congestion_control"`
	OwnNetwork bool   `json:"own_network"`
}

func thisMachine() machine {
	m := machine{
		Cores: runtime.NumCPU(), Go: runtime.Version(), CPU: "unknown",
		Kernel: kernel(), Congestion: currentCongestion(), OwnNetwork: os.Getenv(ownNetwork) != "",
	}
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(info)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	return m
}

func kernel() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(release))
}

var titles = map[string]string{
	"ours": "**cyberun-relay**", "manager": "SDK `feature/s3/manager`", "transfermanager": "SDK `feature/s3/transfermanager`",
	"manager-tuned": "SDK `feature/s3/manager`, 16 MiB × 8", "transfermanager-tuned": "SDK `feature/s3/transfermanager`, 16 MiB × 8",
	"rclone": "`rclone copyurl`", "awscli": "curl piped into the AWS CLI",
	"get1": "limit: GET to nowhere, one connection", "put1": "limit: PUT from memory, one connection",
	"get": "limit: GET to nowhere, eight", "put": "limit: PUT from memory, eight", "both": "reference: GET and PUT at once, unconnected",
}

func writeReport(dir string, f *figures) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# How fast the copy is\n\nWritten by `make bench`. Absolute figures move from machine to machine and with what else runs;\nthe ratios within one interleaved run are what holds. Medians of %d rounds, each in another order,", f.Rounds)
	fmt.Fprintf(&b, " on %d cores (%s, %s);\norigin, sink and contestant share them. Length and CRC32 of all %d objects were checked at the sink.\n", f.Machine.Cores, f.Machine.CPU, f.Machine.Go, f.Checked)
	loopback := "The loopback is the machine's own"
	if f.Machine.OwnNetwork {
		loopback = "The loopback is that of a network namespace of its own, with the kernel's defaults"
	}
	fmt.Fprintf(&b, "%s (Linux %s, %s).\n", loopback, f.Machine.Kernel, f.Machine.Congestion)
	if f.Quick {
		b.WriteString("\nA quick run: small files, few rounds.\n")
	}
	b.WriteString("\n![MB/s by contestant](plot.svg)\n")
	reportLarge(&b, f)
	reportProfile(&b, f)
	reportMemory(&b, f)
	reportSmall(&b, f)
	reportRest(&b, f)
	notMeasured(&b, f)
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "results.json"), append(raw, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, "README.md"), []byte(b.String()), 0o644),
	)
}

func reportMemory(b *strings.Builder, f *figures) {
	if len(f.Memory) == 0 {
		return
	}
	b.WriteString("\n## Memory, over TLS\nOne process each.\n\n| | file | peak RSS, MiB | MB/s |\n| --- | --- | ---: | ---: |\n")
	for _, r := range f.Memory {
		fmt.Fprintf(b, "| %s | %s | %.0f | %.0f |\n", titles[r.Name], sizeName(r.Size), r.RSSMiB, r.MBps)
	}
}

func reportSmall(b *strings.Builder, f *figures) {
	if len(f.Small) == 0 {
		return
	}
	b.WriteString("\n## Small files, over TLS\nThe programs in Go as in a warm function, per copy; the others as the process that they are.\n\n| | file | ms |\n| --- | --- | ---: |\n")
	for _, r := range f.Small {
		name := titles[r.Name]
		if r.Process {
			name += " (process)"
		}
		fmt.Fprintf(b, "| %s | %s | %.1f |\n", name, sizeName(r.Size), r.Ms)
	}
}

func reportRest(b *strings.Builder, f *figures) {
	if len(f.Slow) > 0 {
		b.WriteString("\n## An origin that gives each connection 40 MB/s\nWhole processes.\n\n| | MB/s |\n| --- | ---: |\n")
		for _, r := range f.Slow {
			fmt.Fprintf(b, "| %s | %.0f |\n", titles[r.Name], r.MBps)
		}
	}
	if f.Confined != "" {
		fmt.Fprintf(b, "\n## As a Lambda function of that size, over TLS\n%s.\n", upperFirst(f.Confined))
	}
	if len(f.Lambda) > 0 {
		b.WriteString("Whole processes; start-up is what of one is not the copy, of those in Go, which time it.\n")
		b.WriteString("\n| memory, MB | | MB/s | start-up, ms | peak RSS, MiB |\n| ---: | --- | ---: | ---: | ---: |\n")
		for _, r := range f.Lambda {
			fmt.Fprintf(b, "| %d | %s | %.1f | %s | %.0f |\n", r.MB, titles[r.Name], r.MBps, ifKnown("%.0f", r.StartMs), r.RSSMiB)
		}
	}
	if len(f.Cold) > 0 {
		fmt.Fprintf(b, "\n## Cold start\nFrom spawning the bootstrap to its first request for `/next`, %d times each, the file in the page cache.\n\n| function | median, ms | fastest, ms | binary, MiB |\n| --- | ---: | ---: | ---: |\n", coldStarts)
		for _, r := range f.Cold {
			if r.Failed != "" {
				fmt.Fprintf(b, "| %s | not measured: %s | | %.1f |\n", r.Function, strings.ReplaceAll(r.Failed, "\n", " "), r.MiB)
				continue
			}
			fmt.Fprintf(b, "| %s | %.1f | %.1f | %.1f |\n", r.Function, r.Ms, r.FastMs, r.MiB)
		}
	}
}

// notMeasured says who is missing: a table must not look complete when it is not.
func notMeasured(b *strings.Builder, f *figures) {
	if len(f.Large) == 0 {
		return
	}
	seen := map[string]bool{}
	for _, r := range f.Large {
		seen[r.Name] = true
	}
	for _, name := range everyoneTuned {
		if !seen[name] {
			fmt.Fprintf(b, "\nNot measured: %s, which is not in `.tools` or failed.\n", titles[name])
		}
	}
}

// ifKnown is a figure, or an empty cell where there is none.
func ifKnown(format string, figure float64) string {
	if figure == 0 {
		return ""
	}
	return fmt.Sprintf(format, figure)
}

func sizeName(n int64) string {
	switch {
	case n >= gib && n%gib == 0:
		return fmt.Sprintf("%d GiB", n/gib)
	case n >= mib:
		return fmt.Sprintf("%d MiB", n/mib)
	}
	return fmt.Sprintf("%d KiB", n/kib)
}

func protocol(secure bool) string {
	if secure {
		return "TLS"
	}
	return "plain HTTP"
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
