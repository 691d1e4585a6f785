package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// State is what others need to know of a stack that is up: stack.json.
type State struct {
	Endpoint  string            `json:"endpoint"` // MiniStack: every AWS service
	Region    string            `json:"region"`
	StackName string            `json:"stack_name"`
	APIURL    string            `json:"api_url"`
	Outputs   map[string]string `json:"outputs"`   // the template's
	Resources map[string]string `json:"resources"` // logical id → physical id

	CyberunURL string `json:"cyberun_url"`           // the runtime API, with /api/v1
	ControlURL string `json:"control_url,omitempty"` // the stand-in's: ledger, faults; empty: the real service
	CyberunKey string `json:"cyberun_key,omitempty"` // the stand-in's; the real one is never written

	WebhookSecret string `json:"webhook_secret,omitempty"`

	Sources string `json:"sources"` // hash of what is deployed

	Pid  int    `json:"pid"`  // of what supervises it
	Logs string `json:"logs"` // folder
}

const (
	region    = "us-east-1"
	localID   = "test" // MiniStack's root: both halves of the credentials
	stackName = "cyberun-relay"
)

// env is what programs that use the stack need.
func (st State) env(file string) []string {
	list := []string{
		"AWS_ENDPOINT_URL=" + st.Endpoint,
		"AWS_ACCESS_KEY_ID=" + localID,
		"AWS_SECRET_ACCESS_KEY=" + localID,
		"AWS_REGION=" + st.Region,
		"AWS_DEFAULT_REGION=" + st.Region,
		"AWS_EC2_METADATA_DISABLED=true",
		"RELAY_STACK_FILE=" + file,
		"RELAY_STACK=" + st.StackName,
		"RELAY_API_URL=" + st.APIURL,
		"RELAY_WEBHOOK_URL=" + st.Outputs["WebhookUrl"],
		"RELAY_STATE_MACHINE_ARN=" + st.Outputs["StateMachineArn"],
		"RELAY_INBOX_BUCKET=" + st.Outputs["InboxBucket"],
		"RELAY_OUTPUT_BUCKET=" + st.Outputs["OutputBucket"],
		"RELAY_STATE_BUCKET=" + st.Outputs["StateBucket"],
		"RELAY_API_KEY_SECRET_ARN=" + st.Outputs["ApiKeySecretArn"],
		"RELAY_WEBHOOK_SECRET_ARN=" + st.Outputs["WebhookSecretArn"],
	}
	if st.ControlURL != "" {
		list = append(list, "CYBERUN_STANDIN_URL="+st.CyberunURL, "CYBERUN_STANDIN_CONTROL_URL="+st.ControlURL)
	}
	return list
}

// exports is env for a shell.
func (st State) exports(file string) string {
	var b strings.Builder
	b.WriteString("unset AWS_PROFILE AWS_SESSION_TOKEN\n")
	for _, pair := range st.env(file) {
		name, value, _ := strings.Cut(pair, "=")
		fmt.Fprintf(&b, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	return b.String()
}

func (st State) save(o Options) error {
	body, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return err
	}
	if err := writeWhole(o.file("env"), st.exports(o.file("stack.json"))); err != nil {
		return err
	}
	return writeWhole(o.file("stack.json"), string(body)+"\n")
}

func load(o Options) (State, error) {
	var st State
	body, err := os.ReadFile(o.file("stack.json"))
	if os.IsNotExist(err) {
		return st, fmt.Errorf("no stack is up; `make run` brings one up")
	}
	if err != nil {
		return st, err
	}
	return st, json.Unmarshal(body, &st)
}

// writeWhole renames into place, so that who waits for the file never reads half of it.
func writeWhole(path, text string) error {
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(temp, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// foreign is this process's environment without what points to another AWS.
func foreign(environ []string) []string {
	var kept []string
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "AWS_") {
			kept = append(kept, pair)
		}
	}
	return kept
}
