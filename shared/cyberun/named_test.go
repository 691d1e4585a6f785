package cyberun

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// TestErrorNames: what Cyberun itself says, in a JSON object, is believed. Another
// answer is an outage, whatever its status.
func TestErrorNames(t *testing.T) {
	const unavailable, rejected = named.Unavailable, named.RunRejected
	secret := named.Errorf(named.Unauthorized, "the secret holds no value yet")
	response := func(status int, json bool) error {
		return fmt.Errorf("call: %w", &APIError{Method: "POST", Path: "/r/x", Status: status, Message: "says why", JSON: json})
	}
	type names struct{ remote, prepare, workflow, submit string }
	tests := []struct {
		name    string
		err     error
		cyberun names // by a JSON object
		others  names
	}{
		{name: "400", cyberun: names{unavailable, rejected, rejected, rejected}},
		{name: "401", cyberun: names{named.Unauthorized, named.Unauthorized, named.Unauthorized, named.Unauthorized}},
		{name: "402", cyberun: names{unavailable, unavailable, unavailable, rejected}},
		{name: "403", cyberun: names{named.FeatureNotLicensed, named.FeatureNotLicensed, named.FeatureNotLicensed, named.FeatureNotLicensed}},
		{name: "404", cyberun: names{unavailable, unavailable, named.WorkflowNotFound, named.WorkflowNotFound}},
		{name: "405", cyberun: names{unavailable, rejected, rejected, rejected}},
		{name: "409", cyberun: names{unavailable, unavailable, unavailable, unavailable}},
		{name: "413", cyberun: names{unavailable, rejected, rejected, rejected}},
		{name: "415", cyberun: names{unavailable, rejected, rejected, rejected}},
		{name: "422", cyberun: names{unavailable, rejected, rejected, rejected}},
		{name: "429", cyberun: names{unavailable, unavailable, unavailable, unavailable}},
		{name: "500", cyberun: names{unavailable, unavailable, unavailable, unavailable}},
		{name: "503", cyberun: names{unavailable, unavailable, unavailable, unavailable}},
		{name: "no answer", err: errors.New("connection reset"), cyberun: names{unavailable, unavailable, unavailable, unavailable}},
		{name: "no time", err: context.DeadlineExceeded, cyberun: names{unavailable, unavailable, unavailable, unavailable}},
		{name: "the key's source", err: fmt.Errorf("key: %w", secret), cyberun: names{secret.Name, secret.Name, secret.Name, secret.Name}, others: names{secret.Name, secret.Name, secret.Name, secret.Name}},
	}
	for _, test := range tests {
		for _, json := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, JSON %v", test.name, json), func(t *testing.T) {
				err, want := test.err, test.cyberun
				if status, convErr := strconv.Atoi(test.name); convErr == nil {
					err = response(status, json)
				}
				if !json {
					want = test.others
					if want == (names{}) {
						want = names{unavailable, unavailable, unavailable, unavailable}
					}
				}
				errs := map[string]*named.Error{
					"remote": RemoteError("ask for w@9", err), "prepare": PrepareError("announce w@9", err), "workflow": WorkflowError("w@9", err), "submit": SubmitError("w@9", err),
				}
				got := names{errs["remote"].Name, errs["prepare"].Name, errs["workflow"].Name, errs["submit"].Name}
				if got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
				for doing, e := range errs {
					if e.Hint == "" || e != secret && (!strings.Contains(e.Cause, "w@9") || !errors.Is(e, errors.Unwrap(e))) {
						t.Errorf("%s: %+v", doing, e)
					}
				}
			})
		}
	}
	if e := SubmitError("w@9", response(http.StatusPaymentRequired, true)); e.Hint != named.HintAfterPayment || !e.Redrivable() {
		t.Errorf("an unpaid account: %+v", e)
	}
}
