// Command standin takes the place of the Cyberun service, on loopback: the documented
// API as raw JSON and SSE, presigned downloads and uploads, real pictures, a ledger of
// the tasks that were paid for, and faults on demand. It imports nothing of the relay's
// own client, so that a mistake in one of the two shows.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, os.Args[1:], os.Stdout); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "standin:", err)
		}
		os.Exit(1)
	}
}

type options struct {
	addr, addrFile, ledgerFile string
	keys                       []string
	speed                      float64
	webhook                    webhookTarget
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("standin", flag.ContinueOnError)
	flags.StringVar(&o.addr, "addr", "127.0.0.1:0", "loopback address to listen on")
	flags.StringVar(&o.addrFile, "addr-file", "", "file that gets the base URL once listening")
	flags.StringVar(&o.ledgerFile, "ledger", "", "file that gets a JSON line for all that is paid, ended or uploaded")
	flags.Float64Var(&o.speed, "speed", 1, "time factor: 10 runs tasks and webhook retries ten times faster")
	flags.StringVar(&o.webhook.URL, "webhook-url", "", "where completed and failed tasks are announced")
	flags.StringVar(&o.webhook.Secret, "webhook-secret", "", "secret that signs the announcements")
	flags.Func("key", "key that is let in; may be given several times", func(v string) error {
		o.keys = append(o.keys, v)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	var faults []error
	if len(o.keys) == 0 {
		faults = append(faults, errors.New("-key is needed: nobody would be let in"))
	}
	if o.speed <= 0 {
		faults = append(faults, errors.New("-speed must be above 0"))
	}
	if flags.NArg() > 0 {
		faults = append(faults, fmt.Errorf("unknown argument %q", flags.Arg(0)))
	}
	return o, errors.Join(faults...)
}

// listen refuses any address but loopback: the control routes ask for no key.
func listen(addr string) (net.Listener, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	if tcp, ok := listener.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		listener.Close()
		return nil, fmt.Errorf("-addr %s is not on loopback", addr)
	}
	return listener, nil
}

// closing is how long open requests get at the end before they are cut.
const closing = 2 * time.Second

func serve(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	listener, err := listen(o.addr)
	if err != nil {
		return err
	}
	var journal io.Writer = io.Discard
	if o.ledgerFile != "" {
		file, err := os.OpenFile(o.ledgerFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			listener.Close()
			return err
		}
		defer file.Close()
		journal = file
	}
	s := newStandin(ctx, o, journal, time.Now)
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx }, // ends open streams with the program
	}
	base := "http://" + listener.Addr().String() + basePath
	if o.addrFile != "" {
		if err := writeWhole(o.addrFile, base+"\n"); err != nil {
			listener.Close()
			return err
		}
	}
	fmt.Fprintln(out, base)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
	defer cancel()
	if server.Shutdown(late) != nil {
		server.Close()
	}
	s.reset("") // no timer outlives the program's end
	return nil
}

// writeWhole renames into place, so that who waits for the file never reads half of it.
func writeWhole(path, text string) error {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+strings.TrimPrefix(filepath.Base(path), ".")+"-*")
	if err != nil {
		return err
	}
	_, err = temp.WriteString(text)
	err = errors.Join(err, temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		os.Remove(temp.Name())
	}
	return err
}
