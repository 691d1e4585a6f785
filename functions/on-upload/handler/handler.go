package handler

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"path"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// The places in the inbox that mean something.
const (
	jobsPrefix     = "jobs/"
	filesPrefix    = "files/"
	rejectedPrefix = "rejected/"
	paramMetadata  = "param-" // x-amz-meta-param-steps: 30
)

// Input is whatever S3 sent.
type Input struct{ raw json.RawMessage }

// UnmarshalJSON keeps the event as it came.
func (in *Input) UnmarshalJSON(b []byte) error {
	in.raw = bytes.Clone(b)
	return nil
}

// ID is empty: an event can start several runs, and each has its own line.
func (in Input) ID() string { return "" }

// Output says what became of the event's objects.
type Output struct {
	Started  []string `json:"started,omitempty"` // run ids, also of runs that were started before
	Rejected []string `json:"rejected,omitempty"`
	Ignored  int      `json:"ignored,omitempty"`
}

// Inbox is what on-upload does to the bucket.
type Inbox interface {
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
}

// Executions starts runs.
type Executions interface {
	StartExecution(context.Context, *sfn.StartExecutionInput, ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error)
}

// Handler turns uploads into executions. It calls no Cyberun: what the workflow
// says of the parameters is Submit's to check.
type Handler struct {
	Inbox           Inbox
	Executions      Executions
	StateMachineARN string
	Log             *slog.Logger
}

// Handle starts a run for each object; one that cannot be stops no other. What
// failed for a passing reason fails the call, which is safe to repeat.
func (h *Handler) Handle(ctx context.Context, in Input) (Output, error) {
	found, unreadable := uploads(in.raw)
	var out Output
	var failures []error
	for _, u := range found {
		if !u.created() {
			h.Log.InfoContext(ctx, "ignored: not an upload", "object", u.String(), "event", u.event)
			out.Ignored++
			continue
		}
		if err := h.one(ctx, u, &out); err != nil {
			h.Log.WarnContext(ctx, "not started yet", "object", u.String(), "cause", err.Error())
			failures = append(failures, err)
		}
	}
	// Passing failures first: the first name in the chain is the one that is told.
	return out, errors.Join(errors.Join(failures...), unreadable)
}

func (h *Handler) one(ctx context.Context, u upload, out *Output) error {
	request, err := h.request(ctx, u)
	var invalid *named.Error
	switch {
	case errors.Is(err, errNothing):
		out.Ignored++
		return nil
	case errors.As(err, &invalid) && invalid.Name == named.InvalidRequest:
		key, err := h.reject(ctx, u, invalid)
		if err == nil {
			out.Rejected = append(out.Rejected, key)
		}
		return err
	case err != nil:
		return err
	}
	runID := runIDFor(u)
	if err := h.start(ctx, runID, request); err != nil {
		return err
	}
	out.Started = append(out.Started, runID)
	h.Log.InfoContext(ctx, "started", "run_id", runID, "object", u.String())
	return nil
}

// errNothing: the object asks for nothing, or is no longer what the event says.
var errNothing = errors.New("nothing to start")

// request is the document that the object stands for, checked as far as it can
// be without the workflow.
func (h *Handler) request(ctx context.Context, u upload) ([]byte, error) {
	var raw []byte
	var err error
	switch {
	case strings.HasSuffix(u.key, "/"): // a console's folder
		return nil, errNothing
	case strings.HasPrefix(u.key, jobsPrefix):
		raw, err = h.job(ctx, u)
	case strings.HasPrefix(u.key, filesPrefix):
		raw, err = h.file(ctx, u)
	default:
		return nil, errNothing
	}
	if err != nil {
		return nil, err
	}
	if _, faults := run.ParseRequest(raw); len(faults) > 0 {
		return nil, faults.Err()
	}
	input, err := run.Canonical(raw)
	if err == nil && len(input) > run.MaxRequestBytes { // 1e30 is written out
		return nil, named.Violations{{Parameter: "request", Message: fmt.Sprintf("is %d bytes with its numbers written out; at most %d are accepted", len(input), run.MaxRequestBytes)}}.Err()
	}
	return input, err
}

// job reads jobs/NAME.json as it was when the event was sent: a version that has
// replaced it since has an event of its own.
func (h *Handler) job(ctx context.Context, u upload) ([]byte, error) {
	if path.Ext(u.key) != ".json" {
		return nil, rejected("a job is a file jobs/NAME.json; for an input file use files/{workflow}/{parameter}/{file}")
	}
	in := &s3.GetObjectInput{Bucket: &u.bucket, Key: &u.key}
	if u.etag != "" {
		in.IfMatch = aws.String(`"` + strings.Trim(u.etag, `"`) + `"`)
	}
	object, err := h.Inbox.GetObject(ctx, in)
	if err != nil {
		return nil, h.missing(u, err)
	}
	defer object.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(object.Body, run.MaxRequestBytes+1)) // one more: ParseRequest tells it is too large
	if err != nil {
		return nil, named.Errorf(named.Unavailable, "S3 could not read %s: %w", u, err)
	}
	return raw, nil
}

