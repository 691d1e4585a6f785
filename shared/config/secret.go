package config

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// SecretsManager is the part of a Secrets Manager client that a [Secret] calls.
type SecretsManager interface {
	GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error)
}

// Secret is the Cyberun key, or the secret that webhooks are signed with, as Secrets
// Manager has it: plain text, or JSON {"api_key": "…"}. It is read once, and again when
// Refresh is told that the key was rejected, so that a rotated key is used without a
// deployment. It may be used by several goroutines. on-webhook uses it as its Secrets, the
// other functions as their [cyberun.KeySource]. Its errors are Unauthorized if it holds no
// key, and Unavailable if it cannot be read.
type Secret struct {
	Manager SecretsManager
	ARN     string

	mu  sync.Mutex
	key string
}

// NewSecret returns the [Secret] with this ARN, without reading it.
func NewSecret(cfg aws.Config, arn string) *Secret {
	return &Secret{Manager: secretsmanager.NewFromConfig(cfg, func(o *secretsmanager.Options) {
		o.HTTPClient = awshttp.NewBuildableClient().WithTimeout(smallCall)
	}), ARN: arn}
}

// Format prints the ARN and never the key, for every verb.
func (s *Secret) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, "secret "+s.ARN) }

// Key returns the key as it was last read. The first call reads it.
func (s *Secret) Key(ctx context.Context) (string, error) { return s.Refresh(ctx, "") }

// Refresh returns the key that is newer than rejected: the one that was read meanwhile,
// or what the secret holds now, which may be rejected again.
func (s *Secret) Refresh(ctx context.Context, rejected string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != "" && s.key != rejected {
		return s.key, nil
	}
	return s.read(ctx)
}

func (s *Secret) read(ctx context.Context) (string, error) {
	out, err := s.Manager.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &s.ARN})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
		return "", named.Errorf(named.Unauthorized, "the secret %s holds no value yet", s.ARN)
	}
	if err != nil {
		return "", named.Errorf(named.Unavailable, "Secrets Manager could not read %s: %w", s.ARN, err)
	}
	key, err := parseSecret(aws.ToString(out.SecretString))
	if err != nil {
		return "", named.Errorf(named.Unauthorized, "the secret %s %w", s.ARN, err)
	}
	s.key = key
	return key, nil
}

var (
	errNoKey   = errors.New(`holds no key: put sk-… into it, as plain text or as {"api_key": "sk-…"}`)
	errBadChar = errors.New("holds a key with blanks or other characters that no header can carry")
)

// parseSecret reads the key out of a secret's value, which the template's ApiKeySecret and
// docs/deploy.md describe. Its errors quote nothing of it,
// which is a key, or was meant as one.
func parseSecret(value string) (string, error) {
	key := strings.TrimSpace(value)
	if strings.HasPrefix(key, "{") {
		var document struct {
			APIKey string `json:"api_key"`
		}
		_ = json.Unmarshal([]byte(key), &document) // what cannot be read has no key
		key = strings.TrimSpace(document.APIKey)
	}
	if key == "" {
		return "", errNoKey
	}
	if strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", errBadChar
	}
	return key, nil
}
