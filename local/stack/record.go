package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// With -record the functions reach MiniStack through a proxy that writes down
// which function made which call. Nothing of the functions changes: each gets the
// SDK's own setting for an application's id, which the SDK puts into the user
// agent of every request. local/iam holds the calls against the template's rights.

// appID is the SDK's setting whose value stands in every user agent as app/VALUE.
const appID = "AWS_SDK_UA_APP_ID"

// Call is one request of a function, without anything that is secret: of a body,
// only the names that a right can be bound to.
type Call struct {
	Function string            `json:"function"`         // its logical id; empty: who made it is not known
	Service  string            `json:"service"`          // as the signature names it: s3, states, secretsmanager
	Method   string            `json:"method"`           // HTTP's
	Path     string            `json:"path,omitempty"`   // of an S3 request: /BUCKET/KEY, decoded
	Query    []string          `json:"query,omitempty"`  // the names of its parameters
	Target   string            `json:"target,omitempty"` // of a JSON request: AWSStepFunctions.StartExecution
	Names    map[string]string `json:"names,omitempty"`  // of its body: ARNs
	IfMatch  bool              `json:"if_match,omitempty"`
	Status   int               `json:"status"`
}

// Recording is what a recorder's folder says of the stack: stack.json. The calls
// are in calls.jsonl beside it.
type Recording struct {
	Template   json.RawMessage   `json:"template"`   // processed
	Parameters map[string]string `json:"parameters"` // as deployed
	Resources  map[string]string `json:"resources"`  // logical id → physical id
	Region     string            `json:"region"`
	StackName  string            `json:"stack_name"`
}

// recorder is the proxy.
type recorder struct {
	proxy  *httputil.ReverseProxy
	server *http.Server
	dir    string

	mu   sync.Mutex
	out  *json.Encoder
	file *os.File
	keys map[string]string // access key → function; "": several use it
}

// maxRecordedBody bounds what is read of a JSON request: an execution's input has
// 256 KiB at most.
const maxRecordedBody = 1 << 20

// newRecorder listens, before anything is there to forward to.
func newRecorder(folder string) (*recorder, string, error) {
	dir := filepath.Join(folder, "stack-"+strconv.Itoa(os.Getpid()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, "", err
	}
	file, err := os.Create(filepath.Join(dir, "calls.jsonl"))
	if err != nil {
		return nil, "", err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	r := &recorder{dir: dir, file: file, out: json.NewEncoder(file), keys: map[string]string{}}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: time.Minute}
	go func() { _ = r.server.Serve(listener) }() // ends with close
	return r, "http://" + listener.Addr().String(), nil
}

// forwardTo names where MiniStack listens.
func (r *recorder) forwardTo(endpoint string) error {
	target, err := url.Parse(endpoint)
	if err != nil {
		return err
	}
	r.proxy = &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			p.Out.Host = p.In.Host // it is signed
		},
		FlushInterval: -1, // what is streamed stays so
		// Mostly a function that ended while it asked: nothing to tell of.
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	return nil
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	call, err := describe(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	r.proxy.ServeHTTP(seen, req)
	call.Status = seen.status
	r.write(req, call)
}

// statusWriter remembers an answer's status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if status >= http.StatusOK { // not 100 Continue
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets the proxy flush what is beneath.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// describe says what a request asks for, and leaves it as it was.
func describe(req *http.Request) (Call, error) {
	call := Call{Method: req.Method, Service: "s3", Target: req.Header.Get("X-Amz-Target"), IfMatch: req.Header.Get("If-Match") != ""}
	if _, scope := credential(req); len(scope) > 2 {
		call.Service = scope[2]
	}
	if call.Target == "" {
		call.Path = req.URL.Path
		for name := range req.URL.Query() {
			if !strings.HasPrefix(name, "X-Amz-") {
				call.Query = append(call.Query, name)
			}
		}
		return call, nil
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, maxRecordedBody+1))
	if err != nil {
		return call, err
	}
	if len(body) > maxRecordedBody {
		return call, fmt.Errorf("a request of %s is larger than %d bytes", call.Target, maxRecordedBody)
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return call, fmt.Errorf("the body of %s: %w", call.Target, err)
	}
	call.Names = map[string]string{}
	for _, name := range []string{"stateMachineArn", "executionArn", "SecretId"} { // never taskToken, input, SecretString
		var value string
		if json.Unmarshal(fields[name], &value) == nil && value != "" {
			call.Names[name] = value
		}
	}
	return call, nil
}

