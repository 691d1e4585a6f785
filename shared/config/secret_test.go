package config

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

const arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:key"

// vault is Secrets Manager with one secret.
type vault struct {
	mu    sync.Mutex
	value *string
	err   error
	reads int
	asked string
}

func (v *vault) GetSecretValue(_ context.Context, in *secretsmanager.GetSecretValueInput, _ ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.reads++
	v.asked = *in.SecretId
	if v.err != nil {
		return nil, v.err
	}
	return &secretsmanager.GetSecretValueOutput{SecretString: v.value}, nil
}

func (v *vault) put(value string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.value, v.err = &value, nil
}

func TestSecretReads(t *testing.T) {
	tests := []struct{ name, value, want string }{
		{"plain", "sk-local-1", "sk-local-1"},
		{"a line end, as editors and pipes leave one", "sk-local-1\r\n", "sk-local-1"},
		{"blanks", " \tsk-local-1 ", "sk-local-1"},
		{"JSON", `{"api_key": "sk-local-1"}`, "sk-local-1"},
		{"JSON with blanks", " \n{ \"api_key\" : \" sk-local-1\\n\", \"note\": 7 }\n", "sk-local-1"},
		{"another kind of key", "dk-local-1", "dk-local-1"},
		{"a webhook's", "whsec_local+/=", "whsec_local+/="},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := &vault{value: &test.value}
			s := &Secret{Manager: v, ARN: arn}
			for range 3 {
				if got, err := s.Key(t.Context()); err != nil || got != test.want {
					t.Errorf("got %q, %v", got, err)
				}
			}
			if v.reads != 1 || v.asked != arn {
				t.Errorf("read %d times from %s", v.reads, v.asked)
			}
		})
	}
}

// What was put into the secret is a key, or was meant as one: whatever is wrong
// with it, nothing of it is told.
func TestSecretFaults(t *testing.T) {
	tests := []struct {
		name  string
		value *string
		err   error
		want  string
		says  string
	}{
		{name: "never filled in", err: &types.ResourceNotFoundException{}, want: named.Unauthorized, says: "holds no value yet"},
		{name: "binary", want: named.Unauthorized, says: "holds no key"},
		{name: "empty", value: aws.String(""), want: named.Unauthorized, says: "holds no key"},
		{name: "blanks", value: aws.String(" \n"), want: named.Unauthorized, says: "holds no key"},
		{name: "an empty object", value: aws.String("{}"), want: named.Unauthorized, says: "holds no key"},
		{name: "another field", value: aws.String(`{"key":"hidden-part"}`), want: named.Unauthorized, says: "holds no key"},
		{name: "a field that is no string", value: aws.String(`{"api_key":["hidden-part"]}`), want: named.Unauthorized, says: "holds no key"},
		{name: "an empty field", value: aws.String(`{"api_key":" ","x":"hidden-part"}`), want: named.Unauthorized, says: "holds no key"},
		{name: "broken JSON", value: aws.String(`{"api_key":"hidden-part"`), want: named.Unauthorized, says: "holds no key"},
		{name: "two words", value: aws.String("sk-hidden part"), want: named.Unauthorized, says: "blanks or other characters"},
		{name: "two lines", value: aws.String("sk-hidden\nX-Team-ID: part"), want: named.Unauthorized, says: "blanks or other characters"},
		{name: "a line end within JSON", value: aws.String(`{"api_key":"sk-hidden\npart"}`), want: named.Unauthorized, says: "blanks or other characters"},
		{name: "an umlaut", value: aws.String("sk-hidden-pärt"), want: named.Unauthorized, says: "blanks or other characters"},
		{name: "not text", value: aws.String("sk-hidden-\x00\xff"), want: named.Unauthorized, says: "blanks or other characters"},
		{name: "no right to it", err: errors.New("AccessDeniedException"), want: named.Unavailable, says: "could not read"},
		{name: "out of time", err: context.DeadlineExceeded, want: named.Unavailable, says: "could not read"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := &vault{value: test.value, err: test.err}
			s := &Secret{Manager: v, ARN: arn}
			_, err := s.Key(t.Context())
			if !named.Is(err, test.want) || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), arn) {
				t.Fatalf("got %v", err)
			}
			for _, part := range []string{"hidden", "part", "pärt"} {
				if strings.Contains(err.Error(), part) {
					t.Errorf("it tells of the value: %v", err)
				}
			}
			if test.err == context.DeadlineExceeded && !errors.Is(err, context.DeadlineExceeded) {
				t.Error("what it wraps is lost")
			}
			// Once it is put right, the next call reads it: a failure is not kept.
			v.put("sk-local-2")
			if got, err := s.Key(t.Context()); err != nil || got != "sk-local-2" {
				t.Errorf("put right: %q, %v", got, err)
			}
		})
	}
}

