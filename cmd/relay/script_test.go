package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/cenkalti/backoff/v5"
	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write what the commands print into the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"relay": func() {
		_ = os.WriteFile(filepath.Join(os.Getenv("RELAY_TEST_FOLDER"), "pid"), []byte(strconv.Itoa(os.Getpid())), 0o600)
		os.Exit(runProgram(scriptApp()))
	}})
}

// TestScripts runs testdata/script/*.txtar, whose language
// https://pkg.go.dev/github.com/rogpeppe/go-internal/testscript explains. relay is the
// program in a process of its own, at [noon] and without waits. Two commands are added:
//
//	play FILE  run the shell commands of FILE, which stand behind "$ ", and write the
//	           file played: the commands, after each what it wrote, with "2> " before
//	           the lines of standard error, and its exit code, if it is not 0
//	api FILE   answer from now on as this file says; "$ api FILE" does so in a play
//
// A file api in the archive is served from the start. It holds answers, each of a
// line METHOD PATH STATUS, headers and a body; those of one method and path are
// given in order, the last one for ever. RELAY_API_URL is the server's address,
// which is AWS's too and stands in a body for $URL. A body with a title is a problem
// document, any other one JSON, if no header says otherwise. See [answer] for what else it
// does. The server writes what it was asked into the files calls, a line for each
// METHOD PATH BODY, and headers. go test -update writes the files of "cmp" anew.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			f := &fakeAPI{folder: env.WorkDir}
			f.listen(env.Setenv)
			env.Values["api"] = f
			env.Setenv("RELAY_TEST_FOLDER", env.WorkDir)
			env.Setenv("COLUMNS", "100")
			env.Defer(func() {
				f.server.Close()
				if len(f.unexpected) > 0 {
					env.T().Fatal("the API has no answer to ", f.unexpected)
				}
			})
			text, err := os.ReadFile(filepath.Join(env.WorkDir, "api"))
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			return cmp.Or(err, f.load(string(text)))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"api": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Value("api").(*fakeAPI).change(ts, args[0])
			},
			"play": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(os.WriteFile(ts.MkAbs("played"), []byte(play(ts, ts.ReadFile(args[0]))), 0o600))
			},
		},
	})
}

func play(ts *testscript.TestScript, session string) string {
	f := ts.Value("api").(*fakeAPI)
	var played strings.Builder
	for line := range strings.Lines(session) {
		command, isCommand := strings.CutPrefix(strings.TrimSpace(line), "$ ")
		if isCommand || strings.HasPrefix(line, "#") {
			played.WriteString(line)
		}
		if name, isAPI := strings.CutPrefix(command, "api "); isAPI {
			f.change(ts, name)
		} else if isCommand {
			err := ts.Exec("sh", "-c", command)
			visible := strings.NewReplacer("\r", "\n␍", "\x1b", "␛", "\x00", "␀", f.address, "$URL", strings.TrimPrefix(f.address, "http://"), "$HOST")
			for line := range strings.Lines(visible.Replace(ts.ReadFile("stdout"))) {
				played.WriteString(strings.TrimSuffix(line, "\n") + "\n")
			}
			for line := range strings.Lines(visible.Replace(ts.ReadFile("stderr"))) {
				played.WriteString("2> " + strings.TrimSuffix(line, "\n") + "\n")
			}
			if err != nil {
				fmt.Fprintf(&played, "[%v]\n", err)
			}
		}
	}
	return played.String()
}

// noon is when all tests happen.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// scriptApp is the program with a clock that stands at noon, waits that take no
// time, one Idempotency-Key and AWS at the address RELAY_TEST_AWS. Its variables:
//
//	RELAY_TEST_COLUMNS      standard error is a terminal that wide
//	RELAY_TEST_HASTE        the clock runs this many times as long as each wait
//	RELAY_TEST_CREDENTIALS  "none", or the error of looking for AWS credentials
//	RELAY_TEST_TRIES        how often the SDK tries a call of AWS, without pauses; 1
//
// It writes its waits into a file of the script's folder.
func scriptApp() *app {
	a := newApp()
	var passed atomic.Int64 // since noon
	columns, _ := strconv.Atoi(os.Getenv("RELAY_TEST_COLUMNS"))
	haste, _ := strconv.Atoi(os.Getenv("RELAY_TEST_HASTE"))
	folder := os.Getenv("RELAY_TEST_FOLDER")
	a.console.terminal, a.console.width = columns > 0, func() int { return columns }
	a.now = func() time.Time { return noon.Add(time.Duration(passed.Load())) }
	a.sleep = func(ctx context.Context, d time.Duration) error {
		passed.Add(int64(haste) * int64(d))
		return errors.Join(ctx.Err(), appendTo(filepath.Join(folder, "waits"), d.String()+"\n"))
	}
	a.ticks = func(time.Duration) <-chan time.Time { return nil }
	a.newKey = func() string { return "key-of-the-test" }
	a.backoff = func() backoff.BackOff { return &backoff.ZeroBackOff{} }
	a.loadAWS = func(context.Context, string, string) (aws.Config, error) {
		return scriptAWS(os.Getenv("RELAY_TEST_AWS"), os.Getenv("RELAY_TEST_CREDENTIALS")), nil
	}
	return a
}

func scriptAWS(endpoint, noCredentials string) aws.Config {
	retryer := func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			if o.MaxAttempts = 1; os.Getenv("RELAY_TEST_TRIES") != "" {
				o.MaxAttempts, _ = strconv.Atoi(os.Getenv("RELAY_TEST_TRIES"))
			}
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
		})
	}
	cfg := aws.Config{Region: "eu-west-1", BaseEndpoint: &endpoint, Retryer: retryer, Credentials: credentials.NewStaticCredentialsProvider("local", "local", "")}
	switch noCredentials {
	case "":
	case "none":
		cfg.Credentials = nil
	default:
		cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, errors.New(noCredentials) })
	}
	return cfg
}

