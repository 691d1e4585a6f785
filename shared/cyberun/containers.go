package cyberun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// ContainerStatus is a container service's state. The set is open: only a
// running one is known to answer calls.
type ContainerStatus string

const (
	ContainerCreated   ContainerStatus = "created"
	ContainerDeploying ContainerStatus = "deploying"
	ContainerRunning   ContainerStatus = "running"
	ContainerStopping  ContainerStatus = "stopping"
	ContainerStopped   ContainerStatus = "stopped"
	ContainerFailed    ContainerStatus = "failed"
)

// Container is a long-running service on the team's agents. A list's rows may
// lack what only the detail tells.
type Container struct {
	Slug        string          `json:"slug"`
	DisplayName string          `json:"display_name,omitempty"`
	Status      ContainerStatus `json:"status"`
	Type        string          `json:"type,omitempty"` // deployed, external
	Description string          `json:"description,omitempty"`
	UsagePrompt string          `json:"usage_prompt,omitempty"` // how to call it, in words
	OpenAPIURL  string          `json:"openapi_url,omitempty"`  // where its routes are described
}

func (s *Container) UnmarshalJSON(b []byte) error {
	o, ok := parseObject(b)
	if !ok {
		return errors.New("but a container that is not an object")
	}
	*s = Container{
		Slug: o.id("slug", "container_slug"), DisplayName: firstText(o, "display_name", "name"),
		Status: ContainerStatus(firstText(o, "status", "container_status")), Type: firstText(o, "type", "container_type"),
		Description: o.text("description"), UsagePrompt: o.text("usage_prompt"), OpenAPIURL: o.text("openapi_url"),
	}
	if s.Slug == "" {
		return errors.New("but without a container's slug")
	}
	return nil
}

// ContainerList is one page.
type ContainerList struct {
	Containers []Container
	Page       PageMeta
}

// containerLists are the names that the list may have in the answer: the page
// that documents the route shows none, container_list is as all others are.
var containerLists = []string{"container_list", "containers", "container_service_list"}

// Containers lists the container services that the key can call.
func (c *Client) Containers(ctx context.Context, page Page) (ContainerList, error) {
	a, err := c.do(ctx, call{method: http.MethodGet, path: "/r/containers", query: page.query()})
	if err != nil {
		return ContainerList{}, err
	}
	return a.containerList()
}

func (a answer) containerList() (ContainerList, error) {
	var o object
	if err := a.decode(&o); err != nil {
		return ContainerList{}, err
	}
	name := containerLists[0]
	for _, other := range containerLists {
		if _, there := o[other]; there {
			name = other
			break
		}
	}
	rows, err := a.rows(o, name)
	if err != nil {
		return ContainerList{}, err
	}
	list := ContainerList{Containers: make([]Container, len(rows)), Page: o.pageMeta()}
	for i, row := range rows {
		if err := list.Containers[i].UnmarshalJSON(row); err != nil {
			return ContainerList{}, a.bad("%s (row %d)", err, i+1)
		}
	}
	return list, nil
}

// Container is one service's detail.
func (c *Client) Container(ctx context.Context, slug string) (Container, error) {
	escaped, err := element("container", slug)
	if err != nil {
		return Container{}, err
	}
	a, err := c.do(ctx, call{method: http.MethodGet, path: "/r/containers/" + escaped})
	if err != nil {
		return Container{}, err
	}
	return a.container()
}

func (a answer) container() (Container, error) {
	var s Container
	if err := a.decode(&s); err != nil {
		return Container{}, err
	}
	return s, nil
}

// IsContainerSlug reports whether a container service can have this slug: 3 to
// 100 characters, as documented.
func IsContainerSlug(slug string) bool { return containerSlug.MatchString(slug) }

