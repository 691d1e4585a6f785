package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/smithy-go"
)

// session is one command's: the settings of its line, and what was looked up so
// far. AWS and the stack are asked once, and only by commands that need them.
type session struct {
	*app
	globals

	cfg     *aws.Config
	outputs map[string]string // the stack's
}

func loadAWS(ctx context.Context, region, profile string) (aws.Config, error) {
	var options []func(*awsconfig.LoadOptions) error
	if region != "" {
		options = append(options, awsconfig.WithRegion(region))
	}
	if profile != "" {
		options = append(options, awsconfig.WithSharedConfigProfile(profile))
	}
	options = append(options, awsconfig.WithAssumeRoleCredentialOptions(func(o *stscreds.AssumeRoleOptions) {
		o.TokenProvider = func() (string, error) { return askToken(os.Stdin, os.Stderr) }
	}))
	return awsconfig.LoadDefaultConfig(ctx, options...)
}

// askToken asks for the code of a profile whose role wants multi-factor
// authentication. The SDK's own way asks on standard output, which with --json is
// for the answer alone.
func askToken(in io.Reader, out io.Writer) (string, error) {
	fmt.Fprint(out, "MFA code: ")
	line, err := bufio.NewReader(in).ReadString('\n')
	code := strings.TrimSpace(line)
	if code == "" {
		return "", fmt.Errorf("no MFA code was entered: %w", cmp.Or(err, errors.New("an empty line")))
	}
	return code, nil
}

// aws is the SDK's configuration.
func (s *session) aws(ctx context.Context) (aws.Config, error) {
	if s.cfg != nil {
		return *s.cfg, nil
	}
	cfg, err := s.loadAWS(ctx, s.Region, s.Profile)
	if err != nil {
		return cfg, unreachable("the AWS configuration cannot be loaded", err, "check --profile, AWS_PROFILE and ~/.aws/config")
	}
	s.cfg = &cfg
	return cfg, nil
}

// client finds the API and says how calls to it are signed.
func (s *session) client(ctx context.Context) (*client, error) {
	address, err := s.apiURL(ctx)
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" || base.RawQuery != "" || base.User != nil {
		return nil, &failure{code: codeUsage, what: fmt.Sprintf("%q is not the address of an API", address), hint: "--api-url (RELAY_API_URL) looks like https://abc123.execute-api.eu-west-1.amazonaws.com"}
	}
	sign, err := s.signer(ctx, base)
	if err != nil {
		return nil, err
	}
	return &client{base: base, http: s.api, sign: sign, backoff: s.backoff, notify: s.say}, nil
}

func (s *session) apiURL(ctx context.Context) (string, error) {
	if s.APIURL != "" {
		return s.APIURL, nil
	}
	return s.stackOutput(ctx, "ApiUrl", "--api-url (RELAY_API_URL)")
}

// gatewayHost is an HTTP API's own name, which tells its region.
var gatewayHost = regexp.MustCompile(`^[a-z0-9]+\.execute-api\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?$`)

// signer signs for the region that the API is in, which need not be the
// caller's own.
func (s *session) signer(ctx context.Context, base *url.URL) (func(context.Context, *http.Request, string) error, error) {
	cfg, err := s.aws(ctx)
	if err != nil {
		return nil, err
	}
	region := cfg.Region
	if match := gatewayHost.FindStringSubmatch(base.Hostname()); match != nil {
		region = match[1]
	}
	if region == "" {
		return nil, noRegion()
	}
	signer := v4.NewSigner()
	return func(ctx context.Context, r *http.Request, payloadHash string) error {
		credentials, err := retrieve(ctx, cfg)
		if err != nil {
			return err
		}
		return signer.SignHTTP(ctx, credentials, r, payloadHash, "execute-api", region, s.now())
	}, nil
}

func noRegion() *failure {
	return &failure{code: codeUnreachable, what: "no AWS region is set", hint: "name the stack's: --region eu-west-1, or AWS_REGION"}
}