func appendTo(name, text string) error {
	file, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteString(text)
	return err
}

// fakeAPI answers as its file says, and writes what it was asked.
type fakeAPI struct {
	folder, address string
	server          *httptest.Server

	mu         sync.Mutex
	answers    map[string][]answer // by method and path, or by the name of an action of AWS
	unexpected []string
}

// answer is one of the file's. Beside a status there are "hangup", a connection
// that ends without an answer, and "interrupt", which sends SIGINT to the program.
// Three of its headers are for the server:
//
//	Cut: N      hang up after N bytes of the body
//	Repeat: N   the body is this many times the text
//	Quoted: yes the body is a Go string literal
type answer struct {
	status string
	header http.Header
	body   string
}

var (
	headLine   = regexp.MustCompile(`^([A-Z]+ \S+) (\d{3}|hangup|interrupt)$`)
	headerLine = regexp.MustCompile(`^([A-Z][A-Za-z-]*): (.*)$`)
)

// listen opens a server, and tells the program where it is.
func (f *fakeAPI) listen(setenv func(name, value string)) {
	f.server = httptest.NewUnstartedServer(f)
	f.address = "http://" + f.server.Listener.Addr().String() // before a call can ask for it
	f.server.Start()
	setenv("RELAY_API_URL", f.address)
	setenv("RELAY_TEST_AWS", f.address)
}

// change gives the answers of another file, at another address: a call that a program which
// has ended left in flight does not get one of them.
func (f *fakeAPI) change(ts *testscript.TestScript, name string) {
	f.server.Close()
	ts.Check(f.load(ts.ReadFile(name)))
	f.listen(ts.Setenv)
}

func (f *fakeAPI) load(text string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers = map[string][]answer{}
	var route string
	var last *answer
	for line := range strings.Lines(text) {
		head, header := headLine.FindStringSubmatch(strings.TrimSpace(line)), headerLine.FindStringSubmatch(strings.TrimSpace(line))
		switch {
		case head != nil:
			route = head[1]
			f.answers[route] = append(f.answers[route], answer{status: head[2], header: http.Header{}})
			last = &f.answers[route][len(f.answers[route])-1]
		case last == nil:
			return fmt.Errorf("%q comes before the first METHOD PATH STATUS", line)
		case header != nil && last.body == "":
			last.header.Add(header[1], header[2])
		default:
			last.body += line
		}
	}
	return cmp.Or(os.WriteFile(filepath.Join(f.folder, "calls"), nil, 0o600), os.WriteFile(filepath.Join(f.folder, "headers"), nil, 0o600))
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	next, ok := f.next(r, body)
	if !ok {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	text := strings.ReplaceAll(next.body, "$URL", f.address)
	take := func(name string) string { defer next.header.Del(name); return next.header.Get(name) }
	if take("Quoted") != "" {
		text, _ = strconv.Unquote(strings.TrimSpace(text))
	}
	if n, err := strconv.Atoi(take("Repeat")); err == nil {
		text = strings.Repeat(text, n)
	}
	cut, cutErr := strconv.Atoi(take("Cut"))
	switch next.status {
	case "interrupt":
		pid, _ := os.ReadFile(filepath.Join(f.folder, "pid"))
		n, _ := strconv.Atoi(string(pid))
		_ = syscall.Kill(n, syscall.SIGINT)
		<-r.Context().Done() // the program gives the call up
		panic(http.ErrAbortHandler)
	case "hangup":
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	if strings.Contains(text, `"title":`) {
		w.Header().Set("Content-Type", "application/problem+json")
	}
	w.Header().Set("Date", noon.Format(http.TimeFormat))
	maps.Copy(w.Header(), next.header)
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	status, _ := strconv.Atoi(next.status)
	if status == http.StatusNoContent {
		w.Header().Del("Content-Length")
	}
	w.WriteHeader(status)
	if cutErr == nil {
		_, _ = io.WriteString(w, text[:cut])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = io.WriteString(w, text)
}

// next records a call and finds its answer.
func (f *fakeAPI) next(r *http.Request, body []byte) (answer, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	path, _, _ := strings.Cut(r.RequestURI, "?")
	route := r.Method + " " + path
	if _, action, isAWS := strings.Cut(r.Header.Get("X-Amz-Target"), "."); isAWS {
		route = "POST " + action
	} else if form, err := url.ParseQuery(string(body)); err == nil && form.Get("Action") != "" {
		route = "POST " + form.Get("Action")
	}
	line := r.Method + " " + r.RequestURI
	if text := string(body); bytes.ContainsFunc(body, func(c rune) bool { return c < ' ' || c == '\uFFFD' }) {
		line += " " + strconv.Quote(text)
	} else if text != "" {
		line += " " + text
	}
	headers := line + "\n"
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		headers += "  " + name + ": " + strings.Join(r.Header[name], " | ") + "\n"
	}
	err := errors.Join(appendTo(filepath.Join(f.folder, "calls"), line+"\n"), appendTo(filepath.Join(f.folder, "headers"), headers))
	left := f.answers[route]
	if len(left) == 0 || err != nil {
		f.unexpected = append(f.unexpected, fmt.Sprint(route, err))
		return answer{}, false
	}
	if len(left) > 1 {
		f.answers[route] = left[1:]
	}
	next := left[0]
	next.header = next.header.Clone()
	return next, true
}
