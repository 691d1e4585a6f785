package e2e

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// containerCall is a call to a container service by the HTTP API. Its path and
// query go out byte for byte, and no header but those and the signature's.
type containerCall struct {
	method, container, path, query string
	header                         http.Header
	body                           []byte
	identity                       aws.CredentialsProvider // nil: the stack's own
	unsigned                       bool
}

// slashes are those that say no more than one does, with the dots between them.
var slashes = regexp.MustCompile(`/(\./|/)+`)

func (s *stack) callContainer(t *testing.T, k containerCall) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), k.method, s.apiURL, bytes.NewReader(k.body))
	if err != nil {
		t.Fatal(err)
	}
	raw := req.URL.Path + "/containers/" + k.container + k.path
	if req.URL.Path, err = url.PathUnescape(raw); err != nil {
		t.Fatal(err)
	}
	req.URL.RawPath, req.URL.RawQuery = raw, k.query
	if req.URL.EscapedPath() != raw {
		t.Fatalf("net/http would send %s", req.URL.EscapedPath())
	}
	maps.Copy(req.Header, k.header)
	if req.Header.Get("Accept-Encoding") == "" {
		req.Header.Set("Accept-Encoding", "identity") // else net/http asks for gzip
	}
	if !k.unsigned {
		if k.identity == nil {
			k.identity = s.aws.Credentials
		}
		// AWS checks the signature of a path without dots and repeated slashes, and
		// of a query in order. botocore signs so; the Go SDK's signer leaves the path.
		sent := *req.URL
		req.URL.Path, req.URL.RawPath = slashes.ReplaceAllString(req.URL.Path, "/"), slashes.ReplaceAllString(raw, "/")
		s.signAs(t, req, k.identity, "execute-api", k.body)
		*req.URL = sent
	}
	return sendBy(t, &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, req)
}

// echoed is what the stand-in's echo says that it saw.
type echoed struct {
	Method     string              `json:"method"`
	Path       string              `json:"path"`
	Query      string              `json:"query"`
	Headers    map[string][]string `json:"headers"`
	BodyBase64 []byte              `json:"body_base64"`
	BodyBytes  int                 `json:"body_bytes"`
	BodySHA256 string              `json:"body_sha256"`
}

func (s *stack) echo(t *testing.T, k containerCall) echoed {
	t.Helper()
	k.container = "echo"
	a := s.callContainer(t, k)
	if a.status != http.StatusOK || a.header.Get("Relay-Error") != "" {
		t.Fatalf("%s %s: %d %s", k.method, k.path, a.status, a.body)
	}
	var seen echoed
	a.into(t, &seen)
	return seen
}

// isProblem demands the relay's own problem document.
func isProblem(t *testing.T, a answer, status int, name string) map[string]any {
	t.Helper()
	var p map[string]any
	if a.status != status || a.header.Get("Relay-Error") != name || a.header.Get("Content-Type") != "application/problem+json" || json.Unmarshal(a.body, &p) != nil || p["title"] != name {
		t.Fatalf("want %d %s: %d %v %.500s", status, name, a.status, a.header, a.body)
	}
	return p
}

// containerCalls says how many calls reached a container.
func (s *stack) containerCalls(t *testing.T, slug string) int {
	t.Helper()
	var all struct {
		Calls map[string]int `json:"container_calls"`
	}
	s.atStandIn(t, http.MethodGet, "/ledger", "").into(t, &all)
	return all.Calls[slug]
}

func TestContainers(t *testing.T) {
	s := open(t)
	t.Parallel()
	var page struct {
		Containers []struct{ Slug, Status string }
		NextCursor string `json:"next_cursor"`
	}
	s.call(t, "GET", "/containers?limit=3", "").into(t, &page)
	if len(page.Containers) != 3 || page.Containers[0].Slug != "echo" || page.NextCursor == "" {
		t.Errorf("%+v", page)
	}
	s.call(t, "GET", "/containers?limit=3&cursor="+page.NextCursor, "").into(t, &page)
	if len(page.Containers) != 3 || page.Containers[0].Slug == "echo" {
		t.Errorf("%+v", page)
	}
	var one map[string]any
	s.call(t, "GET", "/containers/vllm", "").into(t, &one)
	if one["status"] != "running" || one["usage_prompt"] == "" || one["openapi_url"] == nil {
		t.Errorf("%v", one)
	}
	isProblem(t, s.call(t, "GET", "/containers/none", ""), 404, "ContainerNotFound")
	isProblem(t, s.call(t, "GET", "/containers/NONE", ""), 404, "ContainerNotFound")
	isProblem(t, s.call(t, "GET", "/containers?limit=x", ""), 400, "InvalidRequest")
}
