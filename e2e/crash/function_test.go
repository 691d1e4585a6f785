package crash

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// function is one Lambda function: its real binary as a process, and a runtime
// API of its own. Like Lambda it keeps the process after an answer, error or
// not, and starts a new one after a death.
type function struct {
	binary string
	env    []string
	gate   *gate
	api    *httptest.Server

	pending chan invocation
	answers chan answer

	mu      sync.Mutex
	process *exec.Cmd
	exited  chan struct{}
	said    *bytes.Buffer
	calls   int
	began   int64 // the process's peak of resident memory when it was ready for its first call
	grown   int64 // how far above that any of the processes came
}

type invocation struct {
	id       string
	payload  []byte
	deadline time.Time
}

// answer is what Step Functions hears: a result, or an error's name.
type answer struct {
	body          []byte
	name, message string
}

func newFunction(binary string, env []string, g *gate) *function {
	f := &function{binary: binary, env: env, gate: g, pending: make(chan invocation, 1), answers: make(chan answer, 1), said: &bytes.Buffer{}}
	g.kill = f.kill
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", f.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/{outcome}", f.done)
	f.api = httptest.NewServer(mux)
	return f
}

func (f *function) next(w http.ResponseWriter, r *http.Request) {
	select {
	case in := <-f.pending:
		f.weigh()
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", in.id)
		w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(in.deadline.UnixMilli(), 10))
		w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:000000000000:function:crash")
		_, _ = w.Write(in.payload)
	case <-r.Context().Done():
	}
}

// The two names under which a step's own answer is a call like any other.
const (
	answerCall = "answer"
	errorCall  = "answer (error)"
)

func (f *function) done(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.weigh()
	a, name := answer{body: body}, answerCall
	if r.PathValue("outcome") == "error" {
		a, name = failure(body), errorCall
	}
	switch f.gate.arrive("lambda", name, "") {
	case killBefore, killAfter, stopKill, redriveKill:
		f.kill()
		drop(w)
		return
	case lostAfter: // Lambda has it, and its caller never hears
		a = answer{name: "Lambda.SdkClientException", message: "the answer was lost"}
	case stopBefore, stopAfter, redriveBefore, redriveAfter:
		f.gate.other()
	}
	f.answers <- a
	w.WriteHeader(http.StatusAccepted)
}

// invoke calls the function once, as Step Functions would.
func (f *function) invoke(payload []byte, timeout time.Duration) (answer, error) {
	if err := f.start(); err != nil {
		return answer{}, err
	}
	f.mu.Lock()
	exited := f.exited
	f.calls++
	in := invocation{id: fmt.Sprintf("call-%d", f.calls), payload: payload, deadline: time.Now().Add(timeout)}
	f.mu.Unlock()
	f.pending <- in
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	died := answer{name: "Runtime.ExitError", message: "the process ended"}
	select {
	case a := <-f.answers:
		return a, nil
	case <-deadline.C:
		f.kill()
		died = answer{name: "Sandbox.Timedout", message: "the function's time was over"}
	case <-exited:
	}
	select {
	case <-f.pending: // it died before it took the call
	default:
	}
	select {
	case a := <-f.answers: // it had answered just before
		return a, nil
	default:
		return died, nil
	}
}

func (f *function) start() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.exited != nil {
		select {
		case <-f.exited:
		default:
			return nil
		}
	}
	f.process = exec.Command(f.binary)
	f.process.Env = append([]string{"AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(f.api.URL, "http://")}, f.env...)
	f.process.Stdout, f.process.Stderr = f.said, f.said
	if err := f.process.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	f.exited, f.began = exited, 0
	go func(p *exec.Cmd) {
		_ = p.Wait()
		close(exited)
	}(f.process)
	return nil
}

// kill is SIGKILL: no defer runs, nothing is flushed.
func (f *function) kill() {
	f.mu.Lock()
	process, exited := f.process, f.exited
	f.mu.Unlock()
	if process == nil {
		return
	}
	f.weigh()
	_ = process.Process.Kill()
	<-exited
}

// weigh keeps how far the process's memory has grown since its first call.
func (f *function) weigh() {
	f.mu.Lock()
	defer f.mu.Unlock()
	peak := peakMemory(f.process.Process.Pid)
	if f.began == 0 {
		f.began = peak
	}
	if peak > 0 { // else it has ended
		f.grown = max(f.grown, peak-f.began)
	}
}

// peakMemory is the most that has been resident of a process, in bytes; 0 where
// the system does not tell.
func peakMemory(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if kib, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kib), "kB")), 10, 64)
			return n << 10
		}
	}
	return 0
}

// close ends the process and tells what all of them had logged.
func (f *function) close() string {
	f.kill()
	f.api.CloseClientConnections()
	f.api.Close()
	f.gate.close()
	return f.said.String()
}
