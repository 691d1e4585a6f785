package main

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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// harness is what all the measurements share. It holds nothing large: a process
// begins with the peak of the one that started it.
type harness struct {
	options
	dir          string // certificate and scratch
	origin, sink *server
	crcs         map[int64]uint32
	serial       int
	checked      int
}

// sample is one process's copy.
type sample struct {
	seconds float64   // the process's, start to end; of traffic alone, the transfer's own
	inner   []float64 // what a program in Go says of each of its copies; others say nothing
	cpu     float64   // seconds of user and system time
	rssMiB  float64
}

// job is one thing to measure.
type job struct {
	name   string // one of everyoneTuned, or traffic alone: get, put, get1, put1, both
	secure bool
	size   int64
	query  string // for the origin
	repeat int
	before []string // a wrapper: the command is run through it
}

// run makes one measurement, and checks the object that it left.
func (h *harness) run(ctx context.Context, j job) (sample, error) {
	h.serial++
	key := fmt.Sprintf("object-%d", h.serial)
	j.repeat = max(j.repeat, 1)
	args := append(slices.Clone(j.before), h.command(j, key)...)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), h.environment()...)
	// curl is the shell's child: its use is counted because the shell waits for it.
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	begun := time.Now()
	if err := cmd.Run(); err != nil {
		return sample{}, fmt.Errorf("%s: %w: %s", j.name, err, bytes.TrimSpace(said.Bytes()))
	}
	s := sample{seconds: time.Since(begun).Seconds()}
	s.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.rssMiB = float64(usage.Maxrss) / 1024
	}
	for line := range strings.Lines(out.String()) {
		if seconds, err := strconv.ParseFloat(strings.TrimSpace(line), 64); err == nil {
			s.inner = append(s.inner, seconds)
		}
	}
	if isTraffic(j.name) && len(s.inner) > 0 {
		s.seconds = s.inner[0]
		return s, nil
	}
	for i := range j.repeat {
		if err := h.check(ctx, j, key+suffix(i)); err != nil {
			return sample{}, err
		}
	}
	return s, nil
}

// isTraffic tells bytes moved for a limit or for reference from a contestant's
// copy: no object is left to check, and a process's start is no part of a limit.
func isTraffic(name string) bool {
	return name == "get" || name == "put" || name == "get1" || name == "put1" || name == "both"
}

func (h *harness) command(j job, key string) []string {
	from := fmt.Sprintf("%s/%d%s", h.origin.address(j.secure), j.size, j.query)
	sink := h.sink.address(j.secure)
	ca := filepath.Join(h.dir, "cert.pem")
	switch j.name {
	case "rclone":
		return []string{h.rclone(), "copyurl", from, ":s3:" + bucket + "/" + key, "--ca-cert", ca, "--s3-provider", "Other", "--s3-endpoint", sink,
			"--s3-access-key-id", "local", "--s3-secret-access-key", "locallocal", "--s3-no-check-bucket", "--config", os.DevNull, "--retries", "1"}
	case "awscli":
		return []string{"bash", "-o", "pipefail", "-c", fmt.Sprintf(
			"curl -sSf --cacert %q %q | %q s3 cp --only-show-errors --expected-size %d --endpoint-url %q - s3://%s/%s", ca, from, h.awscli(), j.size, sink, bucket, key)}
	}
	return []string{os.Args[0], "run", j.name, from, sink, key, strconv.FormatInt(j.size, 10), strconv.Itoa(j.repeat)}
}

func (h *harness) environment() []string {
	ca := filepath.Join(h.dir, "cert.pem")
	return []string{
		"SSL_CERT_FILE=" + ca, "AWS_CA_BUNDLE=" + ca, "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=locallocal", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
	}
}

func (h *harness) rclone() string { return filepath.Join(h.root, ".tools/bin/rclone") }
func (h *harness) awscli() string { return filepath.Join(h.root, ".tools/aws/bin/aws") }

// available reports whether a contestant can be measured on this machine.
func (h *harness) available(name string) bool {
	path := map[string]string{"rclone": h.rclone(), "awscli": h.awscli()}[name]
	if path == "" {
		return true
	}
	_, err := os.Stat(path)
	return err == nil
}

// check asks the sink for the object's length and CRC32.
func (h *harness) check(ctx context.Context, j job, key string) error {
	var got stored
	if err := getJSON(ctx, h.sink.plain+"/_check?key="+bucket+"/"+key, &got); err != nil {
		return fmt.Errorf("%s left no object: %w", j.name, err)
	}
	if _, known := h.crcs[j.size]; !known {
		var crc uint32
		if err := getJSON(ctx, fmt.Sprintf("%s/_crc/%d", h.origin.plain, j.size), &crc); err != nil {
			return err
		}
		h.crcs[j.size] = crc
	}
	if got.Bytes != j.size || got.CRC32 != h.crcs[j.size] {
		return fmt.Errorf("%s stored %d bytes with CRC32 %08x, want %d with %08x", j.name, got.Bytes, got.CRC32, j.size, h.crcs[j.size])
	}
	h.checked++
	return nil
}

func getJSON(ctx context.Context, address string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(answer)
}

// roundOrder is the order of n jobs in a round. It begins with job round mod n and goes
// to and fro from there (0, n-1, 1, n-2, …): were only the first to change, each
// would still run after the same neighbour. So it runs after every other once in n
// rounds, or where n is odd twice in 2n: a balanced Latin square, after Williams.
func roundOrder(round, n int) []int {
	order := make([]int, n)
	for i := range order {
		step := i / 2
		if i%2 == 1 {
			step = n - 1 - i/2
		}
		if n%2 == 1 && round%2 == 1 {
			step = n - step
		}
		order[i] = (round + step) % n
	}
	return order
}

// measure measures the jobs one after the other, again and again, so that what
// else the machine does falls on all of them. A contestant that fails is left out
// and said.
func (h *harness) measure(ctx context.Context, rounds int, jobs []job) (map[string][]sample, error) {
	all, failed := map[string][]sample{}, map[string]bool{}
	for round := range rounds {
		for _, i := range roundOrder(round, len(jobs)) {
			j := jobs[i]
			if failed[j.name] || !h.available(j.name) {
				continue
			}
			s, err := h.run(ctx, j)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err != nil {
				if j.name == "ours" {
					return nil, err
				}
				failed[j.name] = true
				fmt.Fprintln(os.Stderr, "left out:", err)
				continue
			}
			all[j.name] = append(all[j.name], s)
			fmt.Fprintf(os.Stderr, "round %d %-21s %7.3f s %8.0f MB/s  CPU %6.2f s  RSS %4.0f MiB\n", round+1, j.name, s.seconds, mbps(j.size, s.seconds), s.cpu, s.rssMiB)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("nothing could be measured")
	}
	return all, nil
}

func mbps(size int64, seconds float64) float64 { return float64(size) / 1e6 / seconds }

func median(samples []sample, of func(sample) float64) float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	return medianOf(values)
}

func medianOf(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	if n := len(values); n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[len(values)/2]
}

func seconds(s sample) float64 { return s.seconds }
func cpu(s sample) float64     { return s.cpu }
func rss(s sample) float64     { return s.rssMiB }
func inner(s sample) float64   { return medianOf(slices.Clone(s.inner)) }

// startUp is what of a process is not its copies: its start and its end. Of those
// that say nothing of their copies it is not known, and 0.
func startUp(s sample) float64 {
	if len(s.inner) == 0 {
		return 0
	}
	rest := s.seconds
	for _, seconds := range s.inner {
		rest -= seconds
	}
	return rest
}
