package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

type profileRow struct {
	TLS   bool    `json:"tls"`
	What  string  `json:"what"`
	Share float64 `json:"share"`
}

// shares sort a profile's functions into what they are for, the first that fits.
// Given is what no engine over these sockets is without.
var shares = []struct {
	what  string
	of    *regexp.Regexp
	given bool
}{
	{"AES-GCM, once in and once out", regexp.MustCompile(`gcmAes|/aes|ghash`), true},
	{"system calls: the kernel's copies and TCP", regexp.MustCompile(`[sS]yscall|futex|epoll`), true},
	{"copying in memory", regexp.MustCompile(`memmove|memclr`), false},
	{"CRC32", regexp.MustCompile(`hash/crc32`), false},
	{"all else, the copy engine's own code among it", regexp.MustCompile(`.`), false},
}

// profileLine is "0.36s 29.03% 29.03% 0.36s 29.03% name" of pprof -top.
var profileLine = regexp.MustCompile(`^\s*\S+\s+([\d.]+)%\s+\S+\s+\S+\s+\S+\s+(.+)$`)

// profile tells where our own time goes, so that the table's ratio can be judged:
// what of it the copy engine could still save.
func (h *harness) profile(ctx context.Context, f *figures) error {
	size := int64(4 * gib)
	if h.quick {
		size = 512 * mib
	}
	for _, secure := range []bool{true, false} {
		file := filepath.Join(h.dir, "cpu.prof")
		if err := os.Setenv("BENCH_PROFILE", file); err != nil {
			return err
		}
		_, err := h.run(ctx, job{name: "ours", secure: secure, size: size})
		_ = os.Unsetenv("BENCH_PROFILE")
		if err != nil {
			return err
		}
		top, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-nodecount=1000", "-nodefraction=0", os.Args[0], file).Output()
		if err != nil {
			return fmt.Errorf("go tool pprof: %w", err)
		}
		f.Profile = append(f.Profile, parseShares(string(top), secure)...)
	}
	return nil
}

func parseShares(top string, secure bool) []profileRow {
	rows := make([]profileRow, len(shares))
	for i, s := range shares {
		rows[i] = profileRow{TLS: secure, What: s.what}
	}
	for line := range strings.Lines(top) {
		match := profileLine.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if match == nil {
			continue
		}
		percent, err := strconv.ParseFloat(match[1], 64)
		if err != nil {
			continue
		}
		for i, s := range shares {
			if s.of.MatchString(match[2]) {
				rows[i].Share += percent / 100
				break
			}
		}
	}
	return rows
}

func reportProfile(b *strings.Builder, f *figures) {
	if len(f.Profile) == 0 {
		return
	}
	b.WriteString("\n## Where the relay's own CPU time goes\n| | TLS | plain HTTP |\n| --- | ---: | ---: |\n")
	for i, s := range shares {
		fmt.Fprintf(b, "| %s | %.0f %% | %.0f %% |\n", s.what, 100*f.Profile[i].Share, 100*f.Profile[i+len(shares)].Share)
	}
	said := false
	for _, secure := range []bool{true, false} {
		c, ok := f.ceiling(secure)
		if !ok {
			continue
		}
		said = true
		fmt.Fprintf(b, "\nIf all that is the engine's own cost nothing (everything but AES-GCM and the kernel), a GiB over %s would take %.2f CPU s\n"+
			"in place of %.2f, and the relay would be at most %.2f × the manager, in place of %.2f, origin and sink at %.2f CPU s as now.\n",
			protocol(secure), c.given, c.cpu, c.ofManager, c.nowOfManager, c.servers)
	}
	if said {
		b.WriteString("\nThat is reckoned from the tables above, by whole processes, and assumes that no core idles: then a GiB's time is the CPU\n" +
			"time of relay, origin and sink over the cores, and what the relay doesn't take of cores × time is origin's and sink's.\n")
	}
}

// ceiling is what the relay would come to if only what is given took time, in
// CPU seconds of a GiB and as a multiple of the SDK's manager at its defaults.
type ceiling struct{ cpu, given, servers, ofManager, nowOfManager float64 }

func (f *figures) ceiling(secure bool) (ceiling, bool) {
	rows := f.rows(secure)
	ours, manager := rows["ours"], rows["manager"]
	if ours.MBps == 0 || manager.MBps == 0 || len(f.Profile) == 0 || f.Machine.Cores == 0 {
		return ceiling{}, false
	}
	given := map[string]bool{}
	for _, s := range shares {
		given[s.what] = s.given
	}
	c := ceiling{cpu: ours.CPUPerGiB, nowOfManager: ours.MBps / manager.MBps}
	for _, p := range f.Profile {
		if p.TLS == secure && given[p.What] {
			c.given += p.Share * c.cpu
		}
	}
	took := func(r largeRow) float64 { return gib / 1e6 / r.MBps }
	cores := float64(f.Machine.Cores)
	c.servers = cores*took(ours) - c.cpu
	c.ofManager = took(manager) / ((c.given + c.servers) / cores)
	return c, true
}
