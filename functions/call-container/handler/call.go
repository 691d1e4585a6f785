package handler

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/httpapi"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

const (
	// maxRequest is what Lambda takes in one call, 6 MiB. In AWS nothing larger
	// arrives here: the gateway answers 413 itself.
	maxRequest = 6 << 20
	// maxResponse is what Lambda returns from one call: it says so when more is
	// returned, "exceeded maximum allowed payload size (6291556 bytes)".
	maxResponse = 6_291_556
	// An answer's status is from 200 to 599. Below are those that precede an answer; 101
	// among them would be a tunnel, which is never asked for. RFC 9110 knows none above.
	minStatus, maxStatus = 200, 599
)

// ambiguous are the statuses with which Cyberun itself answers for a container that does
// not exist, does not run or cannot be reached, or for a key that it refuses. The same
// status from the container itself looks no different: the container's description is
// asked for.
var ambiguous = []int{
	http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict,
	http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}

// call passes a request on to a container, and the container's answer back.
func (h *Handler) call(ctx context.Context, r httpapi.Request, moved *traffic) (none httpapi.Response, err error) {
	slug, path, query, err := target(r)
	if err != nil {
		return none, err
	}
	header, err := requestHeader(r.Headers)
	if err != nil {
		return none, err
	}
	if len(r.Body) > maxRequest {
		return none, named.Errorf(named.ContainerBodyTooLarge, "the body takes %d bytes of Lambda's %d for a call", len(r.Body), maxRequest)
	}
	body, err := httpapi.Body(r)
	if err != nil {
		return none, err
	}
	moved.in = len(body)
	k := cyberun.ContainerCall{Slug: slug, Method: r.RequestContext.HTTP.Method, Path: path, Query: query, Header: header, MaxAnswer: maxResponse}
	if len(body) > 0 {
		k.Body, k.Length = bytes.NewReader(body), int64(len(body))
	}
	within, cancel := context.WithTimeout(ctx, h.ContainerTime)
	defer cancel()
	answer, err := h.Cyberun.CallContainer(within, k)
	if err != nil {
		return none, h.failed(ctx, within, slug, err)
	}
	defer answer.Body.Close()
	if answer.Status < minStatus || answer.Status > maxStatus {
		return none, withCheckHint(named.Errorf(named.Unavailable, "the container service %s answered with the status %d, which an HTTP API does not pass on; the call was carried out", slug, answer.Status))
	}
	content, err := io.ReadAll(answer.Body)
	moved.out = len(content)
	if errors.Is(err, cyberun.ErrContainerAnswerTooLarge) {
		return none, tooLarge(slug, answer.Status)
	}
	if err != nil {
		return none, h.failed(ctx, within, slug, err)
	}
	if slices.Contains(ambiguous, answer.Status) {
		if err := h.lookUp(ctx, slug, fmt.Sprintf("the call got a %d", answer.Status)); err != nil {
			return none, withCheckHint(err)
		}
	}
	return pack(slug, k.Method, answer, content)
}

// failed returns the named error of a call that got no whole answer. It asks for
// the container's status, unless the call ran out of its time.
func (h *Handler) failed(ctx, within context.Context, slug string, err error) error {
	if _, ok := named.As(err); ok {
		return err // from the key's source, which names its own
	}
	sent, effect := !cyberun.NeverSent(err), "the call may have been carried out"
	if !sent {
		effect = "nothing was sent to the container"
	}
	switch ended := within.Err() != nil; {
	case ended && sent:
		return named.Errorf(named.ContainerTimedOut, "the container service %s had not answered after %s; the call may go on there", slug, h.ContainerTime)
	case ended:
		return named.Errorf(named.Unavailable, "Cyberun could not be reached within %s; %s: %w", h.ContainerTime, effect, err)
	}
	unavailable := h.lookUp(ctx, slug, err.Error()+"; "+effect)
	if unavailable == nil {
		unavailable = named.Errorf(named.Unavailable, "%w; %s", err, effect)
	}
	if sent {
		return withCheckHint(unavailable)
	}
	return unavailable
}

// hintCheckFirst is the hint of an Unavailable after which the call is not simply to be
// sent again, as the table of named errors advises.
const hintCheckFirst = "the container may have carried the call out: look before you send it again"

// withCheckHint gives an error that is Unavailable the hint to look first.
func withCheckHint(err error) error {
	if e, ok := named.As(err); ok && e.Name == named.Unavailable {
		e.Hint = hintCheckFirst
	}
	return err
}

// lookUp asks Cyberun whether a container exists and runs, and returns the named error if
// it does not, or if that cannot be asked. It returns nil for one that runs: then the
// answer was the container's own. happened says how the call ended, for the error.
func (h *Handler) lookUp(ctx context.Context, slug, happened string) error {
	ctx, cancel := context.WithTimeout(ctx, h.LookUpTime)
	defer cancel()
	found, err := h.Cyberun.Container(ctx, slug)
	if err != nil {
		e, _ := named.As(descriptionError(slug, err))
		if e.Name == named.Unavailable {
			return named.Errorf(named.Unavailable, "%s, and the status of the container service %s could not be asked: %w", happened, slug, err)
		}
		return e
	}
	if found.Status == cyberun.ContainerRunning || found.Status == "" {
		return nil
	}
	found.Slug = slug
	return &notRunning{named.Errorf(named.ContainerNotRunning, "the container service %s is %s", slug, found.Status), found}
}

func tooLarge(slug string, status int) error {
	return named.Errorf(named.ContainerAnswerTooLarge, "the container service %s answered %d with more than the %d bytes that Lambda returns; the call was carried out", slug, status, maxResponse)
}

// pack puts an answer into the payload of an HTTP API, as text where that is
// shorter than base64 and arrives as the same bytes. The payload is measured as
// aws-lambda-go writes it.
func pack(slug, method string, answer *cyberun.ContainerAnswer, content []byte) (httpapi.Response, error) {
	out := httpapi.Response{StatusCode: answer.Status}
	out.Headers, out.Cookies = responseHeader(answer.Header, method == http.MethodHead)
	size := base64.StdEncoding.EncodedLen(len(content))
	text, ok := textLength(content)
	if out.IsBase64Encoded = !ok || text > size; !out.IsBase64Encoded {
		size = text
	}
	var frame bytes.Buffer // the payload around its body, with a line's end
	e := json.NewEncoder(&frame)
	e.SetEscapeHTML(false)
	if err := e.Encode(out); err != nil {
		return httpapi.Response{}, err
	}
	if frame.Len()-len("\n")+size > maxResponse {
		return httpapi.Response{}, tooLarge(slug, answer.Status)
	}
	if out.Body = string(content); out.IsBase64Encoded {
		out.Body = base64.StdEncoding.EncodeToString(content)
	}
	return out, nil
}

// textLength is how long content is within a JSON string, if it is text that
// JSON brings back as the same bytes. Control characters are left to base64:
// who decodes them on the way is not known.
func textLength(content []byte) (n int, ok bool) {
	if !utf8.Valid(content) {
		return 0, false
	}
	for _, r := range string(content) {
		switch {
		case r == '"', r == '\\', r == '\n', r == '\r', r == '\t':
			n += 2
		case r < ' ':
			return 0, false
		case r == '\u2028', r == '\u2029':
			n += 6
		default:
			n += utf8.RuneLen(r)
		}
	}
	return n, true
}
