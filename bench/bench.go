package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

type options struct {
	quick     bool
	rounds    int
	only      string
	out, root string
}

func (o options) wants(section string) bool {
	return o.only == "" || slices.Contains(strings.Split(o.only, ","), section)
}

// figures is everything measured, as results.json keeps it.
type figures struct {
	Machine  machine      `json:"machine"`
	Rounds   int          `json:"rounds"`
	Quick    bool         `json:"quick"`
	Large    []largeRow   `json:"large"`
	Memory   []memoryRow  `json:"memory"`
	Small    []smallRow   `json:"small"`
	Slow     []slowRow    `json:"slow"`
	Lambda   []lambdaRow  `json:"lambda"`
	Cold     []coldRow    `json:"cold"`
	Profile  []profileRow `json:"profile"`
	Confined string       `json:"confined"`
	Checked  int          `json:"objects_checked"`
}

type memoryRow struct {
	Size   int64   `json:"size"`
	Name   string  `json:"name"`
	RSSMiB float64 `json:"rss_mib"`
	MBps   float64 `json:"mbps"`
}

type smallRow struct {
	Size    int64   `json:"size"`
	Name    string  `json:"name"`
	Ms      float64 `json:"ms"`
	Process bool    `json:"whole_process"`
}

type slowRow struct {
	Name string  `json:"name"`
	MBps float64 `json:"mbps"`
}

type lambdaRow struct {
	MB      int     `json:"mb"`
	Name    string  `json:"name"`
	MBps    float64 `json:"mbps"`
	StartMs float64 `json:"startup_ms,omitempty"`
	RSSMiB  float64 `json:"rss_mib"`
}

var everyone = []string{"ours", "manager", "transfermanager", "rclone", "awscli"}

// everyoneTuned has the SDK's managers once more, with our part size and number.
// Where parts are few or memory is small that is no tuning: only large files have them.
var everyoneTuned = []string{"ours", "manager", "manager-tuned", "transfermanager", "transfermanager-tuned", "rclone", "awscli"}

func bench(ctx context.Context, o options) error {
	if o.rounds == 0 {
		o.rounds = 5
		if o.quick {
			o.rounds = 3
		}
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := writeCertificate(dir); err != nil {
		return err
	}
	h := &harness{options: o, dir: dir, crcs: map[int64]uint32{}}
	if h.origin, err = startServer(ctx, "origin", dir); err != nil {
		return err
	}
	defer h.origin.stop()
	if h.sink, err = startServer(ctx, "sink", dir); err != nil {
		return err
	}
	defer h.sink.stop()
	f := o.previousFigures()
	f.Machine, f.Rounds, f.Quick = thisMachine(), o.rounds, o.quick
	for _, section := range []struct {
		name string
		do   func(context.Context, *figures) error
	}{{"large", h.large}, {"profile", h.profile}, {"memory", h.memory}, {"small", h.small}, {"slow", h.slow}, {"lambda", h.lambda}, {"cold", h.cold}} {
		if !o.wants(section.name) {
			continue
		}
		fmt.Fprintln(os.Stderr, "#", section.name)
		f.clearSection(section.name)
		if err := section.do(ctx, f); err != nil {
			return fmt.Errorf("%s: %w", section.name, err)
		}
		f.Checked, h.checked = f.Checked+h.checked, 0
		if err := errors.Join(writeReport(o.out, f), writePlot(o.out, f)); err != nil {
			return err
		}
	}
	return nil
}

// previousFigures returns what an earlier run wrote, of which -only renews some sections. Only
// within a section are figures held against each other.
func (o options) previousFigures() *figures {
	f := &figures{}
	if o.only == "" {
		return f
	}
	if raw, err := os.ReadFile(filepath.Join(o.out, "results.json")); err != nil || json.Unmarshal(raw, f) != nil {
		return &figures{}
	}
	return f
}

func (f *figures) clearSection(section string) {
	switch section {
	case "large":
		f.Large = nil
	case "profile":
		f.Profile = nil
	case "memory":
		f.Memory = nil
	case "small":
		f.Small = nil
	case "slow":
		f.Slow = nil
	case "lambda":
		f.Lambda, f.Confined = nil, ""
	case "cold":
		f.Cold = nil
	}
}

// memory measures the peak of what a large file takes.
func (h *harness) memory(ctx context.Context, f *figures) error {
	sizes := []int64{gib, 4 * gib}
	if h.quick {
		sizes = []int64{512 * mib}
	}
	for _, size := range sizes {
		for _, name := range everyoneTuned {
			all, err := h.measure(ctx, 1, []job{{name: name, secure: true, size: size}})
			if name == "ours" && err != nil || ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
			if err != nil {
				continue // said already
			}
			f.Memory = append(f.Memory, memoryRow{Size: size, Name: name, RSSMiB: median(all[name], rss), MBps: mbps(size, median(all[name], seconds))})
		}
	}
	return nil
}

// small measures files of a part and less. Those in Go are measured warm, as a
// function is; the others are a process each.
func (h *harness) small(ctx context.Context, f *figures) error {
	for _, size := range []int64{kib, 5 * mib, 64 * mib} {
		var jobs []job
		for _, name := range everyone {
			j := job{name: name, secure: true, size: size, repeat: 20}
			if name == "rclone" || name == "awscli" {
				j.repeat = 1
			}
			jobs = append(jobs, j)
		}
		all, err := h.measure(ctx, h.rounds, jobs)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			samples := all[j.name]
			if len(samples) == 0 {
				continue
			}
			row := smallRow{Size: size, Name: j.name, Ms: median(samples, inner) * 1000}
			if j.repeat == 1 {
				row.Ms, row.Process = median(samples, seconds)*1000, true
			}
			f.Small = append(f.Small, row)
		}
	}
	return nil
}

// slow measures an origin that gives each connection 40 MB/s, about what one
// connection to S3 gives a function.
func (h *harness) slow(ctx context.Context, f *figures) error {
	size, rounds := int64(512*mib), min(3, h.rounds)
	if h.quick {
		size, rounds = 128*mib, 1
	}
	var jobs []job
	for _, name := range everyone {
		jobs = append(jobs, job{name: name, secure: true, size: size, query: "?rate=40"})
	}
	all, err := h.measure(ctx, rounds, jobs)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if samples := all[j.name]; len(samples) > 0 {
			f.Slow = append(f.Slow, slowRow{Name: j.name, MBps: mbps(size, median(samples, seconds))})
		}
	}
	return nil
}