var containerSlug = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,98}[a-z0-9]$`)

// ContainerCall is a call to a container service itself: what is in it goes out
// as it is, with the API key in the Authorization header and nothing else added.
type ContainerCall struct {
	Slug   string
	Method string
	// Path is the path behind the slug, escaped, beginning with its slash. See
	// CheckContainerPath for what it may hold.
	Path  string
	Query string // escaped, without its question mark
	// Header is sent as it is: hop-by-hop headers and the caller's own
	// credentials have to be out of it. Host, Authorization, Content-Length and
	// Transfer-Encoding are this client's and ignored here.
	Header http.Header
	// Body is read from its start for each time that the call is sent; nil: none.
	Body   io.ReaderAt
	Length int64 // of Body, which is sent to exactly this length
	// MaxAnswer bounds the answer's body: reading past it fails with
	// ErrContainerAnswerTooLarge.
	MaxAnswer int64
}

// ContainerAnswer is what came back through the catch-all route: the container's
// own answer, or Cyberun's, which looks no different. Client.Container tells
// whether the service exists and runs.
type ContainerAnswer struct {
	Status int
	Header http.Header
	Body   io.ReadCloser // to be read and closed by the caller
}

// ErrContainerAnswerTooLarge ends the reading of an answer that is longer than
// ContainerCall.MaxAnswer.
var ErrContainerAnswerTooLarge = errors.New("the container's answer is larger than allowed")

// NeverSent reports whether an error of CallContainer says that surely nothing
// of the call left this machine.
func NeverSent(err error) bool {
	_, ok := errors.AsType[*unsentError](err)
	return ok
}

// CallContainer sends a call to a container service, by the catch-all route.
// Whatever status comes back is an answer, redirects among them. The call is
// sent once. There are two exceptions, and neither lets a container see a call
// twice: a GET or HEAD whose connection could not be made is tried once more,
// and after a 401 the key is read again as for every other call. The caller's
// context bounds the call with the reading of its answer.
func (c *Client) CallContainer(ctx context.Context, k ContainerCall) (*ContainerAnswer, error) {
	if !IsContainerSlug(k.Slug) {
		return nil, &unsentError{fmt.Errorf("cyberun: %q is no container's slug", k.Slug)}
	}
	if err := CheckContainerPath(k.Path); err != nil {
		return nil, &unsentError{fmt.Errorf("cyberun: the path of a container call %w", err)}
	}
	if slices.Contains(refusedMethods, strings.ToUpper(k.Method)) {
		return nil, &unsentError{fmt.Errorf("cyberun: %s is not passed on to containers", k.Method)}
	}
	out := call{method: k.Method, path: "/r/containers/" + k.Slug + k.Path, container: &k}
	res, secrets, err := c.open(ctx, out, c.containerExchange())
	if c.neverConnected(err) && ctx.Err() == nil && (k.Method == http.MethodGet || k.Method == http.MethodHead) {
		res, secrets, err = c.open(ctx, out, c.containerExchange())
	}
	if err != nil {
		return nil, err
	}
	return &ContainerAnswer{Status: res.StatusCode, Header: res.Header,
		Body: &boundedBody{ReadCloser: res.Body, left: k.MaxAnswer, broke: func(err error) error {
			return networkError(out.method, out.shownPath(), fmt.Errorf("the answer's body broke off: %w", redact.UnwrapURLError(err)), secrets)
		}}}, nil
}

// refusedMethods are never sent: an answer to TRACE may repeat the key, and
// CONNECT asks for a tunnel.
var refusedMethods = []string{http.MethodTrace, http.MethodConnect}

// neverConnected says that the network was tried and nothing went out.
func (c *Client) neverConnected(err error) bool {
	_, network := errors.AsType[*NetworkError](err)
	return network && NeverSent(err)
}

// containerExchange sends over a connection of its own, so that net/http has
// nothing to replay and it is known whether the call went out. It follows no
// redirect, and leaves compressed bodies as they are.
func (c *Client) containerExchange() exchange {
	p := c.poster()
	p.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if t, ok := p.client.Transport.(*http.Transport); ok && p.own {
		t.DisableCompression = true // it is a copy that this call alone uses
		return p.send
	}
	return func(req *http.Request) (*http.Response, error) {
		if req.Header.Get("Accept-Encoding") == "" {
			req.Header.Set("Accept-Encoding", "identity") // else net/http asks for gzip and unpacks it
		}
		return p.send(req)
	}
}

// containerRequest makes the request of a container call. The address is put
// together as text, since its escapes have to stay as they are.
func (c *Client) containerRequest(ctx context.Context, k call) (*http.Request, error) {
	in := k.container
	address := strings.TrimRight(c.BaseURL, "/") + k.path
	if in.Query != "" {
		address += "?" + in.Query
	}
	req, err := http.NewRequestWithContext(ctx, k.method, address, nil)
	if err != nil {
		return nil, fmt.Errorf("cyberun: %s %s: %w", k.method, k.shownPath(), redact.UnwrapURLError(err))
	}
	req.Header = in.Header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	for _, name := range []string{"Host", "Content-Length", "Transfer-Encoding"} {
		req.Header.Del(name)
	}
	if _, given := req.Header["User-Agent"]; !given {
		req.Header.Set("User-Agent", "") // net/http's own name otherwise
	}
	if in.Body != nil && in.Length > 0 {
		// No GetBody: see request.
		req.Body = io.NopCloser(io.NewSectionReader(in.Body, 0, in.Length))
		req.ContentLength = in.Length
	}
	return req, nil
}

// boundedBody is an answer's body up to a limit.
type boundedBody struct {
	io.ReadCloser
	left  int64
	broke func(error) error
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, ErrContainerAnswerTooLarge
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1] // one more tells a body that ends here from one that does not
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n - 1, ErrContainerAnswerTooLarge
	}
	if err != nil && err != io.EOF {
		err = b.broke(err)
	}
	return n, err
}

var (
	errDots      = errors.New("holds a .. segment, which would lead to another path than the one that was asked for")
	errNoSlash   = errors.New("does not begin with /")
	errCharacter = errors.New("holds a character or an escape that no address can have")
	errNested    = fmt.Errorf("holds escapes within escapes, over %d deep", maxNesting)
)

// maxNesting is how many layers of escapes a path may have. Two are seen where
// an address is part of another one's path; the rest leaves room, and bounds
// the work that a made-up path can cause.
const maxNesting = 8

// CheckContainerPath refuses a path that could end up elsewhere than where it
// points. With a .. segment it could leave the container, and the call carries
// the API key to whatever route that is; and below the container it could pass
// a policy that grants one path and reach another. How often whoever stands
// between here and the container decodes a path is not known, nor what they
// take for a separator, so every reading counts: escapes within escapes, encoded
// slashes, backslashes, and path parameters behind a semicolon. The path has to
// be escaped and begin with a slash, or be empty.
func CheckContainerPath(path string) error {
	if path == "" {
		return nil
	}
	if path[0] != '/' {
		return errNoSlash
	}
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '%':
			if i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2]) {
				return errCharacter
			}
		case !isPathByte(c):
			return errCharacter
		}
	}
	text := path
	for layers := 0; ; layers++ {
		decoded := decodeOnce(text)
		if decoded == text {
			break
		}
		if layers == maxNesting {
			return errNested
		}
		text = decoded
	}
	for segment := range strings.FieldsFuncSeq(overlong.Replace(text), func(r rune) bool { return r == '/' || r == '\\' }) {
		name, _, _ := strings.Cut(segment, ";")
		// Some readers stop at a NUL, or drop blanks and control characters.
		if strings.Map(printable, name) == ".." {
			return errDots
		}
	}
	return nil
}

func printable(r rune) rune {
	if r <= ' ' || r == 0x7f {
		return -1
	}
	return r
}

// overlong are the ways to write a dot, a slash and a backslash in more bytes
// than UTF-8 allows, which lenient decoders take for the character itself.
var overlong = strings.NewReplacer("\xc0\xae", ".", "\xc0\xaf", "/", "\xc1\x9c", `\`, "\xe0\x80\xae", ".", "\xe0\x80\xaf", "/", "\xe0\x81\x9c", `\`)

// decodeOnce takes one layer of escapes off; what is none stays.
func decodeOnce(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			b.WriteByte(unhex(s[i+1])<<4 | unhex(s[i+2]))
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}

// isPathByte: what RFC 3986 lets stand in a path unescaped.
func isPathByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("/-._~!$&'()*+,;=:@", c) >= 0
}

// EscapePath escapes every byte of a path that no address can hold as it is.
// keep says which escapes that are there already stay: it is told the two
// hexadecimal digits behind a percent sign.
func EscapePath(path string, keep func(digits string) bool) string {
	return escape(path, func(at int) bool {
		if path[at] == '%' {
			return at+2 < len(path) && isHex(path[at+1]) && isHex(path[at+2]) && keep(path[at+1:at+3])
		}
		return isPathByte(path[at])
	})
}

// EscapeQuery escapes what cannot travel in the first line of a request, and
// leaves the rest of a query as it is, wrong escapes among it.
func EscapeQuery(query string) string {
	return escape(query, func(at int) bool { return query[at] > ' ' && query[at] < 0x7f && query[at] != '#' })
}

// escape writes a percent escape for each byte that does not stay.
func escape(s string, stays func(at int) bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if stays(i) {
			b.WriteByte(s[i])
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[s[i]>>4])
		b.WriteByte(digits[s[i]&15])
	}
	return b.String()
}

// shownPath is the path as an error tells it: of a container call only the part
// that names the service, since the rest is the caller's own.
func (k call) shownPath() string {
	if k.container != nil {
		return "/r/containers/" + url.PathEscape(k.container.Slug) + "/…"
	}
	return k.path
}
