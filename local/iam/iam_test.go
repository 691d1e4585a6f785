package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// processed is a template with one function, its statements filled in, and what of
// the intrinsic functions the real one uses.
const processed = `{
  "Conditions": {"MakesOutputBucket": {"Fn::Equals": [{"Ref": "OutputBucketName"}, ""]},
    "HasExtra": {"Fn::Not": [{"Fn::Equals": [{"Fn::Join": ["", {"Ref": "Extra"}]}, ""]}]}},
  "Resources": {
    "StateBucket": {"Type": "AWS::S3::Bucket"},
    "OutputBucket": {"Type": "AWS::S3::Bucket", "Condition": "MakesOutputBucket"},
    "ApiKeySecret": {"Type": "AWS::SecretsManager::Secret"},
    "RunStateMachine": {"Type": "AWS::StepFunctions::StateMachine"},
    "Limits": {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"PolicyDocument": {"Statement": [
      {"Effect": "Deny", "Action": "s3:*", "Resource": {"Fn::Sub": "${StateBucket.Arn}/*"}, "Condition": {"StringNotEquals": {"aws:ResourceAccount": {"Ref": "AWS::AccountId"}}}},
      {"Effect": "Deny", "Action": "logs:CreateLogGroup", "Resource": "*"}]}}},
    "StepFunction": {"Type": "AWS::Lambda::Function", "Properties": {"Role": {"Fn::GetAtt": ["StepFunctionRole", "Arn"]}}},
    "StepFunctionRole": {"Type": "AWS::IAM::Role", "Properties": {
      "ManagedPolicyArns": ["arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole", {"Ref": "Limits"}],
      "Policies": [{"PolicyDocument": {"Statement": [%s]}}]}}
  }}`

// The statements of the function, by a name for the test.
var statements = map[string]string{
	"list":   `{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": [{"Fn::GetAtt": ["StateBucket", "Arn"]}]}`,
	"runs":   `{"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": {"Fn::Sub": "${StateBucket.Arn}/runs/*"}}`,
	"output": `{"Effect": "Allow", "Action": "s3:PutObject", "Resource": {"Fn::If": ["MakesOutputBucket", {"Fn::Sub": "${OutputBucket.Arn}/*"}, {"Fn::Sub": "arn:${AWS::Partition}:s3:::${OutputBucketName}/*"}]}}`,
	"extra": `{"Fn::If": ["HasExtra", {"Effect": "Allow", "Action": "s3:GetObject", "Resource": {"Fn::Split": [",", {"Fn::Sub": ["${Arns}/*", {"Arns": {"Fn::Join": ["/*,", {"Ref": "Extra"}]}}]}]}},
		{"Ref": "AWS::NoValue"}]}`,
	"secret": `{"Effect": "Allow", "Action": ["secretsmanager:GetSecretValue"], "Resource": {"Fn::Sub": ["${secretArn}", {"secretArn": {"Fn::GetAtt": ["ApiKeySecret", "Id"]}}]}}`,
	"wake":   `{"Effect": "Allow", "Action": "states:SendTaskSuccess", "Resource": {"Ref": "RunStateMachine"}}`,
	"dead":   `{"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "arn:aws:sqs:us-east-1:000000000000:dead"}`,
}

// The calls that use exactly those rights.
var calls = map[string][]call{
	"list":   {{Method: "GET", Path: "/state-1", Query: []string{"list-type", "prefix"}, Status: 200}},
	"runs":   {{Method: "GET", Path: "/state-1/runs/a/b.json", Query: []string{"x-id"}, Status: 200}, {Method: "PUT", Path: "/state-1/runs/a/b.json", Query: []string{"x-id"}, Status: 200}},
	"output": {{Method: "PUT", Path: "/output-1/runs/a/x.png", Query: []string{"uploadId", "partNumber", "x-id"}, Status: 200}},
	"extra":  {{Method: "GET", Path: "/films/a.mp4", Status: 200}, {Method: "GET", Path: "/photos/b.png", Status: 200}},
	"secret": {{Service: "secretsmanager", Target: "secretsmanager.GetSecretValue", Names: map[string]string{"SecretId": "arn:aws:secretsmanager:us-east-1:000000000000:secret:key-1-a1b2c3"}, Status: 200}},
	"wake":   {{Service: "states", Target: "AWSStepFunctions.SendTaskSuccess", Status: 200}},
}

var everyone = []string{"list", "runs", "output", "extra", "secret", "wake", "dead"}

