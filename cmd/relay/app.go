package main

import (
	"cmp"
	"context"
	"errors"
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
	smithytime "github.com/aws/smithy-go/time"
	"github.com/cenkalti/backoff/v5"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/rs/xid"
	"golang.org/x/term"
)

// app holds the program's world: all that the commands read, write and wait for.
type app struct {
	stdin   io.Reader
	console *console
	now     func() time.Time
	ticks   func(time.Duration) <-chan time.Time
	sleep   func(context.Context, time.Duration) error
	newKey  func() string // a new Idempotency-Key
	api     *http.Client
	files   *http.Client // for downloads
	loadAWS func(ctx context.Context, region, profile string) (aws.Config, error)
	backoff func() backoff.BackOff
}

func newApp() *app {
	fd := int(os.Stderr.Fd())
	return &app{
		stdin: os.Stdin,
		console: &console{
			stdout: os.Stdout, stderr: os.Stderr,
			terminal: term.IsTerminal(fd) && os.Getenv("TERM") != "dumb",
			width: func() int {
				columns, _, err := term.GetSize(fd)
				if err != nil || columns <= 0 {
					return defaultWidth
				}
				return columns
			},
		},
		now:     time.Now,
		ticks:   time.Tick,
		sleep:   smithytime.SleepWithContext,
		newKey:  func() string { return "relay-cli-" + xid.New().String() },
		api:     apiHTTP(),
		files:   filesHTTP(),
		loadAWS: loadAWS,
		backoff: func() backoff.BackOff { return backoff.NewExponentialBackOff() },
	}
}

// defaultWidth stands in for the width of a terminal that does not say: the VT100's.
const defaultWidth = 80

// grammar declares the commands and their flags for kong.
type grammar struct {
	Run        runCmd        `cmd:"" help:"Run a workflow; its outputs land in your S3 bucket."`
	Status     statusCmd     `cmd:"" help:"Show a run's status, or watch it until it ends."`
	List       listCmd       `cmd:"" help:"List runs, the newest first."`
	Workflows  workflowsCmd  `cmd:"" help:"List the workflows you can run, or show one with its parameters."`
	Containers containersCmd `cmd:"" help:"List the container services you can call, or show one."`
	Call       callCmd       `cmd:"" help:"Call a container service, as curl would: relay call vllm /v1/models"`
	Cancel     cancelCmd     `cmd:"" help:"Stop a run, and cancel its task if the run surely started it."`
	Redrive    redriveCmd    `cmd:"" help:"Let a failed run go on where it failed, without paying again."`
	Decide     decideCmd     `cmd:"" help:"Say which task a run in doubt has started, or that it started none."`
	Rescue     rescueCmd     `cmd:"" help:"Deliver the outputs of a task that already exists at Cyberun."`
	Webhook    webhookCmd    `cmd:"" help:"Print what to enter at Cyberun for webhooks, and check that they can arrive."`
	Version    versionCmd    `cmd:"" help:"Print the version of this program."`
	Completion completionCmd `cmd:"" help:"Print what makes your shell complete commands and flags."`
	Complete   completeCmd   `cmd:"" hidden:""`

	globals
}

// globals are the flags that every command has.
type globals struct {
	APIURL  string `group:"api" name:"api-url" env:"RELAY_API_URL" placeholder:"URL" help:"Address of the relay's API, the stack's output ApiUrl. Otherwise it is looked up by the stack's name."`
	Stack   string `group:"api" env:"RELAY_STACK" default:"${stack}" placeholder:"NAME" help:"Name of the CloudFormation stack (${default})."`
	Region  string `group:"api" placeholder:"REGION" help:"AWS region of the stack. Otherwise as the AWS tools have it (AWS_REGION, profile)."`
	Profile string `group:"api" placeholder:"NAME" help:"AWS profile to sign with. Otherwise as the AWS tools have it (AWS_PROFILE)."`
	JSON    bool   `group:"api" name:"json" help:"Print one JSON document on stdout and nothing else there: the API's answer, or what several answers were put together to."`
}

const description = "Run Cyberun workflows from AWS and keep every output in your own S3 bucket."

const helpTail = `
Start here:
  relay workflows                      what can be run
  relay workflows text-to-image        what it takes
  relay run text-to-image -p prompt="a fir in snow" --watch --out pictures

Exit codes:
  0    done; of a run: it succeeded, or still goes on and was not watched
  1    the run failed, or an output or the result could not be written
  2    the command or the request is wrong; nothing was started
  3    the API, AWS or Cyberun gave no usable answer, or refused the credentials
  4    the run was cancelled
  5    --timeout passed; the run goes on
  6    relay call: the container answered 4xx
  7    relay call: the container answered 5xx
  130  interrupted; a run that was started goes on
`

// helpWidth bounds a line of help, in columns: longer ones are hard to read.
const helpWidth = 100

// defaultStack is the stack's name in README and samconfig.toml.
const defaultStack = "cyberun-relay"

// execute runs one command line and returns the exit code.
func (a *app) execute(ctx context.Context, args []string) int {
	f := failureFor(a.run(ctx, args))
	if ctx.Err() != nil && f.code != codeOK && f.code != codeInterrupted {
		// Whatever broke, it broke since someone pressed Ctrl-C.
		f = &failure{code: codeInterrupted, what: "interrupted", hint: f.hint, followUps: f.followUps}
	}
	return a.console.report(f)
}

func (a *app) run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		// Asked for nothing it shows what there is, but as the mistake that it is.
		a.console.stdout = a.console.stderr
		_ = a.run(ctx, []string{"--help"})
		return &failure{code: codeUsage}
	}
	if err := checkUTF8(args); err != nil {
		return err
	}
	var line grammar
	helped := false
	parser, err := kong.New(&line,
		kong.Name("relay"), kong.Description(description), kong.Vars{"stack": defaultStack},
		kong.Writers(a.console, a.console.stderr),
		kong.Exit(func(int) { helped = true }), // called after --help only: execute returns the exit code
		kong.NamedMapper("run", kong.MapperFunc(decodeRunID)),
		kong.Help(printHelp),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: helpWidth}),
		kong.ExplicitGroups([]kong.Group{{Key: "api", Title: "The stack's API, and the form of results:"}}),
	)
	if err != nil {
		return err
	}
	parsed, err := parser.Parse(args)
	if helped || a.console.writeErr != nil { // of the help
		return nil
	}
	if err != nil {
		return usage(err)
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err := parsed.BindToProvider((*session).client); err != nil { // for the commands that take one
		return err
	}
	line.Stack = cmp.Or(line.Stack, defaultStack)
	return parsed.Run(&session{app: a, globals: line.globals})
}

// checkUTF8 refuses arguments that are not UTF-8: their bytes would reach the
// request as U+FFFD, and be paid for.
func checkUTF8(args []string) error {
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
	err := kong.DefaultHelpPrinter(options, ctx)
	if err == nil && ctx.Selected() == nil {
		_, err = io.WriteString(ctx.Stdout, helpTail)
	}
	return err
}

// usage says what is wrong with a command line, and whose help to read unless a command's
// own check says better what to do.
func usage(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
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
