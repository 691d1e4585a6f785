package cyberun

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// PresignRequest announces an input file to [Client.Presign].
type PresignRequest struct {
	FileName    string `json:"file_name"`
	FileSize    int64  `json:"file_size"` // exact, in bytes
	ContentType string `json:"content_type"`
}

// Presigned is the address that an input file is uploaded to, by [Client.Upload],
// and the key that names the file afterwards.
type Presigned struct {
	FileKey       string        `json:"file_key"` // becomes the value of a task's file parameter
	UploadURL     SignedURL     `json:"upload_url"`
	UploadHeaders UploadHeaders `json:"upload_headers"`
}

// UploadHeaders are the signed headers of an upload. Since some storage servers put a token
// among them, they print, log and marshal as their names only.
type UploadHeaders map[string]string

// Format prints the names for every verb.
func (h UploadHeaders) Format(s fmt.State, _ rune) { fmt.Fprint(s, slices.Sorted(maps.Keys(h))) }

// MarshalJSON returns the names as a list.
func (h UploadHeaders) MarshalJSON() ([]byte, error) {
	return json.Marshal(slices.Sorted(maps.Keys(h)))
}

// Presign asks for an address to upload one input file to. Each call makes a new
// file key.
func (c *Client) Presign(ctx context.Context, r PresignRequest) (Presigned, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return Presigned{}, fmt.Errorf("cyberun: %w", err)
	}
	o, a, err := read[looseJSON](ctx, c, request{method: http.MethodPost, path: "/r/files/presign", body: body})
	if err != nil {
		return Presigned{}, err
	}
	p := Presigned{FileKey: o.text("file_key"), UploadURL: SignedURL(o.text("upload_url")), UploadHeaders: UploadHeaders{}}
	if p.FileKey == "" {
		return Presigned{}, a.unusable("but without a file_key")
	}
	if err := checkUploadURL(p.UploadURL); err != nil {
		return Presigned{}, a.unusable("but %s", err)
	}
	headers, _ := parseLooseJSON(o["upload_headers"])
	for name := range headers {
		values := headers.texts(name) // a string, a number or a list of them
		if len(values) == 0 {
			continue
		}
		p.UploadHeaders[name] = strings.Join(values, ", ")
	}
	return p, nil
}

// checkUploadURL returns an error, which does not quote it, for what is no address.
func checkUploadURL(u SignedURL) error {
	p, err := url.Parse(string(u))
	if err != nil || p.Host == "" || (p.Scheme != "https" && p.Scheme != "http") {
		return errors.New("the upload_url is not an http(s) address")
	}
	return nil
}

// Upload streams the body, which has to have exactly size bytes, to a presigned
// address, with every header that was signed and without the API key. No redirect is
// followed. An [*APIError] with the status 412 says that the file key has its bytes
// already: from an earlier try whose reply was lost, or from somebody else.
//
// body is read once, is not closed, and is not read after Upload has returned.
func (c *Client) Upload(ctx context.Context, p Presigned, body io.Reader, size int64) error {
	req, err := uploadRequest(ctx, p, size)
	if err != nil {
		return err
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", userAgent)
	}
	lent := &lentReader{from: body, left: size}
	if size > 0 {
		req.Body = lent
	} else if body != nil && lent.end() == errLonger {
		return errLonger
	}
	res, err := c.uploader().Do(req)
	left, readErr := lent.takeBack()
	shown := strings.TrimSuffix(p.UploadURL.String(), "?"+redact.Placeholder)
	secrets := p.secrets()
	if err == nil {
		defer res.Body.Close()
	}
	switch {
	case err == nil && res.StatusCode/100 != 2:
		e, answer := c.apiError(http.MethodPut, shown, res, secrets)
		e.reduceStorageError(answer, secrets)
		return e
	case readErr != nil: // the network is not to blame
		return fmt.Errorf("cyberun: reading the file to upload: %w", readErr)
	case err != nil:
		return networkError(http.MethodPut, shown, err, secrets)
	case left > 0:
		return fmt.Errorf("cyberun: the storage server accepted the upload %d bytes before its end", left)
	}
	return nil
}

