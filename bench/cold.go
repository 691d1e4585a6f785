package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

type coldRow struct {
	Function string  `json:"function"`
	Ms       float64 `json:"ms"`
	FastMs   float64 `json:"fastest_ms"`
	MiB      float64 `json:"binary_mib"`
	Failed   string  `json:"failed,omitempty"`
}

const (
	coldStarts  = 21
	coldPatence = 10 * time.Second
)

// cold builds each function as SAM does and measures, on a warm page cache, from
// spawning it to its first request for /next: what of a cold start is ours.
func (h *harness) cold(ctx context.Context, f *figures) error {
	mains, err := filepath.Glob(filepath.Join(h.root, "functions", "*", "main.go"))
	if err != nil {
		return err
	}
	for _, main := range mains {
		name := filepath.Base(filepath.Dir(main))
		binary := filepath.Join(h.dir, name)
		build := exec.CommandContext(ctx, "go", "build", "-C", h.root, "-trimpath", "-ldflags=-s -w", "-tags=lambda.norpc", "-o", binary, "./functions/"+name)
		if said, err := build.CombinedOutput(); err != nil {
			f.Cold = append(f.Cold, coldRow{Function: name, Failed: "does not build: " + strings.TrimSpace(string(said))})
			continue
		}
		row, err := coldStart(ctx, name, binary)
		if err != nil {
			row.Failed = err.Error()
		}
		fmt.Fprintf(os.Stderr, "cold %-14s %6.1f ms, fastest %6.1f %s\n", name, row.Ms, row.FastMs, row.Failed)
		f.Cold = append(f.Cold, row)
	}
	return nil
}

func coldStart(ctx context.Context, name, binary string) (coldRow, error) {
	row := coldRow{Function: name}
	info, err := os.Stat(binary)
	if err != nil {
		return row, err
	}
	row.MiB = float64(info.Size()) / mib
	asked := make(chan time.Time, 1)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return row, err
	}
	api := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/next") {
			select {
			case asked <- time.Now():
			default:
			}
		}
		<-r.Context().Done()
	})}
	go func() { _ = api.Serve(listener) }()
	defer api.Close()
	var times []float64
	for range coldStarts {
		took, err := startOnce(ctx, binary, listener.Addr().String(), asked)
		if err != nil {
			return row, err
		}
		times = append(times, took.Seconds()*1000)
	}
	row.Ms = medianOf(times) // sorts
	row.FastMs = times[0]
	return row, nil
}

func startOnce(ctx context.Context, binary, api string, asked <-chan time.Time) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, binary)
	cmd.Env = functionEnvironment(api)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	defer func() {
		_ = cmd.Process.Kill()
		<-ended
	}()
	select {
	case at := <-asked:
		return at.Sub(begun), nil
	case <-ended:
		return 0, fmt.Errorf("it ended: %.200s", strings.TrimSpace(said.String()))
	case <-time.After(coldPatence):
		return 0, fmt.Errorf("no request for /next within %s", coldPatence)
	}
}

// functionEnvironment is the template's, with names that lead nowhere: nothing is
// called before the first event.
func functionEnvironment(api string) []string {
	const arn = "arn:aws:states:us-east-1:123456789012:stateMachine:relay"
	return []string{
		"AWS_LAMBDA_RUNTIME_API=" + api, "AWS_REGION=us-east-1", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128", "AWS_LAMBDA_FUNCTION_NAME=bench",
		"AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=locallocal", "PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir(),
		"CYBERUN_BASE_URL=https://core.cyberun.cloud/api/v1", "STATE_BUCKET=state", "OUTPUT_BUCKET=output", "INBOX_BUCKET=inbox",
		"API_KEY_SECRET_ARN=arn:aws:secretsmanager:us-east-1:123456789012:secret:key", "WEBHOOK_SECRET_ARN=arn:aws:secretsmanager:us-east-1:123456789012:secret:hook",
		"STATE_MACHINE_ARN=" + arn, "ALLOW_INSECURE_ORIGINS=false", "WEBHOOKS_ENABLED=true", "HOLD_SECONDS=30", "IN_DOUBT=verify",
	}
}
