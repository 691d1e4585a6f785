package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

type webhookCmd struct {
	SecretARN string `name:"webhook-secret-arn" env:"RELAY_WEBHOOK_SECRET_ARN" placeholder:"ARN" help:"The stack's output WebhookSecretArn. Otherwise it is looked up by the stack's name."`
}

// webhook is what --json tells.
type webhook struct {
	URL       string   `json:"url"`
	Events    []string `json:"events"`
	SecretARN string   `json:"secret_arn,omitempty"`
	Enabled   bool     `json:"enabled"`
	NoSecret  bool     `json:"no_secret,omitempty"` // enabled, and none is stored to check signatures with
	Status    int      `json:"status"`              // of the answer to a POST that nobody signed
}

// webhookEvents are all that Cyberun sends.
var webhookEvents = []string{"task.completed", "task.failed"}

const (
	// forged has a signature's form, or the function would not look for its secret.
	forged = "sha256=0000000000000000000000000000000000000000000000000000000000000000"
	// noSecret is what the function answers when it has none.
	noSecret = "no secret is stored"
)

// Run prints what to enter at Cyberun, and knocks at the door: with no true
// signature, so that it must be turned away.
func (c *webhookCmd) Run(ctx context.Context, s *session) error {
	w := webhook{Events: webhookEvents}
	var err error
	if w.URL, err = s.webhookURL(ctx); err != nil {
		return err
	}
	w.SecretARN = cmp.Or(c.SecretARN, s.outputs["WebhookSecretArn"])
	status, body, err := s.knock(ctx, w.URL)
	if err != nil {
		return err
	}
	w.NoSecret = status == http.StatusServiceUnavailable && string(body) == noSecret
	w.Status, w.Enabled = status, status == http.StatusUnauthorized || w.NoSecret
	off := status == http.StatusNotFound && !fromGateway(body)
	if !w.Enabled && !off {
		return &failure{code: codeUnreachable, what: fmt.Sprintf("the webhook's address %s answered %d %s to a call with a wrong signature; 401 is right, or 404 while webhooks are off", w.URL, status, http.StatusText(status)), hint: "is it this stack's? The logs of its function on-webhook are in CloudWatch"}
	}
	if s.JSON {
		return s.printDocument(w)
	}
	s.printWebhook(w)
	return nil
}

// webhookURL is beside the API, wherever that is.
func (s *session) webhookURL(ctx context.Context) (string, error) {
	if s.APIURL != "" {
		return strings.TrimRight(s.APIURL, "/") + "/webhooks/cyberun", nil
	}
	return s.stackOutput(ctx, "WebhookUrl", "--api-url (RELAY_API_URL)")
}

// knock sends what nobody signed.
func (s *session) knock(ctx context.Context, address string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader("{}"))
	if err != nil {
		return 0, nil, &failure{code: codeUsage, what: cause(err)}
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Webhook-Signature-256", forged)
	response, err := s.api.Do(request)
	if err != nil {
		return 0, nil, unreachable("the webhook's address cannot be reached", err, "check the network, and that the stack is there")
	}
	defer response.Body.Close()
	const enough = 4 << 10 // for the gateway's {"message": …}
	body, err := io.ReadAll(io.LimitReader(response.Body, enough))
	if err != nil {
		return 0, nil, unreachable("the webhook's address cannot be reached", err, "")
	}
	return response.StatusCode, body, nil
}

// fromGateway tells the gateway's 404, which means that there is no such route,
// from the function's, which has no body.
func fromGateway(body []byte) bool { return len(body) > 0 }

func (s *session) printWebhook(w webhook) {
	state := "on: a call with a wrong signature is turned away (401)"
	switch {
	case w.NoSecret:
		state = "on, but no secret is stored: every webhook is refused until step 2 is done"
	case !w.Enabled:
		state = "off: the address answers 404"
	}
	secret := cmp.Or(w.SecretARN, "ARN")
	s.print("Webhooks are %s.\n", state)
	s.print("1. At Cyberun (dashboard, webhooks) enter:")
	s.print("     URL     %s", w.URL)
	s.print("     events  %s", strings.Join(w.Events, ", "))
	s.print("2. Put the secret that Cyberun shows then (whsec_…) into AWS. Typed after this command,")
	s.print("   with Enter and Ctrl-D, it stays out of the shell's history:")
	s.print("     aws secretsmanager put-secret-value --secret-string file:///dev/stdin --secret-id %s", secret)
	if w.SecretARN == "" {
		s.print("   (ARN is the stack's output WebhookSecretArn.)")
	}
	if !w.Enabled {
		s.print("3. Switch webhooks on:")
		s.print("     sam deploy --stack-name %s --parameter-overrides WebhooksEnabled=true", s.stack())
		s.print("4. See that this command says \"on\".")
	}
}