func retrieve(ctx context.Context, cfg aws.Config) (aws.Credentials, error) {
	if cfg.Credentials == nil {
		return aws.Credentials{}, noCredentials(nil)
	}
	credentials, err := cfg.Credentials.Retrieve(ctx)
	if err != nil && ctx.Err() == nil {
		return credentials, noCredentials(err)
	}
	return credentials, err
}

// noCredentials leaves out the SDK's last resort, an EC2 machine's own role: to
// a person at a laptop, that it did not answer says nothing.
func noCredentials(err error) *failure {
	f := &failure{code: codeUnreachable, what: "there are no AWS credentials to sign with", err: err, hint: "sign in (`aws sso login`, `aws configure`), choose a --profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"}
	if err != nil && !strings.Contains(err.Error(), "IMDS") {
		f.what += ": " + cause(err)
	}
	return f
}

// stackOutput reads one of the stack's outputs. otherwise says how to do without.
func (s *session) stackOutput(ctx context.Context, name, otherwise string) (string, error) {
	if err := s.describeStack(ctx, otherwise); err != nil {
		return "", err
	}
	value := s.outputs[name]
	if value == "" {
		return "", &failure{code: codeUnreachable, what: fmt.Sprintf("the stack %s has no output %s", s.stack(), name), hint: "is it cyberun-relay's, and up to date? Another is named with --stack (RELAY_STACK); or give " + otherwise}
	}
	return value, nil
}

func (s *session) stack() string { return cmp.Or(s.Stack, "cyberun-relay") }

func (s *session) describeStack(ctx context.Context, otherwise string) error {
	if s.outputs != nil {
		return nil
	}
	cfg, err := s.aws(ctx)
	if err != nil {
		return err
	}
	if cfg.Region == "" {
		return noRegion()
	}
	if _, err := retrieve(ctx, cfg); err != nil {
		return err
	}
	name := s.stack()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found, err := cloudformation.NewFromConfig(cfg).DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &name})
	var refused smithy.APIError
	switch {
	case errors.As(err, &refused) && refused.ErrorCode() == "ValidationError", err == nil && len(found.Stacks) == 0:
		return &failure{code: codeUnreachable, what: fmt.Sprintf("there is no stack %s in %s", name, cfg.Region), hint: "name it with --stack (RELAY_STACK) and --region, or give " + otherwise}
	case err != nil:
		return awsFailure("the stack "+name+" cannot be looked up", err, "cloudformation:DescribeStacks", otherwise)
	}
	s.outputs = map[string]string{}
	for _, o := range found.Stacks[0].Outputs {
		s.outputs[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
	}
	return nil
}

// awsFailure tells of an AWS call that failed, and which right it takes.
func awsFailure(what string, err error, right, otherwise string) *failure {
	var refused smithy.APIError
	if !errors.As(err, &refused) {
		return unreachable(what, err, "check the network, the region and AWS_ENDPOINT_URL"+prefixed("; or give ", otherwise))
	}
	f := &failure{code: codeUnreachable, what: what + ": " + refused.ErrorCode() + prefixed(": ", refused.ErrorMessage()), err: err}
	if strings.Contains(refused.ErrorCode(), "AccessDenied") {
		f.hint = "your AWS identity needs " + right + prefixed("; or give ", otherwise)
	}
	return f
}

// printJSON writes the API's own answer.
func (s *session) printJSON(raw json.RawMessage) {
	fmt.Fprintln(s.stdout, printable(string(raw)))
}

// printable is the same JSON value with its strings' unprintable characters
// escaped: encoding/json leaves those above U+007E as they are, and some of them a
// terminal obeys.
func printable(document string) string {
	var b strings.Builder
	for _, r := range document {
		if unicode.IsPrint(r) || unicode.IsSpace(r) && r <= ' ' {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, "\\u%04x", unit)
		}
	}
	return b.String()
}