// uploadRequest makes the request, but for its body.
func uploadRequest(ctx context.Context, p Presigned, size int64) (*http.Request, error) {
	if err := checkUploadURL(p.UploadURL); err != nil {
		return nil, fmt.Errorf("cyberun: %w", err)
	}
	if size < 0 {
		return nil, fmt.Errorf("cyberun: a file of %d bytes cannot be uploaded", size)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, string(p.UploadURL), nil)
	if err != nil {
		return nil, fmt.Errorf("cyberun: the upload_url: %w", redact.UnwrapURLError(err))
	}
	req.ContentLength = size
	req.Body = http.NoBody // a size of 0 beside any other body would be sent chunked
	for name, value := range p.UploadHeaders {
		switch http.CanonicalHeaderKey(name) {
		case "Content-Length":
			if value != strconv.FormatInt(size, 10) {
				return nil, fmt.Errorf("cyberun: the upload is signed for %.20s bytes, not %d", value, size)
			}
		case "Host":
			req.Host = value
		default:
			req.Header.Set(name, value)
		}
	}
	return req, nil
}

// lentReader is the caller's reader for as long as Upload runs: when a server
// refuses before it has read everything, net/http may read on in a goroutine after
// the answer is there, while the caller already rewinds. It has no GetBody and is
// never closed.
//
// It hands out the last bytes only when it has seen that nothing follows them,
// so that a file which grew meanwhile is not stored cut off.
type lentReader struct {
	mu   sync.Mutex
	from io.Reader // nil: taken back
	left int64
	err  error // why it will not go on
}

func (l *lentReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.from == nil:
		return 0, errors.New("the upload has ended")
	case l.err != nil:
		return 0, l.err
	case l.left == 0:
		return 0, io.EOF
	}
	n, err := l.from.Read(p[:min(int64(len(p)), l.left)])
	if int64(n) == l.left {
		if err == nil {
			err = l.end()
		}
		if err != io.EOF { // S3's own checksum speaks here: without its last bytes no upload is whole
			l.err = err
			return 0, l.err
		}
		err = nil
	} else if err == io.EOF {
		err = fmt.Errorf("the file ends %d bytes before the size that was signed: %w", l.left-int64(n), io.ErrUnexpectedEOF)
	}
	l.left -= int64(n)
	l.err = err
	return n, l.err
}

var errLonger = errors.New("the file is longer than the size that was signed")

// end reads on behind the last byte, and returns io.EOF where nothing follows it.
func (l *lentReader) end() error {
	n, err := io.ReadFull(l.from, make([]byte, 1))
	if n > 0 {
		return errLonger
	}
	return err
}

func (l *lentReader) Close() error { return nil }

// takeBack ends all reading. It returns how many bytes were not read, and why the file
// could not be read; nil if it could.
func (l *lentReader) takeBack() (left int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.from = nil
	return l.left, l.err
}

// secrets returns the signed query and header values, should they come back in an
// error's text.
func (p Presigned) secrets() []string {
	var r []string
	if u, err := url.Parse(string(p.UploadURL)); err == nil {
		r = append(r, u.RawQuery)
	}
	for name, value := range p.UploadHeaders {
		if lower := strings.ToLower(name); strings.Contains(lower, "token") || strings.Contains(lower, "auth") {
			r = append(r, value)
		}
	}
	return r
}

// uploader returns the HTTP client for uploads.
func (c *Client) uploader() *http.Client {
	hc := *cmp.Or(c.UploadHTTP, c.HTTP, &http.Client{})
	hc.CheckRedirect = noRedirect // the signature is for this host, and the body is gone
	return &hc
}

// reduceStorageError keeps of an answer of S3, which is XML, its code and message:
// the rest repeats the signature and what was signed.
func (e *APIError) reduceStorageError(body []byte, secrets []string) {
	var answer struct {
		Code    string
		Message string
	}
	if xml.Unmarshal(body, &answer) != nil || answer.Code == "" {
		if bytes.Contains(body, []byte("<Error>")) {
			e.Message = ""
		}
		return
	}
	e.Code = redact.Line(maxCode, answer.Code, secrets...)
	e.Message = redact.Line(maxMessage, answer.Message, secrets...)
}