func TestSecretRotation(t *testing.T) {
	v := &vault{}
	v.put("sk-local-1")
	s := &Secret{Manager: v, ARN: arn}
	if got, err := s.Key(t.Context()); err != nil || got != "sk-local-1" {
		t.Fatalf("got %q, %v", got, err)
	}
	v.put("sk-local-2")
	if got, _ := s.Key(t.Context()); got != "sk-local-1" {
		t.Errorf("read again without need: %q", got)
	}
	if got, err := s.Refresh(t.Context(), "sk-local-1"); err != nil || got != "sk-local-2" {
		t.Errorf("after a 401: %q, %v", got, err)
	}
	reads := v.reads
	if got, err := s.Refresh(t.Context(), "sk-local-1"); err != nil || got != "sk-local-2" || v.reads != reads {
		t.Errorf("a late 401 of the old key: %q, %v, read again %v", got, err, v.reads != reads)
	}
	if got, err := s.Refresh(t.Context(), "sk-local-2"); err != nil || got != "sk-local-2" || v.reads != reads+1 {
		t.Errorf("a 401 of the key that stands: %q, %v", got, err)
	}
	v.err = errors.New("throttled")
	if _, err := s.Refresh(t.Context(), "sk-local-2"); !named.Is(err, named.Unavailable) {
		t.Errorf("while the vault is away: %v", err)
	}
	if got, err := s.Key(t.Context()); err != nil || got != "sk-local-2" {
		t.Errorf("after it: %q, %v", got, err)
	}
}

// Of twenty outputs under way that all get a 401, one reads the secret anew.
func TestSecretConcurrently(t *testing.T) {
	v := &vault{}
	v.put("sk-local-1")
	s := &Secret{Manager: v, ARN: arn}
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			key, err := s.Key(context.Background())
			if err != nil || key != "sk-local-1" && key != "sk-local-2" {
				t.Errorf("got %q, %v", key, err)
			}
		})
	}
	group.Wait()
	if v.reads != 1 {
		t.Errorf("read %d times", v.reads)
	}
	v.put("sk-local-2")
	for range 20 {
		group.Go(func() {
			if key, err := s.Refresh(context.Background(), "sk-local-1"); err != nil || key != "sk-local-2" {
				t.Errorf("got %q, %v", key, err)
			}
		})
	}
	group.Wait()
	if v.reads != 2 {
		t.Errorf("read %d times", v.reads)
	}
}

func TestSecretPrintsNoKey(t *testing.T) {
	v := &vault{}
	v.put("sk-local-hidden")
	s := &Secret{Manager: v, ARN: arn}
	if _, err := s.Key(t.Context()); err != nil {
		t.Fatal(err)
	}
	v.value = nil // the fake would print it
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s)
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	handler := struct{ Keys *Secret }{s}
	for _, text := range []string{log.String(), string(raw), fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q %x", s, s, s, s, s, s), fmt.Sprintf("%+v", handler)} {
		if strings.Contains(text, "hidden") || strings.Contains(text, fmt.Sprintf("%x", "hidden")) {
			t.Errorf("the key stands in %s", text)
		}
	}
}

func FuzzSecret(f *testing.F) {
	for _, s := range []string{"sk-local-1", `{"api_key":"sk-local-1"}`, `{"api_key":null}`, "{", "", "a b", "\xff", `{"API_KEY":"x"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		key, err := parseSecret(value)
		switch {
		case err != nil && err != errNoKey && err != errBadChar:
			t.Fatalf("an error that may tell of the value: %v", err)
		case err == nil && (key == "" || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' })):
			t.Fatalf("the key %q", key)
		}
	})
}
