package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// A mistyped address is reported soon; while a run is watched the network may come back.
func TestUnreachable(t *testing.T) {
	dial := func(err error) error {
		return &url.Error{Op: "Get", URL: "http://x?secret", Err: &net.OpError{Op: "dial", Net: "tcp", Err: err}}
	}
	noSuchHost := dial(&net.DNSError{Err: "no such host", Name: "x", IsNotFound: true})
	for _, test := range []struct {
		name     string
		err      error
		patience time.Duration
		tries    int
	}{
		{name: "refused", err: dial(syscall.ECONNREFUSED), patience: patience, tries: dialTries},
		{name: "no such host", err: noSuchHost, patience: patience, tries: 1},
		{name: "refused while watching", err: dial(syscall.ECONNREFUSED), patience: patienceWatching, tries: 10},
		{name: "no such host while watching", err: noSuchHost, patience: patienceWatching, tries: 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			tries := 0
			c := &client{
				base: &url.URL{Scheme: "http", Host: "x"},
				sign: func(context.Context, *http.Request, []byte) error { return nil },
				app: &app{
					console: &console{stderr: io.Discard}, now: time.Now,
					backoff: func() backoff.BackOff { return &backoff.ZeroBackOff{} },
					api: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
						if tries++; tries >= 10 {
							return nil, &failure{code: codeUnreachable, what: "that is enough: it cannot be reached"}
						}
						return nil, test.err
					})},
				},
			}
			_, _, err := do[view](t.Context(), c, apiCall{method: "GET", path: "/runs", patience: test.patience})
			f := failureFor(err)
			if tries != test.tries || f.code != codeUnreachable || !strings.Contains(f.what, "cannot be reached") || strings.Contains(fmt.Sprint(f), "secret") {
				t.Errorf("%d tries, want %d: %+v", tries, test.tries, f)
			}
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
