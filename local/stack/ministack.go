package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// startLimit is generous: on a machine that is busy with other things, Python
// alone takes seconds.
const startLimit = 60 * time.Second

// portTries: between finding a port free and MiniStack's listening on it,
// another program may take it.
const portTries = 3

func (s *Stack) startMiniStack(ctx context.Context) error {
	var err error
	for range portTries {
		if err = s.tryMiniStack(ctx); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (s *Stack) tryMiniStack(ctx context.Context) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	s.State.Endpoint, s.State.Region, s.State.StackName = fmt.Sprintf("http://127.0.0.1:%d", port), region, stackName
	p, err := s.start("ministack", s.miniStackEnv(port), s.Opt.tool("ministack", "python"), s.Opt.miniStack())
	if err != nil {
		return err
	}
	s.connect()
	if s.recorder != nil {
		if err := s.recorder.forwardTo(s.State.Endpoint); err != nil {
			return err
		}
	}
	err = eventually(ctx, startLimit, "MiniStack", func(ctx context.Context) error {
		if p.ended() {
			return errors.New(tail(p.Log))
		}
		return get(ctx, s.State.Endpoint+"/_ministack/health", http.StatusOK)
	})
	if err != nil {
		p.stop(patience)
		s.forget(p)
	}
	return err
}

// functionsEndpoint is where the functions find AWS: MiniStack, or the recorder
// before it.
func (s *Stack) functionsEndpoint() string {
	if s.recorder != nil {
		return s.recordedAt
	}
	return s.State.Endpoint
}

// Lambda's calls at once, and DescribeExecution's a second. An account that has been
// used for a while has AWS's default of 1,000 calls; MiniStack's own bound would be
// what the machine's memory allows. A new account has 10 until then, and its
// DescribeExecution is refilled by 15 a second in AWS's largest regions, by 10 in
// the others.
const (
	usualConcurrency  = 1000
	smallConcurrency  = 10
	smallDescribeRate = 15
)

// quotas are the environment that sets them.
func (o Options) quotas() []string {
	if !o.Small {
		return []string{"LAMBDA_ACCOUNT_CONCURRENCY=" + strconv.Itoa(usualConcurrency)}
	}
	return []string{"LAMBDA_ACCOUNT_CONCURRENCY=" + strconv.Itoa(smallConcurrency), "DESCRIBE_EXECUTION_RATE=" + strconv.Itoa(smallDescribeRate)}
}

// warmSeconds is how long MiniStack keeps a function's process that has nothing to do, the
// function's first one apart. Its own 300 s kept the 400 processes that a hundred runs at
// once had started, and watching those took one of two processors.
const warmSeconds = 15

// miniStackEnv is written out in full: MiniStack hands its own environment to
// every function, and nothing of the user's may get there by accident.
func (s *Stack) miniStackEnv(port int) []string {
	env := []string{
		"BIND_HOST=127.0.0.1",
		"GATEWAY_PORT=" + strconv.Itoa(port),
		"LAMBDA_EXECUTOR=local",
		"LAMBDA_WARM_TTL_SECONDS=" + strconv.Itoa(warmSeconds),
		"IOT_MTLS_ENABLED=0", // else it opens port 8883
		"SFN_WAIT_SCALE=" + strconv.FormatFloat(s.Opt.WaitScale, 'g', -1, 64),
		"AUTH=" + strconv.FormatBool(s.Opt.Auth),
		"MINISTACK_REGION=" + region,
		"AWS_ENDPOINT_URL=" + s.functionsEndpoint(), // what the functions get
		"AWS_ACCESS_KEY_ID=" + localID,
		"AWS_SECRET_ACCESS_KEY=" + localID,
		"TMPDIR=" + s.Opt.file("tmp"),
	}
	// How this machine reaches the outside, should the real service be meant.
	for _, name := range []string{"PATH", "HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return slices.Concat(env, s.Opt.quotas(), s.Opt.Env)
}

// get wants one status of an address.
func get(ctx context.Context, url string, want int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	return expect(req, want)
}

func expect(req *http.Request, want int) error {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		return fmt.Errorf("%s %s: %s, not %d: %s", req.Method, req.URL.Path, resp.Status, want, excerpt(resp.Body))
	}
	return nil
}

// ensureDir is for a file's folder.
func ensureDir(path string) error { return os.MkdirAll(filepath.Dir(path), 0o755) }