// file makes the request for files/{workflow}/{parameter}/{file}. The other
// parameters come as text, which Submit types by the workflow's own.
func (h *Handler) file(ctx context.Context, u upload) ([]byte, error) {
	parts := strings.SplitN(strings.TrimPrefix(u.key, filesPrefix), "/", 3)
	if len(parts) < 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return nil, rejected("an input file lies at files/{workflow}/{parameter}/{file}")
	}
	head, err := h.Inbox.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &u.bucket, Key: &u.key})
	if err != nil {
		return nil, h.missing(u, err)
	}
	if u.etag != "" && strings.Trim(aws.ToString(head.ETag), `"`) != strings.Trim(u.etag, `"`) {
		return nil, errNothing
	}
	parameters := map[string]any{}
	for name, value := range head.Metadata {
		if key, ok := strings.CutPrefix(strings.ToLower(name), paramMetadata); ok && key != "" {
			parameters[key] = plain(value)
		}
	}
	parameters[parts[1]] = u.String()
	raw, err := json.Marshal(run.Request{Workflow: parts[0], Parameters: parameters, ParametersAsText: true})
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	return raw, nil
}

// plain undoes what S3 does to metadata beyond ASCII: RFC 2047. A prompt must not
// reach a model as =?UTF-8?Q?…?=.
func plain(value string) string {
	decoded, err := new(mime.WordDecoder).DecodeHeader(value)
	if err != nil {
		return value
	}
	return decoded
}

// missing tells what an object that cannot be read means.
func (h *Handler) missing(u upload, err error) error {
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) {
		switch answer.HTTPStatusCode() {
		case http.StatusNotFound, http.StatusPreconditionFailed:
			return errNothing // taken away, or replaced: that has its own event
		}
	}
	return named.Errorf(named.Unavailable, "S3 could not read %s: %w", u, err)
}

func rejected(format string, args ...any) error {
	return named.Violations{{Parameter: "key", Message: fmt.Sprintf(format, args...)}}.Err()
}

// start is safe to repeat: the name follows from the upload, and Step Functions
// runs a name once.
func (h *Handler) start(ctx context.Context, runID string, request []byte) error {
	input := string(request)
	_, err := h.Executions.StartExecution(ctx, &sfn.StartExecutionInput{StateMachineArn: &h.StateMachineARN, Name: &runID, Input: &input})
	var exists *types.ExecutionAlreadyExists
	if err != nil && !errors.As(err, &exists) {
		return named.Errorf(named.Unavailable, "Step Functions could not start the run %s: %w", runID, err)
	}
	return nil
}

// rejection is what rejected/….json says.
type rejection struct {
	Key       string           `json:"key"`
	Sequencer string           `json:"sequencer,omitempty"`
	Error     *named.Error     `json:"error"`
	Reasons   named.Violations `json:"reasons"`
}

// reject leaves the reasons beside the inbox, where the uploader looks.
func (h *Handler) reject(ctx context.Context, u upload, e *named.Error) (string, error) {
	key := rejectedKey(u)
	body, err := json.MarshalIndent(rejection{Key: u.key, Sequencer: u.sequencer, Error: e, Reasons: e.Violations}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("encode the rejection: %w", err)
	}
	if _, err := h.Inbox.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &u.bucket, Key: &key, Body: bytes.NewReader(append(body, '\n')), ContentType: aws.String("application/json"),
	}); err != nil {
		return "", named.Errorf(named.Unavailable, "S3 could not write s3://%s/%s: %w", u.bucket, key, err)
	}
	h.Log.InfoContext(ctx, "rejected", "object", u.String(), "reasons", len(e.Violations))
	return key, nil
}

const (
	maxKey    = 1024 // bytes, S3's
	maxName   = 60   // of an execution name's 80
	hashBytes = 4    // 8 hex digits
)

// rejectedKey is where an uploader would look: jobs/a.json is told there, a file with
// .json behind its name. A job without .json gets a hash, or jobs/a and jobs/a.json
// would write over each other's reasons.
func rejectedKey(u upload) string {
	name, isJSON := strings.CutSuffix(u.key, ".json")
	isJob := strings.HasPrefix(u.key, jobsPrefix)
	if !isJob {
		name = u.key
	}
	room := maxKey - len(rejectedPrefix) - len(".json") - 1 - 2*hashBytes
	if len(name) > room || isJob && !isJSON {
		name = strings.ToValidUTF8(name[:min(room, len(name))], "") + "-" + hash(u.key)
	}
	return rejectedPrefix + name + ".json"
}

// runIDFor is the same for every delivery of one event, and another for a fresh
// upload of the same bytes.
func runIDFor(u upload) string {
	base := path.Base(u.key)
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '-'
	}, strings.TrimSuffix(base, path.Ext(base)))
	name = strings.Trim(name, "-")
	if len(name) > maxName {
		name = strings.Trim(name[:maxName], "-")
	}
	if name == "" {
		name = "upload"
	}
	return name + "-" + hash(u.bucket, u.key, u.sequencer)
}

func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00"))) // no key holds a NUL
	return hex.EncodeToString(sum[:hashBytes])
}
