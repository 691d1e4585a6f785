package config

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// The settings of each function: the environment variables that template.yaml gives to
// it, by the names in the tags. A test in local/stack compares the two.
type (
	// API holds the settings of functions/api.
	API struct {
		Cyberun
		StateStore
		OutputTarget
		StateMachine
	}
	// CallContainer holds the settings of functions/call-container.
	CallContainer struct{ Cyberun }
	// CloseRun holds the settings of functions/close-run.
	CloseRun struct {
		Cyberun
		StateStore
		OutputTarget
		StateMachine
	}
	// CopyResult holds the settings of functions/copy-result.
	CopyResult struct {
		Cyberun
		StateStore
		Lambda
		DownloadHosts Hosts `env:"DOWNLOAD_HOSTS"` // as Hosts of transfer.Policy; none: any public host
	}
	// OnUpload holds the settings of functions/on-upload.
	OnUpload struct{ StateMachine }
	// OnWebhook holds the settings of functions/on-webhook.
	OnWebhook struct {
		StateStore
		Webhooks
		SecretARN string `env:"WEBHOOK_SECRET_ARN,notEmpty"` // the ARN of the secret that webhooks are signed with
	}
	// PollStatus holds the settings of functions/poll-status.
	PollStatus struct {
		Cyberun
		StateStore
		Webhooks
		Hold Hold `env:"HOLD_SECONDS" envDefault:"30"` // how long after the run got its task polls follow the task's event stream; each later poll follows it for 1 s; 0: none does
	}
	// Submit holds the settings of functions/submit.
	Submit struct {
		Cyberun
		StateStore
		OutputTarget
		Lambda
		DoubtPolicy string `env:"IN_DOUBT" envDefault:"verify"` // what submit may do after a lost reply: verify, absent-only or stop
	}
)

// Cyberun says where Cyberun's runtime API is, and with which key it is called.
type Cyberun struct {
	BaseURL         string `env:"CYBERUN_BASE_URL,notEmpty"`   // such as https://core.cyberun.cloud/api/v1
	APIKeySecretARN string `env:"API_KEY_SECRET_ARN,notEmpty"` // the ARN of the key's secret
	AllowInsecure   bool   `env:"ALLOW_INSECURE_ORIGINS"`      // allows plain http and loopback addresses, for the local stack
}

// Validate returns an error for an address of the runtime API that is not https, or
// http with AllowInsecure. The error does not quote it, since it may have a password in
// it.
func (s Cyberun) Validate() error {
	u, err := url.Parse(s.BaseURL)
	switch {
	case s.BaseURL == "": // reported as missing
		return nil
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("CYBERUN_BASE_URL is not an http(s) address")
	case u.Scheme == "http" && !s.AllowInsecure:
		return errors.New("CYBERUN_BASE_URL would send the key unencrypted: use https")
	}
	return nil
}

// StateStore has the name of the bucket in which the runs' state is kept.
type StateStore struct {
	StateBucket string `env:"STATE_BUCKET,notEmpty"`
}

// OutputTarget says where the runs' outputs go.
type OutputTarget struct {
	OutputBucket string `env:"OUTPUT_BUCKET,notEmpty"`
	OutputPrefix string `env:"OUTPUT_PREFIX"` // the beginning of every key; may be empty
}

// StateMachine has the ARN of the state machine whose executions are the runs.
type StateMachine struct {
	StateMachineARN string `env:"STATE_MACHINE_ARN,notEmpty"`
}

// Webhooks says whether Cyberun reports the end of a task by a webhook.
type Webhooks struct {
	Enabled bool `env:"WEBHOOKS_ENABLED"`
}

// Lambda has the variables that Lambda sets, and not the template.
type Lambda struct {
	LambdaRuntimeAPI string `env:"AWS_LAMBDA_RUNTIME_API"` // host and port of Lambda's runtime API, which no fetched address may lead to
}

// maxHold is the template's MaxValue of HoldSeconds: the time-out of poll-status
// leaves room above it.
const maxHold = 300

// Hold is a duration that the environment has in whole seconds, from 0 to 300.
type Hold time.Duration

// UnmarshalText reads a number of seconds.
func (h *Hold) UnmarshalText(text []byte) error {
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 0 || n > maxHold {
		return fmt.Errorf("%q is not a number of seconds from 0 to %d", text, maxHold)
	}
	*h = Hold(time.Duration(n) * time.Second)
	return nil
}

// Hosts is a list that the environment has with commas between its items.
type Hosts []string

// UnmarshalText reads the list. It leaves out blanks around items, and empty items.
func (h *Hosts) UnmarshalText(text []byte) error {
	for item := range strings.SplitSeq(string(text), ",") {
		if item = strings.TrimSpace(item); item != "" {
			*h = append(*h, item)
		}
	}
	return nil
}

// Read fills the fields of the struct that settings points to from the variables that
// their env tags name. environment has the variables; nil is that of the process. A
// variable that is not set, or is empty, leaves its field as it was. The error names
// every variable that is missing or cannot be read, and has the error of the struct's
// method Validate, if it has one.
func Read[S any](settings *S, environment map[string]string) error {
	var faults []error
	if err := env.ParseWithOptions(settings, env.Options{Environment: environment}); err != nil {
		list, ok := errors.AsType[env.AggregateError](err)
		if !ok {
			return err
		}
		faults = list.Errors
	}
	for i, fault := range faults {
		switch fault := fault.(type) {
		case env.EmptyVarError:
			faults[i] = fmt.Errorf("%s is not set", fault.Key)
		case env.ParseError: // it names the field, which nobody who deploys has seen
			field, _ := reflect.TypeFor[S]().FieldByName(fault.Name)
			name, _, _ := strings.Cut(field.Tag.Get("env"), ",")
			faults[i] = fmt.Errorf("%s: %w", name, fault.Err)
		}
	}
	if v, ok := any(*settings).(interface{ Validate() error }); ok {
		faults = append(faults, v.Validate())
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("the function's environment: %w", err)
	}
	return nil
}
