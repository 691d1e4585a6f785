package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
)

type webhookCmd struct {
	SecretARN string `name:"webhook-secret-arn" env:"RELAY_WEBHOOK_SECRET_ARN" placeholder:"ARN" help:"The stack's output WebhookSecretArn. Otherwise it is looked up by the stack's name."`
}

// webhook is the document that --json prints.
type webhook struct {
	URL       string   `json:"url"`
	Events    []string `json:"events"`
	SecretARN string   `json:"secret_arn,omitempty"`
	Enabled   bool     `json:"enabled"`
	NoSecret  bool     `json:"no_secret,omitempty"` // enabled, and none is stored to check signatures with
	Status    int      `json:"status"`              // of the answer to a POST that nobody signed
}

const (
	// forged has a signature's form, or the function would not look for its secret.
	forged = "sha256=0000000000000000000000000000000000000000000000000000000000000000"
	// noSecret is the body of the function's answer when no secret is stored.
	noSecret = "no secret is stored"
)

// Run prints what to enter at Cyberun, and tries the address with a wrong signature,
// which must be turned away.
func (c *webhookCmd) Run(ctx context.Context, s *session) error {
	w := webhook{Events: []string{"task.completed", "task.failed"}} // all that Cyberun sends
	var err error
	if s.APIURL != "" {
		w.URL = strings.TrimRight(s.APIURL, "/") + "/webhooks/cyberun" // beside the API, wherever that is
	} else if w.URL, err = s.stackOutput(ctx, "WebhookUrl", "--api-url (RELAY_API_URL)"); err != nil {
		return err
	}
	w.SecretARN = cmp.Or(c.SecretARN, s.outputs["WebhookSecretArn"])
	status, body, err := probeWebhook(ctx, s.app.api, w.URL)
	if err != nil {
		return err
	}
	w.NoSecret = status == http.StatusServiceUnavailable && string(body) == noSecret
	w.Status, w.Enabled = status, status == http.StatusUnauthorized || w.NoSecret
	off := status == http.StatusNotFound && len(body) == 0 // the gateway's, for a route that is not there, has a body
	if !w.Enabled && !off {
		return &failure{code: codeUnreachable, what: fmt.Sprintf("the webhook's address %s answered %d %s to a call with a wrong signature; 401 is right, or 404 while webhooks are off", w.URL, status, http.StatusText(status)), hint: "is it this stack's? The logs of its function on-webhook are in CloudWatch"}
	}
	if s.JSON {
		return s.console.document(w)
	}
	s.console.webhook(w, s.Stack)
	return nil
}

// probeWebhook posts an empty event with a wrong signature, and returns the answer's
// status and the beginning of its body.
func probeWebhook(ctx context.Context, api *http.Client, address string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader("{}"))
	if err != nil {
		return 0, nil, &failure{code: codeUsage, what: withoutURL(err)}
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Webhook-Signature-256", forged)
	const enough = 4 << 10 // for the gateway's {"message": …}
	response, body, err := exchange(api, request, enough)
	if err != nil {
		return 0, nil, unreachable("the webhook's address cannot be reached", err, "check the network, and that the stack is there")
	}
	return response.StatusCode, body, nil
}

// webhook prints what to do, step by step, to have webhooks.
func (c *console) webhook(w webhook, stack string) {
	state := "on: a call with a wrong signature is turned away (401)"
	switch {
	case w.NoSecret:
		state = "on, but no secret is stored: every webhook is refused until step 2 is done"
	case !w.Enabled:
		state = "off: the address answers 404"
	}
	c.resultf(`Webhooks are %s.

1. At Cyberun (dashboard, webhooks) enter:
     URL     %s
     events  %s
2. Put the secret that Cyberun shows then (whsec_…) into AWS. Typed after this command,
   with Enter and Ctrl-D, it stays out of the shell's history:
     aws secretsmanager put-secret-value --secret-string file:///dev/stdin --secret-id %s`, state, w.URL, strings.Join(w.Events, ", "), cmp.Or(w.SecretARN, "ARN"))
	if w.SecretARN == "" {
		c.resultf("   (ARN is the stack's output WebhookSecretArn.)")
	}
	if !w.Enabled {
		c.resultf(`3. Switch webhooks on:
     sam deploy --stack-name %s --parameter-overrides WebhooksEnabled=true
4. See that this command says "on".`, stack)
	}
}