// credential is who signed a request: the access key, and the scope's date,
// region, service. A presigned address has it in its query.
func credential(req *http.Request) (key string, scope []string) {
	_, text, found := strings.Cut(req.Header.Get("Authorization"), "Credential=")
	if !found {
		text = req.URL.Query().Get("X-Amz-Credential")
	}
	text, _, _ = strings.Cut(text, ",")
	key, rest, _ := strings.Cut(text, "/")
	return key, strings.Split(rest, "/")
}

// write adds a call. What carries no application's id is a presigned address that
// somebody follows: the right that it takes is that of the function that signed it.
func (r *recorder) write(req *http.Request, call Call) {
	key, _ := credential(req)
	for part := range strings.FieldsSeq(req.UserAgent()) {
		if function, found := strings.CutPrefix(part, "app/"); found {
			call.Function = function
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if call.Function == "" {
		call.Function = r.keys[key]
	} else if known, found := r.keys[key]; !found {
		r.keys[key] = call.Function
	} else if known != call.Function {
		r.keys[key] = "" // without -auth all functions have the same
	}
	if err := r.out.Encode(call); err != nil {
		fmt.Fprintln(os.Stderr, "stack: a call could not be recorded:", err)
	}
}

// close waits until the calls that were answered are written down as well.
func (r *recorder) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if r.server.Shutdown(ctx) != nil {
		_ = r.server.Close()
	}
	_ = r.file.Close()
}

// recordCalls, once the stack is deployed, says what was deployed and lets each
// function's calls tell whose they are.
func (s *Stack) recordCalls(ctx context.Context) error {
	if s.recorder == nil {
		return nil
	}
	name := stackName
	got, err := cloudformation.NewFromConfig(s.aws).GetTemplate(ctx, &cloudformation.GetTemplateInput{
		StackName: &name, TemplateStage: cfntypes.TemplateStageProcessed})
	if err != nil {
		return err
	}
	rec := Recording{Template: json.RawMessage(*got.TemplateBody), Parameters: map[string]string{}, Resources: s.State.Resources, Region: region, StackName: stackName}
	var template struct {
		Parameters map[string]struct{ Default any }
		Resources  map[string]struct{ Type string }
	}
	if err := json.Unmarshal(rec.Template, &template); err != nil {
		return fmt.Errorf("processed template: %w", err)
	}
	for name, parameter := range template.Parameters {
		rec.Parameters[name] = fmt.Sprint(parameter.Default)
	}
	maps.Copy(rec.Parameters, s.Opt.all(s.State.CyberunURL, !s.real()))
	body, err := json.MarshalIndent(rec, "", " ")
	if err != nil {
		return err
	}
	if err := writeWhole(filepath.Join(s.recorder.dir, "stack.json"), string(body)+"\n"); err != nil {
		return err
	}
	client := lambda.NewFromConfig(s.aws)
	for id, resource := range template.Resources {
		if resource.Type != "AWS::Lambda::Function" {
			continue
		}
		function := s.State.Resources[id]
		now, err := client.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &function})
		if err != nil {
			return err
		}
		settings := map[string]string{}
		if now.Environment != nil {
			maps.Copy(settings, now.Environment.Variables)
		}
		settings[appID] = id
		if _, err := client.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
			FunctionName: &function, Environment: &lambdatypes.Environment{Variables: settings},
		}); err != nil {
			return err
		}
	}
	return nil
}