func newStack(t *testing.T, rights, made []string, more ...call) stack {
	t.Helper()
	var list []string
	for _, name := range rights {
		list = append(list, statements[name])
	}
	s := stack{
		Parameters: map[string]string{"OutputBucketName": "", "Extra": "arn:aws:s3:::films,arn:aws:s3:::photos"},
		Resources: map[string]string{
			"StateBucket": "state-1", "OutputBucket": "output-1", "ApiKeySecret": "key-1", "StepFunction": "step-1",
			"RunStateMachine": "arn:aws:states:us-east-1:000000000000:stateMachine:run",
		},
		Region: "us-east-1", StackName: "relay",
	}
	if err := json.Unmarshal(fmt.Appendf(nil, processed, strings.Join(list, ",")), &s.Template); err != nil {
		t.Fatal(err)
	}
	for _, name := range made {
		s.calls = append(s.calls, calls[name]...)
	}
	s.calls = append(s.calls, more...)
	for i := range s.calls {
		s.calls[i].Function = "StepFunction"
		if s.calls[i].Service == "" {
			s.calls[i].Service = "s3"
		}
	}
	return s
}

func without(list []string, name string) []string {
	var rest []string
	for _, other := range list {
		if other != name {
			rest = append(rest, other)
		}
	}
	return rest
}

func TestCheckHolds(t *testing.T) {
	found, err := check([]stack{newStack(t, everyone, everyone)})
	if err != nil {
		t.Fatal(err)
	}
	if !found.holds() {
		var b strings.Builder
		found.print(&b)
		t.Errorf("it does not hold:\n%s", b.String())
	}
}

// Each right is missed when it is taken away, and each is unused without its calls.
func TestCheckFailsBothWays(t *testing.T) {
	for name := range calls {
		t.Run(name, func(t *testing.T) {
			found, err := check([]stack{newStack(t, without(everyone, name), everyone)})
			if err != nil || found.holds() || len(found.missing) == 0 || len(found.unused()) != 0 {
				t.Errorf("taken away: missing %v, unused %v, %v", found.missing, found.unused(), err)
			}
			found, err = check([]stack{newStack(t, everyone, without(everyone, name))})
			if err != nil || found.holds() || len(found.missing) != 0 || len(found.unused()) == 0 {
				t.Errorf("never used: missing %v, unused %v, %v", found.missing, found.unused(), err)
			}
		})
	}
}

// What one suite does not use another may.
func TestCheckAddsStacksUp(t *testing.T) {
	first, second := newStack(t, everyone, []string{"list", "runs", "output"}), newStack(t, everyone, []string{"extra", "secret", "wake"})
	found, err := check([]stack{first, second})
	if err != nil || !found.holds() {
		t.Errorf("missing %v, unused %v, %v", found.missing, found.unused(), err)
	}
}

