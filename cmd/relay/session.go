package main

import (
	"context"
	"fmt"
	"net/url"
)

// session holds what a command works with: the program's world, the flags that all
// commands have, and the caller's AWS account.
type session struct {
	app     *app
	console *console
	account *account
	flags   globals
}

// client finds the API, by --api-url or as the stack's output.
func (s *session) client(ctx context.Context) (*client, error) {
	address := s.flags.APIURL
	if address == "" {
		var err error
		if address, err = s.account.stackOutput(ctx, "ApiUrl", "--api-url (RELAY_API_URL)"); err != nil {
			return nil, err
		}
	}
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" || base.RawQuery != "" || base.User != nil {
		if err == nil && base.User != nil {
			address = base.Redacted()
		}
		return nil, &failure{code: codeUsage, what: fmt.Sprintf("%q is not the address of an API", address), hint: "--api-url (RELAY_API_URL) looks like https://abc123.execute-api.eu-west-1.amazonaws.com"}
	}
	sign, err := s.account.signer(ctx, base)
	if err != nil {
		return nil, err
	}
	return &client{base: base, http: s.app.api, sign: sign, backoff: s.app.backoff, now: s.app.now, notef: s.console.notef}, nil
}

// show prints an answer, as JSON or for people.
func (s *session) show(json []byte, people func()) error {
	if s.flags.JSON {
		s.console.json(json)
	} else {
		people()
	}
	return nil
}

// showList prints a list, as JSON or as a table with a note what can be done next.
func (s *session) showList(l listing, table [][]string, none, next string) error {
	switch {
	case s.flags.JSON:
		return s.console.document(l)
	case len(l.rows) == 0:
		s.console.notef("%s", none)
	default:
		s.console.table(table)
		if next != "" {
			s.console.notef("%s", next)
		}
	}
	return nil
}
