package e2e

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// TestContainersAreShut: without a signature, and to those whose policy grants
// another path.
func TestContainersAreShut(t *testing.T) {
	s := open(t)
	t.Parallel()
	for _, path := range []string{"/containers", "/containers/vllm", "/containers/vllm/v1/models"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.apiURL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a := send(t, req); a.status != http.StatusForbidden {
			t.Errorf("%s, unsigned: %d %s", path, a.status, a.body)
		}
	}
	if !s.checksSignatures(t) {
		t.Skip("this stack lets every signature in: policies are enforced with `stack exec -auth` alone")
	}
	_, apiID, _ := strings.Cut(s.apiURL, "/execute-api/")
	caller := s.user(t, fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"execute-api:Invoke","Resource":"arn:aws:execute-api:*:*:%s/*/GET/containers/vllm/v1/*"}]}`, apiID))
	for _, test := range []struct {
		method, container, path string
		status                  int
	}{
		{"GET", "vllm", "/v1/models", 200},
		{"POST", "vllm", "/v1/chat/completions", 403},
		{"GET", "echo", "/v1/models", 403},
		{"GET", "vllm", "/v2", 403},
	} {
		a := s.callContainer(t, containerCall{method: test.method, container: test.container, path: test.path, identity: caller})
		if a.status != test.status {
			t.Errorf("%s %s%s: %d %s, want %d", test.method, test.container, test.path, a.status, a.body, test.status)
		}
	}
	// Granted by its beginning: the gateway refuses what is not signed for the
	// path without its dots, the relay what is.
	for _, path := range []string{"/v1/../v2", "/v1/%2e%2e/v2", "/v1/..%2fv2"} {
		if a := s.callContainer(t, containerCall{method: "GET", container: "vllm", path: path, identity: caller}); a.status != 403 && a.status != 400 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}

// checksSignatures reports whether the stack enforces signatures and policies.
func (s *stack) checksSignatures(t *testing.T) bool {
	t.Helper()
	stranger := credentials.NewStaticCredentialsProvider("AKIANOBODY", "nothing", "")
	return s.callContainer(t, containerCall{method: "GET", container: "vllm", path: "/v1/models", identity: stranger}).status == http.StatusForbidden
}

// checkedUser is a caller whose signature is checked, where any is: MiniStack
// takes its root user's unseen.
func (s *stack) checkedUser(t *testing.T) aws.CredentialsProvider {
	t.Helper()
	if !s.checksSignatures(t) {
		t.Log("this stack checks no signatures: how odd paths are signed is not tested")
		return nil
	}
	return s.user(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"execute-api:Invoke","Resource":"*"}]}`)
}

// user makes an IAM user with this policy and returns its credentials.
func (s *stack) user(t *testing.T, policy string) aws.CredentialsProvider {
	t.Helper()
	name := strings.ReplaceAll(t.Name(), "/", "-")
	s.iam(t, url.Values{"Action": {"CreateUser"}, "UserName": {name}}, nil)
	s.iam(t, url.Values{"Action": {"PutUserPolicy"}, "UserName": {name}, "PolicyName": {"one-path"}, "PolicyDocument": {policy}}, nil)
	var made struct {
		Result struct {
			AccessKey struct {
				AccessKeyID     string `xml:"AccessKeyId"`
				SecretAccessKey string
			}
		} `xml:"CreateAccessKeyResult"`
	}
	s.iam(t, url.Values{"Action": {"CreateAccessKey"}, "UserName": {name}}, &made)
	return credentials.NewStaticCredentialsProvider(made.Result.AccessKey.AccessKeyID, made.Result.AccessKey.SecretAccessKey, "")
}

// iam is one call; it is not worth one more SDK.
func (s *stack) iam(t *testing.T, form url.Values, into any) {
	t.Helper()
	form.Set("Version", "2010-05-08")
	body := form.Encode()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, os.Getenv("AWS_ENDPOINT_URL")+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	s.signAs(t, req, s.aws.Credentials, "iam", []byte(body))
	a := send(t, req)
	if a.status != http.StatusOK {
		t.Fatalf("%s: %d %s", form.Get("Action"), a.status, a.body)
	}
	if into != nil {
		if err := xml.Unmarshal(a.body, into); err != nil {
			t.Fatalf("%v: %s", err, a.body)
		}
	}
}
