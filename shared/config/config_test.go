package config

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/google/go-cmp/cmp"
)

// every has one field of each kind that the functions read.
type every struct {
	Cyberun
	OutputTarget
	Hosts Hosts         `env:"HOSTS"`
	Hold  Hold          `env:"HOLD" envDefault:"30"`
	Wait  time.Duration `env:"WAIT"`
}

func TestRead(t *testing.T) {
	const base = "https://core.cyberun.cloud/api/v1"
	required := map[string]string{"CYBERUN_BASE_URL": base, "API_KEY_SECRET_ARN": "arn", "OUTPUT_BUCKET": "b"}
	tests := []struct {
		name        string
		environment map[string]string
		want        every
	}{
		{name: "only what must be there",
			want: every{Cyberun: Cyberun{BaseURL: base, APIKeySecretARN: "arn"}, OutputTarget: OutputTarget{OutputBucket: "b"}, Hold: Hold(30 * time.Second), Wait: 25 * time.Second}},
		{name: "everything",
			environment: map[string]string{"ALLOW_INSECURE_ORIGINS": "true", "OUTPUT_PREFIX": "p/", "HOSTS": " a.example , ,*.b.example:8443,", "HOLD": "300", "WAIT": "1ms"},
			want: every{Cyberun: Cyberun{BaseURL: base, APIKeySecretARN: "arn", AllowInsecure: true}, OutputTarget: OutputTarget{OutputBucket: "b", OutputPrefix: "p/"},
				Hosts: Hosts{"a.example", "*.b.example:8443"}, Hold: Hold(300 * time.Second), Wait: time.Millisecond}},
		{name: "empty is not set",
			environment: map[string]string{"ALLOW_INSECURE_ORIGINS": "", "OUTPUT_PREFIX": "", "HOSTS": "", "HOLD": "", "WAIT": ""},
			want:        every{Cyberun: Cyberun{BaseURL: base, APIKeySecretARN: "arn"}, OutputTarget: OutputTarget{OutputBucket: "b"}, Hold: Hold(30 * time.Second), Wait: 25 * time.Second}},
		{name: "nothing lasts no time",
			environment: map[string]string{"HOLD": "0", "WAIT": "0"},
			want:        every{Cyberun: Cyberun{BaseURL: base, APIKeySecretARN: "arn"}, OutputTarget: OutputTarget{OutputBucket: "b"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			environment := maps.Clone(required)
			maps.Copy(environment, test.environment)
			got := every{Wait: 25 * time.Second}
			if err := Read(&got, environment); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	tests := []struct{ name, variable, value, want string }{
		{name: "a name that is not set", variable: "OUTPUT_BUCKET", want: "OUTPUT_BUCKET is not set"},
		{name: "an address that is not set", variable: "CYBERUN_BASE_URL", want: "CYBERUN_BASE_URL is not set"},
		{name: "an address of slashes", variable: "CYBERUN_BASE_URL", value: "///", want: "CYBERUN_BASE_URL is not an http(s) address"},
		{name: "a host alone", variable: "CYBERUN_BASE_URL", value: "core.cyberun.cloud", want: "CYBERUN_BASE_URL is not an http(s) address"},
		{name: "another scheme", variable: "CYBERUN_BASE_URL", value: "ftp://a/b", want: "CYBERUN_BASE_URL is not an http(s) address"},
		{name: "no host", variable: "CYBERUN_BASE_URL", value: "https:///b", want: "CYBERUN_BASE_URL is not an http(s) address"},
		{name: "a broken escape", variable: "CYBERUN_BASE_URL", value: "https://a/%zz", want: "CYBERUN_BASE_URL is not an http(s) address"},
		{name: "an address without encryption", variable: "CYBERUN_BASE_URL", value: "http://127.0.0.1:8080", want: "CYBERUN_BASE_URL would send the key unencrypted"},
		{name: "yes for true", variable: "ALLOW_INSECURE_ORIGINS", value: "yes", want: `ALLOW_INSECURE_ORIGINS: strconv.ParseBool: parsing "yes"`},
		{name: "below 0 seconds", variable: "HOLD", value: "-1", want: `HOLD: "-1" is not a number of seconds from 0 to 300`},
		{name: "too many seconds", variable: "HOLD", value: "301", want: "HOLD: \"301\" is not a number of seconds"},
		{name: "half a second", variable: "HOLD", value: "0.5", want: "HOLD: \"0.5\" is not a number of seconds"},
		{name: "seconds with a unit", variable: "HOLD", value: "30s", want: "HOLD: \"30s\" is not a number of seconds"},
		{name: "seconds beyond an int", variable: "HOLD", value: "99999999999999999999", want: "is not a number of seconds"},
		{name: "a duration without a unit", variable: "WAIT", value: "25", want: "WAIT: unable to parse duration"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			environment := map[string]string{"CYBERUN_BASE_URL": "https://a", "API_KEY_SECRET_ARN": "arn", "OUTPUT_BUCKET": "b"}
			environment[test.variable] = test.value
			err := Read(&every{}, environment)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	// A key is sent over https alone, but for the local stack.
	if err := Read(&every{}, map[string]string{"CYBERUN_BASE_URL": "http://127.0.0.1:8080", "API_KEY_SECRET_ARN": "arn", "OUTPUT_BUCKET": "b", "ALLOW_INSECURE_ORIGINS": "true"}); err != nil {
		t.Error(err)
	}
}

// A function with three wrong settings is deployed once more, not three times.
func TestReadReportsEveryFaultAtOnce(t *testing.T) {
	err := Read(&every{}, map[string]string{"CYBERUN_BASE_URL": "https://user:geheim@", "ALLOW_INSECURE_ORIGINS": "maybe", "HOLD": "-", "WAIT": "-"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, name := range []string{"CYBERUN_BASE_URL", "API_KEY_SECRET_ARN", "ALLOW_INSECURE_ORIGINS", "OUTPUT_BUCKET", "HOLD", "WAIT"} {
		if strings.Count(err.Error(), name) != 1 {
			t.Errorf("%s is reported %d times: %v", name, strings.Count(err.Error(), name), err)
		}
	}
	if strings.Contains(err.Error(), "geheim") {
		t.Errorf("a password stands in %v", err)
	}
}

func TestReadOfTheProcess(t *testing.T) {
	t.Setenv("STATE_BUCKET", "here")
	var s StateStore
	if err := Read(&s, nil); err != nil || s.StateBucket != "here" {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestClients(t *testing.T) {
	client := Cyberun{BaseURL: "https://core.cyberun.cloud/api/v1/", APIKeySecretARN: "arn:secret"}.Client(aws.Config{})
	outputs := S3(aws.Config{})
	runs := StateStore{StateBucket: "state"}.Runs(aws.Config{}, client, outputs)
	if client.BaseURL != "https://core.cyberun.cloud/api/v1" || client.Keys.(*Secret).ARN != "arn:secret" || runs.Store.Bucket != "state" || runs.Store.NoPause {
		t.Errorf("got %+v, %+v", client, runs)
	}
	if runs.Cyberun != client || runs.OutputS3 != outputs || runs.Executions == nil || runs.Now == nil || runs.Sleep == nil || runs.NewID == nil {
		t.Errorf("a verb of the runs would find nothing: %+v", runs)
	}
	if machine := (StateMachine{StateMachineARN: "arn:machine"}).Executions(aws.Config{}); machine.ARN != "arn:machine" || machine.API == nil {
		t.Errorf("got %+v", machine)
	}
	if first, second := NewID(), NewID(); first == "" || first == second {
		t.Errorf("ids %q and %q", first, second)
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
