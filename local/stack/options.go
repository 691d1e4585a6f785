package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Options say which stack to bring up.
type Options struct {
	Root string // the project: where go.mod is
	Dir  string // this stack's own folder: state, logs, temporary files

	Auth      bool              // let MiniStack enforce signatures and policies
	WaitScale float64           // factor of Wait states and retry delays
	Await     int               // seconds until AwaitWebhook looks by itself; 0: the template's
	Machine   int               // seconds until an execution times out; 0: the template's
	Speed     float64           // the stand-in's time factor
	Params    map[string]string // template parameters
	Small     bool              // the quotas of a new account
	Env       []string          // K=V, added to the environment of every function
	Record    string            // folder for the functions' calls to AWS; empty: they are not recorded

	Workflow, Prompt, Out string // what run runs, and where its files go

	args []string // as given, for the supervisor
}

func parse(name string, args []string) (Options, []string, error) {
	root, err := findRoot()
	if err != nil {
		return Options{}, nil, err
	}
	o := Options{Root: root, Params: map[string]string{}, args: args}
	flags := flag.NewFlagSet("stack "+name, flag.ContinueOnError)
	flags.StringVar(&o.Dir, "dir", filepath.Join(root, ".local"), "folder for the state and logs of the stack")
	flags.BoolVar(&o.Auth, "auth", false, "enforce signatures and IAM policies, as AWS does")
	flags.Float64Var(&o.WaitScale, "wait-scale", 1, "factor of Wait states and retry delays: 0.1 waits a tenth")
	flags.IntVar(&o.Await, "await", 0, "seconds until AwaitWebhook looks by itself (0: as the state machine says)")
	flags.IntVar(&o.Machine, "machine-timeout", 0, "seconds until an execution times out, unscaled (0: as the state machine says)")
	flags.Float64Var(&o.Speed, "speed", 1, "time factor of the stand-in: 10 runs tasks ten times faster")
	flags.BoolVar(&o.Small, "small-account", false, "a new account's quotas: 10 Lambda calls at once, 15 DescribeExecution a second")
	flags.StringVar(&o.Record, "record", "", "write down the functions' calls to AWS in this `folder`, for local/iam")
	flags.StringVar(&o.Workflow, "workflow", "text-to-image@2", "run: the workflow")
	flags.StringVar(&o.Prompt, "prompt", "a sunset over mountains, 4k", "run: its prompt")
	flags.StringVar(&o.Out, "out", "out", "run: the folder for its files")
	flags.Func("param", "template parameter `NAME=VALUE`; may be given several times", func(v string) error {
		name, value, found := strings.Cut(v, "=")
		if !found {
			return fmt.Errorf("%q is not NAME=VALUE", v)
		}
		o.Params[name] = value
		return nil
	})
	flags.Func("env", "`NAME=VALUE` for the functions' environment; may be given several times", func(v string) error {
		if !strings.Contains(v, "=") {
			return fmt.Errorf("%q is not NAME=VALUE", v)
		}
		o.Env = append(o.Env, v)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return o, nil, err
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return o, nil, err
	}
	if name != "exec" && flags.NArg() > 0 {
		return o, nil, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	return o, flags.Args(), nil
}

// findRoot lets every command work from any folder of the project.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "template.yaml")); err == nil {
			return dir, nil
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		return "", fmt.Errorf("no template.yaml here or above: run this inside the project")
	}
}

// parameters are the template's: what this machine needs, then what was asked for.
func (o Options) parameters(cyberunURL string, standIn bool) []string {
	all := o.all(cyberunURL, standIn)
	var list []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(list, name+"="+all[name])
	}
	return list
}

// all are those parameters by name.
func (o Options) all(cyberunURL string, standIn bool) map[string]string {
	all := map[string]string{"Architecture": architecture(), "CyberunBaseUrl": cyberunURL}
	if standIn {
		all["AllowInsecureOrigins"] = "true"
	}
	maps.Copy(all, o.Params)
	return all
}

// architecture is Lambda's name for this machine's: MiniStack runs the functions as they are.
func architecture() string {
	if runtime.GOARCH == "arm64" {
		return "arm64"
	}
	return "x86_64"
}

func (o Options) tool(env, name string) string {
	return filepath.Join(o.Root, ".tools", env, "bin", name)
}

// miniStack starts MiniStack with what it lacks of Step Functions and S3.
func (o Options) miniStack() string { return filepath.Join(o.Root, "local", "ministack", "start.py") }

func (o Options) file(name string) string { return filepath.Join(o.Dir, name) }

// shared is for what every stack of this project uses: builds.
func (o Options) shared(name string) string { return filepath.Join(o.Root, ".local", name) }
