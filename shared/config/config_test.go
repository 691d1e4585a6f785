package config

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/google/go-cmp/cmp"
)

func env(settings map[string]string) *Env {
	return &Env{Lookup: func(name string) (string, bool) {
		value, ok := settings[name]
		return value, ok
	}}
}

func TestSettings(t *testing.T) {
	type read struct {
		String, Optional, URL, Choice string
		Bool                          bool
		Hold, Duration                time.Duration
		List                          []string
	}
	all := func(e *Env) read {
		return read{
			String: e.String("NAME"), Optional: e.Optional("MAYBE", "otherwise"), URL: e.URL("ADDRESS"), Choice: e.Choice("WHICH", "verify", "stop"),
			Bool: e.Bool("SWITCH"), Hold: e.Seconds("HOLD", 30, 60), Duration: e.Duration("WAIT", 25*time.Second), List: e.List("HOSTS"),
		}
	}
	tests := []struct {
		name     string
		settings map[string]string
		want     read
	}{
		{"only what must be there", map[string]string{"NAME": "n", "ADDRESS": "https://core.cyberun.cloud/api/v1"},
			read{String: "n", Optional: "otherwise", URL: "https://core.cyberun.cloud/api/v1", Choice: "verify", Hold: 30 * time.Second, Duration: 25 * time.Second}},
		{"everything", map[string]string{"NAME": "n", "MAYBE": "m", "ADDRESS": "http://127.0.0.1:8080/api/v1//", "WHICH": "stop", "SWITCH": "true", "HOLD": "0", "WAIT": "1ms", "HOSTS": " a.example , ,*.b.example:8443,"},
			read{String: "n", Optional: "m", URL: "http://127.0.0.1:8080/api/v1", Choice: "stop", Bool: true, Duration: time.Millisecond, List: []string{"a.example", "*.b.example:8443"}}},
		{"empty settings are those of nobody", map[string]string{"NAME": "n", "ADDRESS": "https://a", "MAYBE": "", "WHICH": "", "SWITCH": "", "HOLD": "", "WAIT": "", "HOSTS": ""},
			read{String: "n", Optional: "otherwise", URL: "https://a", Choice: "verify", Hold: 30 * time.Second, Duration: 25 * time.Second}},
		{"the bounds", map[string]string{"NAME": "n", "ADDRESS": "https://a", "HOLD": "60", "WAIT": "0"},
			read{String: "n", Optional: "otherwise", URL: "https://a", Choice: "verify", Hold: time.Minute}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := env(test.settings)
			got := all(e)
			if err := e.Err(); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBadSettings(t *testing.T) {
	tests := []struct {
		name, value string
		read        func(e *Env)
		want        string
	}{
		{"a name that is not set", "", func(e *Env) { e.String("X") }, "X is not set"},
		{"an address that is not set", "", func(e *Env) { e.URL("X") }, "X is not set"},
		{"an address of slashes", "///", func(e *Env) { e.URL("X") }, `X="///" is not an http(s) address`},
		{"a host alone", "core.cyberun.cloud", func(e *Env) { e.URL("X") }, `X="core.cyberun.cloud" is not an http(s) address`},
		{"another scheme", "ftp://a/b", func(e *Env) { e.URL("X") }, "is not an http(s) address"},
		{"no host", "https:///b", func(e *Env) { e.URL("X") }, "is not an http(s) address"},
		{"a broken escape", "https://a/%zz", func(e *Env) { e.URL("X") }, "is not an http(s) address"},
		{"yes for true", "yes", func(e *Env) { e.Bool("X") }, `X="yes" is neither true nor false`},
		{"below 0 seconds", "-1", func(e *Env) { e.Seconds("X", 1, 60) }, `X="-1" is not a number of seconds from 0 to 60`},
		{"too many seconds", "61", func(e *Env) { e.Seconds("X", 1, 60) }, "from 0 to 60"},
		{"half a second", "0.5", func(e *Env) { e.Seconds("X", 1, 60) }, "from 0 to 60"},
		{"seconds with a unit", "30s", func(e *Env) { e.Seconds("X", 1, 60) }, "from 0 to 60"},
		{"seconds beyond an int", "99999999999999999999", func(e *Env) { e.Seconds("X", 1, 60) }, "from 0 to 60"},
		{"a duration without a unit", "25", func(e *Env) { e.Duration("X", 0) }, `X="25" is not a duration`},
		{"a duration below 0", "-1s", func(e *Env) { e.Duration("X", 0) }, "is not a duration"},
		{"another word", "Verify", func(e *Env) { e.Choice("X", "verify", "stop") }, `X="Verify" is not one of verify, stop`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := env(map[string]string{"X": test.value})
			test.read(e)
			err := e.Err()
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "X") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A function with three wrong settings is deployed once more, not three times.
func TestEveryBadSettingIsToldAtOnce(t *testing.T) {
	e := env(map[string]string{"ADDRESS": "x", "SWITCH": "maybe", "HOLD": "-", "WAIT": "-", "WHICH": "-"})
	e.String("NAME")
	e.URL("ADDRESS")
	e.Bool("SWITCH")
	e.Seconds("HOLD", 1, 2)
	e.Duration("WAIT", 0)
	e.Choice("WHICH", "a")
	client := e.Cyberun(aws.Config{})
	runs := e.Runs(aws.Config{}, client, nil)
	if client == nil || runs == nil {
		t.Fatal("a client is missing")
	}
	err := e.Err()
	if err == nil {
		t.Fatal("no error")
	}
	for _, name := range []string{"NAME", "ADDRESS", "SWITCH", "HOLD", "WAIT", "WHICH", "CYBERUN_BASE_URL", "API_KEY_SECRET_ARN", "STATE_BUCKET"} {
		if strings.Count(err.Error(), name) != 1 {
			t.Errorf("%s is told %d times: %v", name, strings.Count(err.Error(), name), err)
		}
	}
}

func TestClients(t *testing.T) {
	e := env(map[string]string{"CYBERUN_BASE_URL": "https://core.cyberun.cloud/api/v1/", "API_KEY_SECRET_ARN": "arn:secret", "STATE_BUCKET": "state"})
	client := e.Cyberun(aws.Config{})
	outputs := S3(aws.Config{})
	runs := e.Runs(aws.Config{}, client, outputs)
	if err := e.Err(); err != nil {
		t.Fatal(err)
	}
	if client.BaseURL != "https://core.cyberun.cloud/api/v1" || client.Keys.(*Secret).ARN != "arn:secret" || runs.Store.Bucket != "state" || runs.Store.NoPause {
		t.Errorf("got %+v, %+v", client, runs)
	}
	if runs.Cyberun != client || runs.Outputs != outputs || runs.Executions == nil || runs.Now == nil || runs.Sleep == nil || runs.NewID == nil {
		t.Errorf("a verb of the runs would find nothing: %+v", runs)
	}
	if first, second := NewID(), NewID(); first == "" || first == second {
		t.Errorf("ids %q and %q", first, second)
	}
}

// A key is sent over https alone, but for the local stack.
func TestInsecureBase(t *testing.T) {
	for allowed, fine := range map[string]bool{"": false, "false": false, "true": true} {
		e := env(map[string]string{"CYBERUN_BASE_URL": "http://127.0.0.1:8080", "API_KEY_SECRET_ARN": "arn", "ALLOW_INSECURE_ORIGINS": allowed})
		e.Cyberun(aws.Config{})
		if err := e.Err(); fine != (err == nil) || err != nil && !strings.Contains(err.Error(), "unencrypted") {
			t.Errorf("%q: %v", allowed, err)
		}
	}
}

// A call with a small body has 5 s a try: a connection that answers nothing must
// not hold a step until Lambda ends it. A stream has its caller's time.
func TestSmallCallsEnd(t *testing.T) {
	for name, client := range map[string]any{"S3": S3(aws.Config{}).Options().HTTPClient, "Step Functions": StepFunctions(aws.Config{}).Options().HTTPClient} {
		if timed, ok := client.(*awshttp.BuildableClient); !ok || timed.GetTimeout() != 5*time.Second {
			t.Errorf("%s: %+v", name, client)
		}
	}
	if timed, ok := S3Streams(aws.Config{}).Options().HTTPClient.(*awshttp.BuildableClient); ok && timed.GetTimeout() != 0 {
		t.Errorf("a stream has %s", timed.GetTimeout())
	}
}

func TestTheProcessOwnEnvironment(t *testing.T) {
	t.Setenv("CYBERUN_RELAY_TEST", "here")
	var e Env
	if got := e.String("CYBERUN_RELAY_TEST"); got != "here" || e.Err() != nil {
		t.Errorf("got %q, %v", got, e.Err())
	}
}

// The SDK's configuration comes from the environment that Lambda sets, and from
// nothing on the machine.
func TestAWS(t *testing.T) {
	none := t.TempDir() + "/none"
	for name, value := range map[string]string{
		"AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none, "AWS_PROFILE": "",
		"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local",
	} {
		t.Setenv(name, value)
	}
	cfg, err := AWS(t.Context())
	if err != nil || cfg.Region != "eu-central-1" {
		t.Errorf("region %q, %v", cfg.Region, err)
	}
	if S3(cfg).Options().Region != "eu-central-1" {
		t.Error("the S3 client has another region")
	}
	t.Setenv("AWS_RETRY_MODE", "for ever")
	if _, err := AWS(t.Context()); err == nil || !strings.Contains(err.Error(), "load the AWS configuration") {
		t.Errorf("got %v", err)
	}
}
