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

// The settings of each function: what template.yaml gives to it, by the names in
// the tags. A test in local/stack holds the two to each other.
type (
	// API holds the settings of functions/api.
	API struct {
		Cyberun
		State
		Outputs
		StateMachine
	}
	// CallContainer holds the settings of functions/call-container.
	CallContainer struct{ Cyberun }
	// CloseRun holds the settings of functions/close-run.
	CloseRun struct {
		Cyberun
		State
		Outputs
		StateMachine
	}
	// CopyResult holds the settings of functions/copy-result.
	CopyResult struct {
		Cyberun
		State
		Lambda
		DownloadHosts Hosts `env:"DOWNLOAD_HOSTS"` // patterns of hosts that downloads may come from; none: any public one
	}
	// OnUpload holds the settings of functions/on-upload.
	OnUpload struct{ StateMachine }
	// OnWebhook holds the settings of functions/on-webhook.
	OnWebhook struct {
		State
		Webhooks
		Secret string `env:"WEBHOOK_SECRET_ARN,notEmpty"` // the ARN of the secret that webhooks are signed with
	}
	// PollStatus holds the settings of functions/poll-status.
	PollStatus struct {
		Cyberun
		State
		Webhooks
		Hold Hold `env:"HOLD_SECONDS" envDefault:"30"` // how long a task's event stream is held after the submission
	}
	// Submit holds the settings of functions/submit.
	Submit struct {
		Cyberun
		State
		Outputs
		Lambda
		InDoubt string `env:"IN_DOUBT" envDefault:"verify"` // what becomes of a run whose submission may have started a task: verify, absent-only or stop
	}
)

// Cyberun says where the runtime API is, and with which key it is called.
type Cyberun struct {
	BaseURL       string `env:"CYBERUN_BASE_URL,notEmpty"`   // such as https://core.cyberun.cloud/api/v1
	APIKeySecret  string `env:"API_KEY_SECRET_ARN,notEmpty"` // the ARN of the key's secret
	AllowInsecure bool   `env:"ALLOW_INSECURE_ORIGINS"`      // lets plain http and loopback addresses be called: for the local stack
}

// Validate checks the address of the runtime API, which the error does not quote:
// somebody may have put a password into it.
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

// State names the bucket of the runs' state.
type State struct {
	StateBucket string `env:"STATE_BUCKET,notEmpty"`
}

// Outputs say where the runs' outputs go.
type Outputs struct {
	OutputBucket string `env:"OUTPUT_BUCKET,notEmpty"`
	OutputPrefix string `env:"OUTPUT_PREFIX"` // before every key; may be empty
}

// StateMachine names the state machine whose executions are the runs.
type StateMachine struct {
	StateMachineARN string `env:"STATE_MACHINE_ARN,notEmpty"`
}

// Webhooks say whether Cyberun reports the end of a task by a webhook.
type Webhooks struct {
	Enabled bool `env:"WEBHOOKS_ENABLED"`
}

// Lambda holds the variables that the platform sets, not the template.
type Lambda struct {
	RuntimeAPI string `env:"AWS_LAMBDA_RUNTIME_API"` // the host and port that no remote may lead a call to
}

// maxHold is the template's MaxValue of HoldSeconds: the time-out of poll-status
// leaves room above it.
const maxHold = 300

// Hold is a duration that the environment has in whole seconds, from 0 to 300.
type Hold time.Duration

// UnmarshalText reads the seconds.
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

// UnmarshalText reads the list. Blanks around an item, and empty items, are left out.
func (h *Hosts) UnmarshalText(text []byte) error {
	for item := range strings.SplitSeq(string(text), ",") {
		if item = strings.TrimSpace(item); item != "" {
			*h = append(*h, item)
		}
	}
	return nil
}

// Read fills the fields of the struct that settings points to from the variables
// that their env tags name; nil reads the process's own environment. A variable
// that is not set, or empty, leaves its field as it was. The error names every
// variable that is missing or cannot be read, and what Validate says if the
// struct has that method.
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
