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
var shares = []struct {
	what string
	of   *regexp.Regexp
}{
	{"AES-GCM, once in and once out", regexp.MustCompile(`gcmAes|/aes|ghash`)},
	{"system calls: the kernel's copies and TCP", regexp.MustCompile(`[sS]yscall|futex|epoll`)},
	{"copying in memory", regexp.MustCompile(`memmove|memclr`)},
	{"CRC32", regexp.MustCompile(`hash/crc32`)},
	{"all else, the copy engine's own code among it", regexp.MustCompile(`.`)},
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
		f.Profile = append(f.Profile, shareOut(string(top), secure)...)
	}
	return nil
}

func shareOut(top string, secure bool) []profileRow {
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
}
