package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/alecthomas/kong"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/cenkalti/backoff/v5"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/rs/xid"
	"golang.org/x/term"
)

// app is everything that the commands touch of the world.
type app struct {
	stdin    io.Reader
	stdout   io.Writer
	stderr   io.Writer
	terminal bool       // stderr is one: a bar can be drawn
	width    func() int // of that terminal, in columns
	now      func() time.Time
	ticks    func(time.Duration) (<-chan time.Time, func())
	sleep    func(context.Context, time.Duration) error
	newKey   func() string // an Idempotency-Key that nobody has used
	api      *http.Client
	files    *http.Client // downloads
	loadAWS  func(ctx context.Context, region, profile string) (aws.Config, error)
	backoff  func() backoff.BackOff
}

func newApp() *app {
	fd := int(os.Stderr.Fd())
	return &app{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		terminal: term.IsTerminal(fd) && os.Getenv("TERM") != "dumb",
		width: func() int {
			columns, _, err := term.GetSize(fd)
			if err != nil || columns <= 0 {
				return defaultWidth
			}
			return columns
		},
		now:     time.Now,
		ticks:   func(d time.Duration) (<-chan time.Time, func()) { t := time.NewTicker(d); return t.C, t.Stop },
		sleep:   sleep,
		newKey:  func() string { return "relay-cli-" + xid.New().String() },
		api:     apiHTTP(),
		files:   filesHTTP(),
		loadAWS: loadAWS,
		backoff: func() backoff.BackOff { return backoff.NewExponentialBackOff() },
	}
}

// defaultWidth is what every terminal has had since the first ones.
const defaultWidth = 80

// sleep ends early with the command.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// grammar is the command line.
type grammar struct {
	Run        runCmd        `cmd:"" help:"Run a workflow; its outputs land in your S3 bucket."`
	Status     statusCmd     `cmd:"" help:"Show how a run is, or watch it until it ends."`
	List       listCmd       `cmd:"" help:"List runs, the newest first."`
	Workflows  workflowsCmd  `cmd:"" help:"List the workflows you can run, or show one with its parameters."`
	Containers containersCmd `cmd:"" help:"List the container services you can call, or show one."`
	Call       callCmd       `cmd:"" help:"Call a container service, as curl would: relay call vllm /v1/models"`
	Cancel     cancelCmd     `cmd:"" help:"Stop a run, and the task that it pays for."`
	Redrive    redriveCmd    `cmd:"" help:"Let a failed run go on where it failed, without paying again."`
	Decide     decideCmd     `cmd:"" help:"Say which task a run in doubt has started, or that it started none."`
	Rescue     rescueCmd     `cmd:"" help:"Deliver the outputs of a task that already exists at Cyberun."`
	Webhook    webhookCmd    `cmd:"" help:"Print what to enter at Cyberun for webhooks, and check that they can arrive."`
	Version    versionCmd    `cmd:"" help:"Print the version of this program."`

	globals
}

type globals struct {
	APIURL  string `group:"api" name:"api-url" env:"RELAY_API_URL" placeholder:"URL" help:"Address of the relay's API, the stack's output ApiUrl. Otherwise it is looked up by the stack's name."`
	Stack   string `group:"api" env:"RELAY_STACK" default:"cyberun-relay" placeholder:"NAME" help:"Name of the CloudFormation stack (${default})."`
	Region  string `group:"api" placeholder:"REGION" help:"AWS region of the stack. Otherwise as the AWS tools have it (AWS_REGION, profile)."`
	Profile string `group:"api" placeholder:"NAME" help:"AWS profile to sign with. Otherwise as the AWS tools have it (AWS_PROFILE)."`
	JSON    bool   `group:"api" name:"json" help:"Print the API's own JSON on stdout and nothing else there."`
}

const description = "Run Cyberun workflows from AWS and keep every output in your own S3 bucket."

const helpTail = `
Start here:
  relay workflows                      what can be run
  relay workflows text-to-image        what it takes
  relay run text-to-image -p prompt="a fir in snow" --watch --out pictures

Exit codes:
  0    done; of a run: it succeeded, or still goes on and was not watched
  1    the run failed, or an output could not be saved
  2    the command or the request is wrong; nothing was started
  3    the API or AWS could not be reached, or refused the credentials
  4    the run was cancelled
  5    --timeout passed; the run goes on
  6    relay call: the container answered 4xx
  7    relay call: the container answered 5xx
  130  interrupted; a run that was started goes on
`

// helpWidth is what a line of help is wrapped at: longer ones are hard to read.
const helpWidth = 100

// execute runs one command line and returns the exit code.
func (a *app) execute(ctx context.Context, args []string) int {
	if len(args) == 0 {
		// Asked for nothing: told what there is, but as the mistake it is.
		help := *a
		help.stdout = a.stderr
		help.execute(ctx, []string{"--help"})
		return codeUsage
	}
	if err := checkText(args); err != nil {
		return a.fail(ctx, err)
	}
	var line grammar
	helped := false
	parser, err := kong.New(&line,
		kong.Name("relay"), kong.Description(description),
		kong.Writers(a.stdout, a.stderr),
		kong.Exit(func(int) { helped = true }), // called after --help only: the rest is ours
		kong.Help(printHelp),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: helpWidth}),
		kong.ExplicitGroups([]kong.Group{{Key: "api", Title: "The stack's API, and how results are told:"}}),
	)
	if err != nil {
		return a.fail(ctx, err)
	}
	parsed, err := parser.Parse(args)
	if helped {
		return codeOK
	}
	if err != nil {
		return a.fail(ctx, usage(err))
	}
	s := &session{app: a, globals: line.globals}
	parsed.BindTo(ctx, (*context.Context)(nil))
	return a.fail(ctx, parsed.Run(s))
}

// checkText refuses arguments that are not UTF-8: their bytes would reach the
// request as U+FFFD, and be paid for.
func checkText(args []string) error {
	for i, arg := range args {
		if !utf8.ValidString(arg) {
			return &failure{
				code: codeUsage, what: fmt.Sprintf("argument %d, %s, is not UTF-8", i+1, strconv.QuoteToASCII(named.Quote(strings.ToValidUTF8(arg, "?")))),
				hint: "set the terminal and its locale to UTF-8; give a file whose name is not UTF-8 another name",
			}
		}
	}
	return nil
}

func printHelp(options kong.HelpOptions, ctx *kong.Context) error {
	if err := kong.DefaultHelpPrinter(options, ctx); err != nil {
		return err
	}
	if ctx.Selected() != nil {
		return nil
	}
	_, err := io.WriteString(ctx.Stdout, helpTail)
	return err
}

// usage tells what is wrong with a command line, and whose help to read.
func usage(err error) *failure {
	what := err.Error()
	if missing, ok := strings.CutPrefix(what, `expected "<`); ok {
		what = `missing: "<` + missing
	}
	f := &failure{code: codeUsage, what: what, hint: "relay --help"}
	if parse, ok := err.(*kong.ParseError); ok {
		if selected := parse.Context.Selected(); selected != nil {
			f.hint = selected.FullPath() + " --help"
		}
	}
	return f
}

// say writes a line of progress or advice for a person.
func (a *app) say(format string, args ...any) {
	text := clean(strings.TrimRight(fmt.Sprintf(format, args...), "\n"))
	if a.terminal {
		text = eraseLine + text // a bar may stand there
	}
	fmt.Fprintln(a.stderr, text)
}

// print writes a line of result.
func (a *app) print(format string, args ...any) {
	fmt.Fprintln(a.stdout, clean(fmt.Sprintf(format, args...)))
}
