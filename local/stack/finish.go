package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
)

// finish does what a person does after a deploy, and bends this one stack where
// a machine without TLS, or a test without patience, needs it.
func (s *Stack) finish(ctx context.Context) error {
	key := s.State.CyberunKey
	if s.real() {
		key = os.Getenv("CYBERUN_API_KEY")
	}
	s.State.WebhookSecret = "whsec_local_" + random()
	for name, value := range map[string]string{"ApiKeySecretArn": key, "WebhookSecretArn": s.State.WebhookSecret} {
		arn := s.State.Outputs[name]
		if _, err := secretsmanager.NewFromConfig(s.aws).PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
			SecretId: &arn, SecretString: &value,
		}); err != nil {
			return err
		}
	}
	if s.Opt.Auth {
		if err := s.allowPlainHTTP(ctx); err != nil {
			return err
		}
	}
	if s.Opt.Await > 0 || s.Opt.Machine > 0 {
		if err := s.shorten(ctx); err != nil {
			return err
		}
	}
	if s.State.ControlURL != "" && s.Opt.Params["WebhooksEnabled"] == "true" {
		return s.announceWebhook(ctx)
	}
	return nil
}

// allowPlainHTTP takes away the buckets' TLS-only policies: with -auth
// MiniStack obeys them, and there is no TLS on loopback.
func (s *Stack) allowPlainHTTP(ctx context.Context) error {
	for _, output := range []string{"StateBucket", "InboxBucket", "OutputBucket"} {
		bucket := s.State.Outputs[output]
		if _, err := s.s3().DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: &bucket}); err != nil {
			return err
		}
	}
	return nil
}

// shorten: no test waits for eight days, nor for five minutes, and MiniStack
// knows no TimeoutSecondsPath and scales no time-out.
func (s *Stack) shorten(ctx context.Context) error {
	client, arn := sfn.NewFromConfig(s.aws), s.State.Outputs["StateMachineArn"]
	machine, err := client.DescribeStateMachine(ctx, &sfn.DescribeStateMachineInput{StateMachineArn: &arn})
	if err != nil {
		return err
	}
	text, err := s.Opt.shortened(*machine.Definition)
	if err != nil {
		return err
	}
	_, err = client.UpdateStateMachine(ctx, &sfn.UpdateStateMachineInput{StateMachineArn: &arn, Definition: &text})
	return err
}

// shortened is the state machine with the time-outs that were asked for.
func (o Options) shortened(machine string) (string, error) {
	var definition map[string]any
	if err := json.Unmarshal([]byte(machine), &definition); err != nil {
		return "", err
	}
	if o.Machine > 0 {
		definition["TimeoutSeconds"] = o.Machine
	}
	if o.Await > 0 {
		states, _ := definition["States"].(map[string]any)
		state, ok := states["AwaitWebhook"].(map[string]any)
		if !ok {
			return "", fmt.Errorf("the state machine has no state AwaitWebhook")
		}
		state["TimeoutSeconds"] = o.Await
	}
	body, err := json.Marshal(definition)
	return string(body), err
}

// announceWebhook enters the webhook at the stand-in, as a person would in the dashboard.
func (s *Stack) announceWebhook(ctx context.Context) error {
	body, err := json.Marshal(map[string]string{"url": s.State.Outputs["WebhookUrl"], "secret": s.State.WebhookSecret})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.State.ControlURL+"/webhook", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	return expect(req, http.StatusOK)
}

// checkAPI is the last step: the door is shut to strangers, and a signed call
// goes all the way to Cyberun and back.
func (s *Stack) checkAPI(ctx context.Context) error {
	if err := get(ctx, s.State.APIURL+"/workflows", http.StatusForbidden); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.State.APIURL+"/workflows", nil)
	if err != nil {
		return err
	}
	if err := s.sign(req, "execute-api", nil); err != nil {
		return err
	}
	if err := expect(req, http.StatusOK); err != nil {
		return fmt.Errorf("%w\n%s", err, s.functionLogs(ctx))
	}
	return nil
}

func (s *Stack) sign(req *http.Request, service string, body []byte) error {
	credentials, err := s.aws.Credentials.Retrieve(req.Context())
	if err != nil {
		return err
	}
	hash := sha256.Sum256(body)
	return v4.NewSigner().SignHTTP(req.Context(), credentials, req, hex.EncodeToString(hash[:]), service, region, time.Now())
}

// excerpt is the beginning of an answer, for an error.
func excerpt(r io.Reader) string {
	body, _ := io.ReadAll(io.LimitReader(r, 2000))
	return strings.TrimSpace(string(body))
}