func TestWhatACallTakes(t *testing.T) {
	const state = "arn:aws:s3:::state-1"
	tests := []struct {
		name string
		call call
		want []need
	}{
		{"a key that is not there shows as such to who may list", call{Method: "GET", Path: "/state-1/runs/x.json", Status: 404},
			[]need{{"s3:GetObject", state + "/runs/x.json", "GetObject"}, {"s3:ListBucket", state, "GetObject of no key"}}},
		{"a head of none", call{Method: "HEAD", Path: "/state-1/runs/x.json", Status: 404},
			[]need{{"s3:GetObject", state + "/runs/x.json", "HeadObject"}, {"s3:ListBucket", state, "HeadObject of no key"}}},
		{"a write under a condition reads", call{Method: "PUT", Path: "/state-1/runs/x.json", IfMatch: true, Status: 200},
			[]need{{"s3:PutObject", state + "/runs/x.json", "PutObject"}, {"s3:GetObject", state + "/runs/x.json", "PutObject If-Match"}}},
		{"a read under one", call{Method: "GET", Path: "/state-1/runs/x.json", IfMatch: true, Status: 200},
			[]need{{"s3:GetObject", state + "/runs/x.json", "GetObject"}}},
		{"a bucket", call{Method: "HEAD", Path: "/state-1", Status: 200}, []need{{"s3:ListBucket", state, "HeadBucket"}}},
		{"an upload", call{Method: "POST", Path: "/state-1/a", Query: []string{"uploads"}, Status: 200}, []need{{"s3:PutObject", state + "/a", "CreateMultipartUpload"}}},
		{"its end", call{Method: "POST", Path: "/state-1/a", Query: []string{"uploadId"}, Status: 200}, []need{{"s3:PutObject", state + "/a", "CompleteMultipartUpload"}}},
		{"its parts", call{Method: "GET", Path: "/state-1/a", Query: []string{"uploadId", "x-id"}, Status: 200}, []need{{"s3:ListMultipartUploadParts", state + "/a", "ListParts"}}},
		{"given up", call{Method: "DELETE", Path: "/state-1/a", Query: []string{"uploadId", "x-id"}, Status: 204}, []need{{"s3:AbortMultipartUpload", state + "/a", "AbortMultipartUpload"}}},
		{"deleted", call{Method: "DELETE", Path: "/state-1/a", Query: []string{"x-id"}, Status: 204}, []need{{"s3:DeleteObject", state + "/a", "DeleteObject"}}},
		{"a version", call{Method: "GET", Path: "/state-1/a", Query: []string{"versionId"}, Status: 200}, []need{{"s3:GetObjectVersion", state + "/a", "GetObject of a version"}}},
		{"an execution", call{Target: "AWSStepFunctions.StopExecution", Service: "states", Names: map[string]string{"executionArn": "arn:x"}}, []need{{"states:StopExecution", "arn:x", "StopExecution"}}},
		{"executions", call{Target: "AWSStepFunctions.ListExecutions", Service: "states", Names: map[string]string{"stateMachineArn": "arn:m"}}, []need{{"states:ListExecutions", "arn:m", "ListExecutions"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newStack(t, nil, nil)
			if test.call.Service == "" {
				test.call.Service = "s3"
			}
			got, err := s.needs(test.call)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(need{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What is not known is an error: no right is ever guessed.
func TestUnknownCallsAreErrors(t *testing.T) {
	for name, c := range map[string]call{
		"tags of an object":    {Method: "GET", Path: "/state-1/a", Query: []string{"tagging"}},
		"a bucket's policy":    {Method: "GET", Path: "/state-1", Query: []string{"policy"}},
		"another action":       {Target: "AWSStepFunctions.DeleteStateMachine", Service: "states"},
		"an action on nothing": {Target: "AWSStepFunctions.StopExecution", Service: "states"},
		"another service":      {Service: "sns", Method: "POST", Path: "/"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.Service == "" {
				c.Service = "s3"
			}
			s := newStack(t, nil, nil)
			if got, err := s.needs(c); err == nil {
				t.Errorf("it takes %v", got)
			}
		})
	}
}

func TestUnknownPoliciesAreErrors(t *testing.T) {
	for name, statement := range map[string]string{
		"NotAction":             `{"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}`,
		"a condition":           `{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}`,
		"a Deny's condition":    `{"Effect": "Deny", "Action": "s3:GetObject", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}`,
		"an intrinsic function": `{"Effect": "Allow", "Action": "s3:GetObject", "Resource": {"Fn::Select": [0, ["a"]]}}`,
		"an attribute":          `{"Effect": "Allow", "Action": "s3:GetObject", "Resource": {"Fn::GetAtt": ["StateBucket", "DomainName"]}}`,
		"a name":                `{"Effect": "Allow", "Action": "s3:GetObject", "Resource": {"Ref": "Nothing"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			statements["test"] = statement
			defer delete(statements, "test")
			s := newStack(t, []string{"test"}, nil)
			if got, err := s.rights(); err == nil {
				t.Errorf("rights %v", got)
			}
		})
	}
}

func TestDenied(t *testing.T) {
	statements["test"] = `{"Effect": "Deny", "Action": "s3:Put*", "Resource": {"Fn::Sub": "${StateBucket.Arn}/runs/*"}}`
	defer delete(statements, "test")
	found, err := check([]stack{newStack(t, append([]string{"test"}, everyone...), everyone)})
	if err != nil || len(found.missing) != 1 {
		t.Errorf("missing %v, %v", found.missing, err)
	}
}

func TestPatterns(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"arn:aws:s3:::b/*", "arn:aws:s3:::b/a/b", true},
		{"arn:aws:s3:::b/*", "arn:aws:s3:::b", false},
		{"arn:aws:s3:::b/*error.json", "arn:aws:s3:::b/runs/1/error.json", true},
		{"arn:aws:s3:::b.c/*", "arn:aws:s3:::bxc/a", false},
		{"s:key-??????", "s:key-a1b2c3", true},
		{"s:key-??????", "s:key-a1b2c", false},
		{"arn:aws:s3:::b/*", "arn:aws:s3:::b/a\nb", true},
	} {
		if got := matches(test.pattern, test.text); got != test.want {
			t.Errorf("%s on %q: %v", test.pattern, test.text, got)
		}
	}
}
