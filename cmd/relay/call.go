package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
)

type callCmd struct {
	Slug    string   `arg:"" name:"container" help:"The container service's slug, as relay containers lists it."`
	Path    string   `arg:"" help:"Path behind it, with a query if there is one: /v1/models?limit=3. Escapes in it (%2F) reach the container as they are."`
	Method  string   `short:"X" name:"request" placeholder:"METHOD" help:"HTTP method. Otherwise GET, or POST with --data."`
	Header  []string `short:"H" sep:"none" placeholder:"NAME: VALUE" help:"Header to send; may be repeated. \"NAME;\" sends an empty one, \"NAME:\" none."`
	Data    []string `short:"d" sep:"none" placeholder:"DATA|@FILE" help:"Body to send: as it stands, from a file, or from stdin (@-). Several are joined with &. Its type is application/json if it is JSON, else application/x-www-form-urlencoded."`
	Output  string   `short:"o" placeholder:"FILE" help:"Write the answer's body there instead of to stdout."`
	Include bool     `short:"i" help:"Write the answer's status and headers before its body."`
}

// maxSent is what Lambda takes in one call, 6 MiB: more surely does not arrive.
const maxSent = 6 << 20

// Run calls a container service once. The exit code says which class of status it
// answered.
func (c *callCmd) Run(ctx context.Context, s *session) error {
	if !cyberun.IsContainerSlug(c.Slug) {
		return notContainerSlug(c.Slug)
	}
	body, err := c.body(s.stdin)
	if err != nil {
		return err
	}
	header, err := c.header(body)
	if err != nil {
		return err
	}
	relay, err := s.client(ctx)
	if err != nil {
		return err
	}
	response, content, err := relay.callContainer(ctx, c.Slug, c.Path, c.method(), header, body)
	if err != nil {
		return err
	}
	if err := c.write(s.console, response, content); err != nil {
		return &failure{code: codeFailed, what: "the answer could not be saved: " + withoutURL(err)}
	}
	status := response.StatusCode
	if status < http.StatusBadRequest {
		return nil
	}
	f := &failure{code: codeClientError, what: strings.TrimSpace(fmt.Sprintf("the container answered %d %s", status, http.StatusText(status)))}
	if status >= http.StatusInternalServerError {
		f.code = codeServerError
	}
	return f
}

func (c *callCmd) method() string {
	switch {
	case c.Method != "":
		return strings.ToUpper(c.Method)
	case len(c.Data) > 0:
		return http.MethodPost
	}
	return http.MethodGet
}

// body puts the pieces of --data together. Unlike curl's, a file is sent with
// its line ends.
func (c *callCmd) body(stdin io.Reader) ([]byte, error) {
	var body []byte
	for i, piece := range c.Data {
		if i > 0 {
			body = append(body, '&')
		}
		name, isFile := strings.CutPrefix(piece, "@")
		if !isFile {
			body = append(body, piece...)
			continue
		}
		content, err := readInput(stdin, name, maxSent+1)
		if err != nil {
			return nil, &failure{code: codeUsage, what: "--data cannot be read: " + err.Error()}
		}
		body = append(body, content...)
	}
	if len(body) > maxSent {
		return nil, &failure{code: codeUsage, what: "--data is more than the 6 MiB that a call can have", hint: "what is not text travels as base64: then at most 4 MB"}
	}
	return body, nil
}

// readInput reads at most so many bytes of a file, - being stdin.
func readInput(stdin io.Reader, name string, most int64) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(stdin, most))
	}
	file, err := os.Open(expandHome(name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, most))
}

// header returns the headers to send, with curl's defaults for those not given.
func (c *callCmd) header(body []byte) (http.Header, error) {
	header := http.Header{"Accept": {"*/*"}, "User-Agent": {"relay/" + version()}}
	if len(c.Data) > 0 {
		header.Set("Content-Type", "application/x-www-form-urlencoded")
		if json.Valid(body) {
			header.Set("Content-Type", "application/json")
		}
	}
	given := map[string]bool{}
	for _, line := range c.Header {
		name, value, found := strings.Cut(line, ":")
		if !found {
			if name, found = strings.CutSuffix(line, ";"); !found {
				return nil, &failure{code: codeUsage, what: fmt.Sprintf("--header %q is neither NAME: VALUE nor NAME;", line), hint: "relay call --help"}
			}
			given[line] = true // an empty one is meant
		}
		key := http.CanonicalHeaderKey(strings.TrimSpace(name))
		value = strings.TrimSpace(value)
		if !given[key] {
			header.Del(key)
			given[key] = true
		}
		if value != "" || given[line] {
			header[key] = append(header[key], value)
		}
	}
	if header.Get("Accept-Encoding") == "" {
		header.Set("Accept-Encoding", "identity") // else net/http asks for gzip and unpacks it
	}
	return header, nil
}

