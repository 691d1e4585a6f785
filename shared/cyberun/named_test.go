package cyberun

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

func TestRemoteError(t *testing.T) {
	answer := func(status int) error {
		return fmt.Errorf("call: %w", &APIError{Method: "POST", Path: "/r/x", Status: status, Message: "says why"})
	}
	secret := named.Errorf(named.Unauthorized, "the secret holds no value yet")
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"400", answer(400), named.RunRejected}, {"401", answer(401), named.Unauthorized}, {"402", answer(402), named.Unavailable}, {"403", answer(403), named.FeatureNotLicensed},
		{"404", answer(404), named.Unavailable}, {"405", answer(405), named.RunRejected}, {"409", answer(409), named.Unavailable}, {"413", answer(413), named.RunRejected},
		{"415", answer(415), named.RunRejected}, {"422", answer(422), named.RunRejected}, {"429", answer(429), named.Unavailable},
		{"500", answer(500), named.Unavailable}, {"502", answer(502), named.Unavailable}, {"503", answer(503), named.Unavailable},
		{"no answer", errors.New("connection reset"), named.Unavailable},
		{"no time", context.DeadlineExceeded, named.Unavailable},
		{"the key's source", fmt.Errorf("key: %w", secret), named.Unauthorized},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := RemoteError("look at the task t", test.err)
			if e.Name != test.want || e.Hint == "" {
				t.Errorf("got %+v", e)
			}
			if e != secret && (!strings.Contains(e.Cause, "look at the task t") || !errors.Is(e, errors.Unwrap(e))) {
				t.Errorf("the cause is %q", e.Cause)
			}
		})
	}
	if e := WorkflowError("w@9", answer(http.StatusNotFound)); e.Name != named.WorkflowNotFound || !strings.Contains(e.Cause, `"w@9"`) {
		t.Errorf("a workflow that is not there: %+v", e)
	}
	if e := WorkflowError("w@9", answer(http.StatusServiceUnavailable)); e.Name != named.Unavailable || !strings.Contains(e.Cause, "w@9") {
		t.Errorf("a service that is not there: %+v", e)
	}
}
