package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/smithy-go"
)

// loadAWS reads the configuration that the AWS tools share.
func loadAWS(ctx context.Context, region, profile string) (aws.Config, error) {
	// An empty region or profile stands for that of the environment.
	return awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(region), awsconfig.WithSharedConfigProfile(profile),
		awsconfig.WithAssumeRoleCredentialOptions(func(o *stscreds.AssumeRoleOptions) {
			o.TokenProvider = func() (string, error) { return askToken(os.Stdin, os.Stderr) }
		}))
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

// config returns the SDK's configuration.
func (s *session) config(ctx context.Context) (aws.Config, error) {
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

// gatewayHost is an HTTP API's own name, which contains its region.
var gatewayHost = regexp.MustCompile(`^[a-z0-9]+\.execute-api\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?$`)

// signer returns a function that signs requests, given with their bodies, to the API at
// base, for the region that its name contains: that need not be the caller's own.
func (s *session) signer(ctx context.Context, base *url.URL) (func(context.Context, *http.Request, []byte) error, error) {
	cfg, err := s.config(ctx)
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
	return func(ctx context.Context, r *http.Request, body []byte) error {
		credentials, err := retrieve(ctx, cfg)
		if err != nil {
			return err
		}
		hash := sha256.Sum256(body)
		return signer.SignHTTP(ctx, credentials, r, hex.EncodeToString(hash[:]), "execute-api", region, s.now())
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
		err = noCredentials(err)
	}
	return credentials, err
}

// noCredentials leaves out the SDK's last resort, an EC2 machine's own role: to a person
// at a laptop, that it did not answer says nothing.
func noCredentials(err error) *failure {
	f := &failure{code: codeUnreachable, what: "there are no AWS credentials to sign with", hint: "sign in (`aws sso login`, `aws configure`), choose a --profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"}
	if err != nil && !strings.Contains(err.Error(), "IMDS") {
		f.what += ": " + withoutURL(err)
		f.hint = cmp.Or(clockHint(err.Error(), 0), f.hint)
	}
	return f
}

// stackOutput returns one of the stack's outputs; otherwise names the flag that does
// without.
func (s *session) stackOutput(ctx context.Context, name, otherwise string) (string, error) {
	if s.outputs == nil {
		var err error
		if s.outputs, err = s.describeStack(ctx, otherwise); err != nil {
			return "", err
		}
	}
	if s.outputs[name] == "" {
		return "", &failure{code: codeUnreachable, what: fmt.Sprintf("the stack %s has no output %s", s.Stack, name), hint: "is it cyberun-relay's, and up to date? Another is named with --stack (RELAY_STACK); or give " + otherwise}
	}
	return s.outputs[name], nil
}

func (s *session) describeStack(ctx context.Context, otherwise string) (map[string]string, error) {
	cfg, err := s.config(ctx)
	if err != nil {
		return nil, err
	}
	if cfg.Region == "" {
		return nil, noRegion()
	}
	if _, err := retrieve(ctx, cfg); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found, err := cloudformation.NewFromConfig(cfg).DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &s.Stack})
	refused, ok := errors.AsType[smithy.APIError](err)
	switch {
	case ok && refused.ErrorCode() == "ValidationError", err == nil && len(found.Stacks) == 0:
		return nil, &failure{code: codeUnreachable, what: fmt.Sprintf("there is no stack %s in %s", s.Stack, cfg.Region), hint: "name it with --stack (RELAY_STACK) and --region, or give " + otherwise}
	case err != nil:
		return nil, awsFailure("the stack "+s.Stack+" cannot be looked up", err, "cloudformation:DescribeStacks", otherwise)
	}
	outputs := map[string]string{}
	for _, o := range found.Stacks[0].Outputs {
		outputs[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
	}
	return outputs, nil
}

// awsFailure explains a call to AWS that failed. The call takes this right; otherwise
// names what does without the call.
func awsFailure(what string, err error, right, otherwise string) *failure {
	refused, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return unreachable(what, err, "check the network, the region and AWS_ENDPOINT_URL"+withPrefix("; or give ", otherwise))
	}
	f := &failure{code: codeUnreachable, what: what + ": " + refused.ErrorCode() + withPrefix(": ", refused.ErrorMessage())}
	if strings.Contains(refused.ErrorCode(), "AccessDenied") {
		f.hint = "your AWS identity needs " + right + withPrefix("; or give ", otherwise)
	}
	f.hint = cmp.Or(clockHint(f.what, 0), f.hint)
	return f
}
