package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
)

// largeRow is one contestant, limit or reference. MBps is of the whole process,
// which is all that can be timed of some; CopyMBps is of the copy alone, which the
// programs in Go time themselves. Of limits and reference both are the transfer's.
type largeRow struct {
	TLS       bool    `json:"tls"`
	Size      int64   `json:"size"`
	Name      string  `json:"name"`
	MBps      float64 `json:"mbps"`
	MinMBps   float64 `json:"mbps_min"`
	MaxMBps   float64 `json:"mbps_max"`
	StartMs   float64 `json:"startup_ms,omitempty"`
	CopyMBps  float64 `json:"copy_mbps,omitempty"`
	OfStream  float64 `json:"of_one_stream,omitempty"` // of CopyMBps: a limit has no process to start
	OfLimit   float64 `json:"of_limit,omitempty"`
	CPUPerGiB float64 `json:"cpu_s_per_gib"`
	RSSMiB    float64 `json:"rss_mib"`
}

// large measures throughput over TLS and plain HTTP.
func (h *harness) large(ctx context.Context, f *figures) error {
	size := int64(gib)
	if h.quick {
		size = 256 * mib
	}
	for _, secure := range []bool{true, false} {
		var jobs []job
		for _, name := range append([]string{"get1", "put1", "get", "put", "both"}, everyoneTuned...) {
			jobs = append(jobs, job{name: name, secure: secure, size: size})
		}
		all, err := h.measure(ctx, h.rounds, jobs)
		if err != nil {
			return err
		}
		f.Large = append(f.Large, largeRows(jobs, all)...)
	}
	return nil
}

func largeRows(jobs []job, all map[string][]sample) []largeRow {
	var rows []largeRow
	for _, j := range jobs {
		samples := all[j.name]
		if len(samples) == 0 {
			continue
		}
		row := largeRow{
			TLS: j.secure, Size: j.size, Name: j.name, MBps: mbps(j.size, median(samples, seconds)),
			CPUPerGiB: median(samples, cpu) / float64(j.size) * gib, RSSMiB: median(samples, rss),
		}
		slowest := slices.MaxFunc(samples, func(a, b sample) int { return cmp.Compare(a.seconds, b.seconds) })
		fastest := slices.MinFunc(samples, func(a, b sample) int { return cmp.Compare(a.seconds, b.seconds) })
		row.MinMBps, row.MaxMBps = mbps(j.size, slowest.seconds), mbps(j.size, fastest.seconds)
		if alone := median(samples, inner); alone > 0 {
			row.CopyMBps = mbps(j.size, alone)
		}
		if !isTraffic(j.name) {
			row.StartMs = 1000 * median(samples, startUp)
		}
		rows = append(rows, row)
	}
	limits(rows)
	return rows
}

// limits holds each copy against the slower of GET and PUT, by the same clock.
func limits(rows []largeRow) {
	speed := map[string]float64{}
	for _, r := range rows {
		speed[r.Name] = r.CopyMBps
	}
	one, eight := min(speed["get1"], speed["put1"]), min(speed["get"], speed["put"])
	for i, r := range rows {
		if one > 0 {
			rows[i].OfStream = r.CopyMBps / one
		}
		if eight > 0 {
			rows[i].OfLimit = r.CopyMBps / eight
		}
	}
}

func reportLarge(b *strings.Builder, f *figures) {
	if len(f.Large) == 0 {
		return
	}
	for _, secure := range []bool{true, false} {
		begun := false
		for _, r := range f.Large {
			if r.TLS != secure {
				continue
			}
			if !begun {
				begun = true
				fmt.Fprintf(b, "\n## One file of %s over %s\n", sizeName(r.Size), protocol(secure))
				b.WriteString("| | MB/s | min–max | start-up, ms | copy alone, MB/s | of one connection | of eight | CPU s/GiB | peak RSS, MiB |\n")
				b.WriteString("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
			}
			fmt.Fprintf(b, "| %s | %.0f | %.0f–%.0f | %s | %s | %s | %s | %.2f | %.0f |\n", titles[r.Name], r.MBps, r.MinMBps, r.MaxMBps,
				ifKnown("%.0f", r.StartMs), ifKnown("%.0f", r.CopyMBps), ifKnown("%.2f", r.OfStream), ifKnown("%.2f", r.OfLimit), r.CPUPerGiB, r.RSSMiB)
		}
		reportRatios(b, f, secure)
	}
	b.WriteString(clocks)
	reportStarts(b, f)
	fmt.Fprintf(b, "\nThe SDK's managers are given the body of one GET, as is usual, and run at their defaults: `manager` parts of %s, %d at\n"+
		"once, `transfermanager` parts of %s, %d at once. The rows \"16 MiB × 8\" are the same programs with the relay's part size\n"+
		"and number. A body can't be read twice, so both hold each part in memory, up to one part more than are sent at once.\n",
		sizeName(managerPart), managerAtOnce, sizeName(transferManagerPart), transferManagerAtOnce)
}

const clocks = `
MB/s of a contestant is of its whole process, from its start to its end: rclone and the AWS CLI can't be timed otherwise, and
contestants are held against each other by it. The programs in Go also time the copy alone; start-up is the rest of their
process. A limit is a transfer alone, so only a copy alone is held against it. Min–max is of MB/s, over the rounds.
CPU and memory are of whole processes, the 64 MiB among them that those who PUT from memory make before their clock starts.

A limit is the slower of GET and PUT, with the same transport and part size, no signature and no checksum: of one
connection (a core at each end), or of eight. A copy does both for each byte, on the same cores that origin and sink
use. "GET and PUT at once" is no limit but a reference: what the machine does for the same traffic, on eight and eight
connections, when nothing is passed on. A copy may be slower or faster than that.
`

// reportRatios says how ours stands: to the limits and the reference by the
// copy's own clock, to others by the process's.
func reportRatios(b *strings.Builder, f *figures, secure bool) {
	rows := f.rows(secure)
	ours := rows["ours"]
	if ours.CopyMBps == 0 { // not measured, or by an earlier version
		return
	}
	fmt.Fprintf(b, "\nOver %s the relay's copy alone reaches %.2f of one connection's limit and %.2f of eight's", protocol(secure), ours.OfStream, ours.OfLimit)
	if both := rows["both"].CopyMBps; both > 0 {
		fmt.Fprintf(b, ", and is %.2f × the reference", ours.CopyMBps/both)
	}
	var others []string
	for _, name := range everyoneTuned[1:] {
		if rows[name].MBps > 0 {
			others = append(others, fmt.Sprintf("%.2f × %s", ours.MBps/rows[name].MBps, titles[name]))
		}
	}
	if len(others) > 0 {
		fmt.Fprintf(b, ".\nAs a process it is %s", strings.Join(others, "; "))
	}
	b.WriteString(".\n")
}

// reportStarts says what the others' start-up is about: a file of 1 KiB takes them
// little else.
func reportStarts(b *strings.Builder, f *figures) {
	var starts []string
	for _, r := range f.Small {
		if r.Process && r.Size == kib {
			starts = append(starts, fmt.Sprintf("%s %.0f ms", titles[r.Name], r.Ms))
		}
	}
	if len(starts) > 0 {
		fmt.Fprintf(b, "\nWhat the others take to start is not known, but within what the smallest file takes them (below): %s.\n", strings.Join(starts, ", "))
	}
}

func (f *figures) rows(secure bool) map[string]largeRow {
	rows := map[string]largeRow{}
	for _, r := range f.Large {
		if r.TLS == secure {
			rows[r.Name] = r
		}
	}
	return rows
}
