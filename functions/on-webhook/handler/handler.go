// Package handler answers Cyberun's webhooks: it checks their signature and resumes the
// run that waits for the task.
package handler

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/httpapi"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// Secrets has the secret that webhooks are signed with. Refresh reads it again after
// rejected did not match a signature.
type Secrets interface {
	Key(ctx context.Context) (secret string, err error)
	Refresh(ctx context.Context, rejected string) (string, error)
}

// Runs finds the run that delivers a task, and its task token.
type Runs interface {
	TaskToken(ctx context.Context, taskID string) (runID, token string, err error)
}

// Resumer resumes an execution that waits for a webhook, by its task token.
type Resumer interface {
	Resume(ctx context.Context, token string) error
}

// Handler checks a webhook and resumes the run that waits for it. Nothing depends on
// it: poll-status reads the task itself, and where no webhook resumes a run the
// time-out of the state AwaitWebhook does.
type Handler struct {
	Enabled bool // webhooks are set up; else every request gets a 404
	Secrets Secrets
	Runs    Runs
	Resumer Resumer
	Log     *slog.Logger
	Now     func() time.Time

	mu          sync.Mutex
	refreshed   time.Time // when the secret was last read again
	unrefreshed error     // why it could not be read then; nil: it could
	unread      error     // why the secret could not be read at failedAt; nil: it could
	failedAt    time.Time // when it was last asked for, if unread
}

const (
	signatureHeader = "X-Webhook-Signature-256"
	signaturePrefix = "sha256="
	// maxBody bounds what is hashed: a task's output is a few KiB.
	maxBody = 1 << 20
	// refreshEvery bounds how often forged signatures make us read the secret, be
	// there one or none: each read is paid for, and the route is open to the world.
	refreshEvery = time.Minute

	// noSecret is the body by which `relay webhook` knows that the secret is still to
	// be stored, and Secrets Manager not away.
	noSecret = "no secret is stored"
)

// Handle answers 204 to a webhook with a valid signature and the id of a task, also if
// no run waits for that task: after any other answer Cyberun sends the webhook again.
// It answers 404 if webhooks are off, 400 to a body that it cannot read, 401 to a wrong
// signature, and 503 if it could not read the secret or resume the run. It never
// returns an error.
func (h *Handler) Handle(ctx context.Context, r httpapi.Request) (httpapi.Response, error) {
	defer observe.LogPanic(ctx, h.Log)
	if !h.Enabled {
		return answer(http.StatusNotFound), nil
	}
	body, err := httpapi.Body(r)
	if err != nil || len(body) > maxBody {
		return answer(http.StatusBadRequest), nil
	}
	given, _ := httpapi.Header(r, signatureHeader)
	signed, err := h.signed(ctx, given, body)
	if err != nil {
		h.Log.ErrorContext(ctx, "the webhook secret cannot be read", "cause", err.Error())
		unready := answer(http.StatusServiceUnavailable) // Cyberun tries again
		if named.Is(err, named.Unauthorized) {
			unready.Body = noSecret
		}
		return unready, nil
	}
	if !signed {
		h.Log.WarnContext(ctx, "refused: the signature is wrong")
		return answer(http.StatusUnauthorized), nil
	}
	var got struct {
		TaskID string `json:"task_id"`
	}
	if json.Unmarshal(body, &got) != nil || !run.ValidTaskID(got.TaskID) {
		return answer(http.StatusBadRequest), nil
	}
	runID, err := h.resume(ctx, got.TaskID)
	log := h.Log.With("task_id", got.TaskID)
	if runID != "" {
		log = log.With(observe.RunID, runID)
	}
	switch {
	case err != nil:
		log.WarnContext(ctx, "not resumed", "cause", err.Error())
		return answer(http.StatusServiceUnavailable), nil
	case runID != "":
		log.InfoContext(ctx, "resumed")
	}
	return answer(http.StatusNoContent), nil
}

// resume resumes the run that delivers the task, and returns the run's id. It does
// nothing, and returns no id, for a task of another stack, or of a run that does not
// wait for a webhook yet: such a run reads its task first.
func (h *Handler) resume(ctx context.Context, taskID string) (runID string, err error) {
	runID, token, err := h.Runs.TaskToken(ctx, taskID)
	if err != nil {
		return runID, err
	}
	if token == "" {
		return "", nil
	}
	return runID, h.Resumer.Resume(ctx, token)
}

// signed reports whether a body has the signature that the header holds, compared
// in constant time. After a wrong signature the secret is read again, at most once
// in refreshEvery: it may have been rotated.
func (h *Handler) signed(ctx context.Context, header string, body []byte) (bool, error) {
	given, ok := strings.CutPrefix(header, signaturePrefix)
	mac, err := hex.DecodeString(given)
	if !ok || err != nil || len(mac) != sha256.Size {
		return false, nil
	}
	secret, err := h.secret(ctx)
	if err != nil {
		return false, err
	}
	if matches(secret, body, mac) {
		return true, nil
	}
	again, err := h.refresh(ctx, secret)
	if err != nil {
		return false, err
	}
	return again != secret && matches(again, body, mac), nil
}

// secret returns the webhooks' secret. After a failure to read it, the same error is
// returned for refreshEvery without another read: anybody can send a webhook, and a secret
// that was never stored is not cached. A read for which the call had no time is no such
// failure.
func (h *Handler) secret(ctx context.Context) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.unread != nil && h.Now().Sub(h.failedAt) < refreshEvery {
		return "", h.unread
	}
	secret, err := h.Secrets.Key(ctx)
	if ctx.Err() == nil {
		h.unread, h.failedAt = err, h.Now()
	}
	return secret, err
}

// refresh returns the secret that is to be used after one did not match a signature: the
// secret as it is read again, or, if it was read again less than refreshEvery ago, the
// rejected one, with the error of that read if it failed.
func (h *Handler) refresh(ctx context.Context, rejected string) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.Now().Sub(h.refreshed) < refreshEvery {
		return rejected, h.unrefreshed
	}
	again, err := h.Secrets.Refresh(ctx, rejected)
	if ctx.Err() == nil {
		h.refreshed, h.unrefreshed = h.Now(), err
	}
	return again, err
}

func matches(secret string, body, mac []byte) bool {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write(body)
	return hmac.Equal(m.Sum(nil), mac)
}

func answer(status int) httpapi.Response { return httpapi.Response{StatusCode: status} }