// write writes the answer to the file of --output, or to stdout.
func (c *callCmd) write(stdout *console, response *http.Response, content []byte) error {
	var out bytes.Buffer
	if c.Include {
		fmt.Fprintf(&out, "%s %s\r\n", response.Proto, response.Status)
		_ = response.Header.Write(&out) // a buffer takes all
		out.WriteString("\r\n")
	}
	out.Write(content)
	if c.Output != "" && c.Output != "-" {
		return os.WriteFile(expandHome(c.Output), out.Bytes(), 0o644)
	}
	_, _ = stdout.Write(out.Bytes()) // which remembers a failure
	return nil
}

// callContainer sends one call and reads its answer. It is sent once: a call to
// a container may do anything, and who knows it decides to send it again. The
// relay's own answers and the gateway's are errors.
func (c *client) callContainer(ctx context.Context, slug, target, method string, header http.Header, body []byte) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	path, query, _ := strings.Cut(target, "?")
	path = cyberun.EscapePath("/"+strings.TrimPrefix(path, "/"), func(string) bool { return true })
	original := ""
	if strings.Contains(path, "%") {
		original = path // the gateway decodes the path: this says how it was
	}
	if path == "/" {
		path, original = "//", path // the gateway has no route for one slash alone
	}
	address := strings.TrimRight(c.base.String(), "/") + "/containers/" + slug + path
	query = cyberun.EscapeQuery(query)
	if query != "" {
		address += "?" + query
	}
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, nil, &failure{code: codeUsage, what: withoutURL(err)}
	}
	request.Header = header
	if original != "" {
		request.Header.Set("Relay-Path", original)
	}
	if err := c.signNormalized(ctx, request, body); err != nil {
		return nil, nil, err
	}
	request.GetBody = nil // net/http must not send it again
	response, content, err := exchange(c.app.api, request, maxAnswer)
	if err != nil {
		return nil, nil, c.failure(err)
	}
	if response.Header.Get("Relay-Error") != "" || isGatewayAnswer(response, content) {
		return nil, nil, refusal(response, content, c.app.now())
	}
	return response, content, nil
}

// signNormalized signs a request for the path and query that AWS makes of it: a
// path without its dots and repeated slashes, a query in order. The request
// itself keeps what it has.
func (c *client) signNormalized(ctx context.Context, request *http.Request, body []byte) error {
	sent := *request.URL
	if path, err := url.PathUnescape(normalPath(sent.EscapedPath())); err == nil {
		request.URL.RawPath, request.URL.Path = normalPath(sent.EscapedPath()), path
	}
	err := c.sign(ctx, request, body)
	query := request.URL.RawQuery
	*request.URL = sent
	if _, unclear := url.ParseQuery(sent.RawQuery); unclear != nil {
		request.URL.RawQuery = query // of what cannot be read only the signer's form fits the signature
	}
	return err
}

// normalPath takes the segments out of an escaped path that lead nowhere. One
// that leads up is left: the relay refuses it.
func normalPath(escaped string) string {
	var kept []string
	segments := strings.Split(escaped, "/")
	for _, segment := range segments {
		if segment != "" && segment != "." {
			kept = append(kept, segment)
		}
	}
	path := "/" + strings.Join(kept, "/")
	if last := segments[len(segments)-1]; len(kept) > 0 && (last == "" || last == ".") {
		path += "/"
	}
	return path
}

// isGatewayAnswer reports whether an answer is the HTTP API's own: a message and
// nothing else, in its words.
func isGatewayAnswer(response *http.Response, content []byte) bool {
	if response.StatusCode < http.StatusBadRequest {
		return false
	}
	var body map[string]string
	if json.Unmarshal(content, &body) != nil || len(body) != 1 {
		return false
	}
	message := cmp.Or(body["message"], body["Message"])
	switch response.StatusCode {
	case http.StatusForbidden:
		return message == "Forbidden" || strings.Contains(message, "security token") || strings.Contains(message, "signature") || strings.Contains(message, "Signature") || strings.Contains(message, "execute-api:Invoke")
	case http.StatusRequestEntityTooLarge:
		return strings.HasPrefix(message, "Request") && strings.Contains(message, "oo ")
	}
	return message == http.StatusText(response.StatusCode)
}
