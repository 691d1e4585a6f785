package main

import (
	"context"
	"fmt"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// session holds what a command works with: the program's world, the flags that all
// commands have, and what AWS was asked for, once each and only if the command needs it.
type session struct {
	*app
	globals

	cfg     *aws.Config
	outputs map[string]string // the stack's
}

// client finds the API, by --api-url or as the stack's output.
func (s *session) client(ctx context.Context) (*client, error) {
	address := s.APIURL
	if address == "" {
		var err error
		if address, err = s.stackOutput(ctx, "ApiUrl", "--api-url (RELAY_API_URL)"); err != nil {
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
	sign, err := s.signer(ctx, base)
	return &client{app: s.app, base: base, sign: sign}, err
}

// show prints an answer, as JSON or for people.
func (s *session) show(json []byte, people func()) error {
	if s.JSON {
		s.console.json(json)
	} else {
		people()
	}
	return nil
}

// showList prints a list, as JSON or as a table with a note what can be done next; none
// says that the list is empty.
func showList[T any](s *session, l listing[T], header []string, row func(T) []string, none, next string) error {
	switch {
	case s.JSON:
		return s.console.document(l)
	case len(l.rows) == 0:
		s.console.notef("%s", none)
		return nil
	}
	rows := [][]string{header}
	for _, r := range l.rows {
		rows = append(rows, row(r))
	}
	s.console.table(rows)
	if next != "" {
		s.console.notef("%s", next)
	}
	return nil
}
