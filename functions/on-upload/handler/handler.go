package handler

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
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
	ListObjectVersions(context.Context, *s3.ListObjectVersionsInput, ...func(*s3.Options)) (*s3.ListObjectVersionsOutput, error)
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
	if len(found) == 0 && unreadable == nil {
		h.Log.InfoContext(ctx, "ignored", "why", "it is the test event of a new notification")
	}
	for _, u := range found {
		if err := h.one(ctx, u, &out); err != nil {
			h.Log.WarnContext(ctx, "not started yet", "bucket", u.bucket, "key", u.key, "cause", err.Error())
			failures = append(failures, err)
		}
	}
	// Passing failures first: the first name in the chain is the one that is told.
	return out, errors.Join(errors.Join(failures...), unreadable)
}

func (h *Handler) one(ctx context.Context, u upload, out *Output) error {
	u, request, err := h.request(ctx, u)
	var none *nothing
	var invalid *named.Error
	switch {
	case errors.As(err, &none):
		h.Log.Log(ctx, none.level, "ignored", "bucket", u.bucket, "key", u.key, "version", u.version, "etag", u.etag, "why", none.why)
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
	h.Log.InfoContext(ctx, "started", "run_id", runID, "object", u.String(), "version", u.version)
	return nil
}

// nothing is an upload that starts no run and is not rejected either. Each has a
// line in the log.
type nothing struct {
	level slog.Level
	why   string
}

func (n *nothing) Error() string { return n.why }

// ignore is for what never asked for a run.
func ignore(why string) error { return &nothing{slog.LevelInfo, why} }

// lost is for what asked for a run and is not there to be read: a person may want
// to know.
func lost(why string) error { return &nothing{slog.LevelWarn, why} }

// request is the document that the object stands for, checked as far as it can
// be without the workflow. The upload that it returns has the object's own key.
func (h *Handler) request(ctx context.Context, u upload) (upload, []byte, error) {
	if why := ignored(u); why != "" {
		return u, nil, ignore(why)
	}
	u, head, err := h.look(ctx, u)
	if err != nil {
		return u, nil, err
	}
	if why := ignored(u); why != "" { // by the decoded key, and by the size that S3 tells
		return u, nil, ignore(why)
	}
	if u.copied {
		itself, err := h.copyOfItself(ctx, u, head)
		if err != nil {
			return u, nil, err
		}
		if itself {
			return u, nil, ignore("it was copied onto itself, with the same bytes and the same parameters")
		}
	}
	if store.Archived(head) {
		return u, nil, rejected("%s", store.InArchive)
	}
	var raw []byte
	if strings.HasPrefix(u.key, jobsPrefix) {
		raw, err = h.job(ctx, u, head)
	} else {
		raw, err = file(u, head)
	}
	if err != nil {
		return u, nil, err
	}
	if _, faults := run.ParseRequest(raw); len(faults) > 0 {
		return u, nil, faults.Err()
	}
	input, err := run.Canonical(raw)
	return u, input, err
}

// ignored tells why an upload asks for nothing, by what the event says; empty: it
// may ask for a run.
func ignored(u upload) string {
	switch {
	case !u.created():
		return "it is no upload: " + u.event
	case strings.HasSuffix(u.key, "/"):
		return "it is a folder"
	case !strings.HasPrefix(u.key, jobsPrefix) && !strings.HasPrefix(u.key, filesPrefix):
		return "it lies outside " + jobsPrefix + " and " + filesPrefix
	}
	if why := notMeant(u.key); why != "" {
		return why
	}
	if u.size != nil && *u.size == 0 {
		// Many clients create a file empty and write it a moment later.
		return "it is empty"
	}
	return ""
}

// look finds the object as it was uploaded: the version that the event names, or
// else the one that has the event's ETag. A version that is gone, or bytes that
// were replaced where no versions are kept, start nothing: a later upload has an
// event of its own.
//
// The key of an EventBridge event is taken raw first, then URL-decoded; that one
// only if it leads to the event's own ETag.
func (h *Handler) look(ctx context.Context, u upload) (upload, *s3.HeadObjectOutput, error) {
	head, err := h.head(ctx, u)
	if u.encoded && u.etag != "" && missing(err) {
		decoded := u
		var bad error
		decoded.key, bad = url.QueryUnescape(u.key)
		if bad == nil && decoded.key != u.key && utf8.ValidString(decoded.key) {
			found, again := h.head(ctx, decoded)
			if again == nil || !missing(again) {
				u, head, err = decoded, found, again
			}
		}
	}
	switch {
	case missing(err) && u.version != "":
		return u, nil, lost("its version was deleted, or is another object's")
	case missing(err):
		return u, nil, lost("it was taken away or replaced since")
	case err != nil:
		return u, nil, named.Errorf(named.Unavailable, "S3 could not look up %s: %w", u, err)
	}
	if head.ContentLength != nil {
		u.size = head.ContentLength
	}
	return u, head, nil
}

func (h *Handler) head(ctx context.Context, u upload) (*s3.HeadObjectOutput, error) {
	in := &s3.HeadObjectInput{Bucket: &u.bucket, Key: &u.key}
	if u.version != "" {
		in.VersionId = &u.version
	} else if u.etag != "" {
		in.IfMatch = aws.String(quoted(u.etag))
	}
	head, err := h.Inbox.HeadObject(ctx, in)
	if err == nil && u.etag != "" && aws.ToString(head.ETag) != quoted(u.etag) {
		return nil, errOther
	}
	return head, err
}

// errOther: what lies there has not the ETag that the event tells.
var errOther = errors.New("the object has another ETag")

func quoted(etag string) string { return `"` + etag + `"` }

// missing reports whether an error says that the object, or the version, is not
// there, or not as the event tells it. 405 is a delete marker's.
func missing(err error) bool {
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) {
		switch answer.HTTPStatusCode() {
		case http.StatusNotFound, http.StatusPreconditionFailed, http.StatusMethodNotAllowed:
			return true
		}
	}
	return errors.Is(err, errOther)
}

// copyOfItself reports whether a copied object is what its key held before: the
// version before it has the same ETag and the same parameters in its metadata.
// Where no versions are kept nobody can tell.
func (h *Handler) copyOfItself(ctx context.Context, u upload, head *s3.HeadObjectOutput) (bool, error) {
	in := &s3.ListObjectVersionsInput{Bucket: &u.bucket, Prefix: &u.key, MaxKeys: aws.Int32(2)} // this one and the one before
	if u.version != "" {
		in.KeyMarker, in.VersionIdMarker, in.MaxKeys = &u.key, &u.version, aws.Int32(1)
	}
	list, err := h.Inbox.ListObjectVersions(ctx, in)
	if err != nil {
		return false, named.Errorf(named.Unavailable, "S3 could not list the versions of %s: %w", u, err)
	}
	versions := list.Versions
	if u.version == "" {
		if len(versions) == 0 || aws.ToString(versions[0].ETag) != aws.ToString(head.ETag) {
			return false, nil
		}
		versions = versions[1:]
	}
	if len(versions) == 0 || aws.ToString(versions[0].Key) != u.key || aws.ToString(versions[0].ETag) != aws.ToString(head.ETag) {
		return false, nil // there was none before it, or other bytes, or a delete marker
	}
	before, err := h.Inbox.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &u.bucket, Key: &u.key, VersionId: versions[0].VersionId})
	if missing(err) {
		return false, nil
	}
	if err != nil {
		return false, named.Errorf(named.Unavailable, "S3 could not look up an earlier version of %s: %w", u, err)
	}
	return maps.Equal(parametersOf(before), parametersOf(head)), nil
}

// job reads jobs/NAME.json as it was when the event was sent.
func (h *Handler) job(ctx context.Context, u upload, head *s3.HeadObjectOutput) ([]byte, error) {
	if path.Ext(u.key) != ".json" {
		return nil, rejected("a job is a file jobs/NAME.json; for an input file use files/{workflow}/{parameter}/{file}")
	}
	in := &s3.GetObjectInput{Bucket: &u.bucket, Key: &u.key, IfMatch: head.ETag}
	if u.version != "" {
		in.VersionId = &u.version
	}
	object, err := h.Inbox.GetObject(ctx, in)
	if missing(err) {
		return nil, lost("it was taken away or replaced while it was read")
	}
	if err != nil {
		return nil, named.Errorf(named.Unavailable, "S3 could not read %s: %w", u, err)
	}
	defer object.Body.Close()
	raw, err := run.ReadText(object.Body)
	if err != nil {
		return nil, named.Errorf(named.Unavailable, "S3 could not read %s: %w", u, err)
	}
	return raw, nil
}

// file makes the request for files/{workflow}/{parameter}/{file}, pinned to what
// was uploaded. The other parameters come as text, which Submit types by the
// workflow's own.
func file(u upload, head *s3.HeadObjectOutput) ([]byte, error) {
	parts := strings.SplitN(strings.TrimPrefix(u.key, filesPrefix), "/", 3)
	if len(parts) < 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return nil, rejected("an input file lies at files/{workflow}/{parameter}/{file}")
	}
	var faults named.Violations
	if u.size != nil && *u.size > run.MaxInputFile {
		faults.Add("key", "is a file of %d bytes; Cyberun takes at most %d", *u.size, run.MaxInputFile)
	}
	parameters := map[string]any{}
	given := parametersOf(head)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		value := plain(given[name])
		if !utf8.ValidString(name) || !utf8.ValidString(value) {
			faults.Add("x-amz-meta-"+paramMetadata+strings.ToValidUTF8(name, "?"), "is not UTF-8")
			continue
		}
		parameters[name] = value
	}
	if err := faults.Err(); err != nil {
		return nil, err
	}
	parameters[parts[1]] = u.String()
	pin := run.InputVersion{VersionID: u.version}
	if u.version == "" {
		pin.ETag = strings.Trim(aws.ToString(head.ETag), `"`)
	}
	raw, err := json.Marshal(run.Request{
		Workflow: parts[0], Parameters: parameters, ParametersAsText: true, InputVersions: map[string]run.InputVersion{parts[1]: pin},
	})
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	return raw, nil
}

// parametersOf are the parameters in an object's metadata, as S3 hands them out.
func parametersOf(head *s3.HeadObjectOutput) map[string]string {
	parameters := map[string]string{}
	for name, value := range head.Metadata {
		if key, ok := strings.CutPrefix(strings.ToLower(name), paramMetadata); ok && key != "" {
			parameters[key] = value
		}
	}
	return parameters
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

func rejected(format string, args ...any) error {
	return named.Violations{{Parameter: "key", Message: fmt.Sprintf(format, args...)}}.Err()
}

// start is safe to repeat: the name follows from the upload, and Step Functions
// runs a name once. A name that is there belongs to the same event: its 72 bits
// need no comparison of inputs.
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
	h.Log.InfoContext(ctx, "rejected", "bucket", u.bucket, "key", u.key, "told_in", key, "reasons", len(e.Violations))
	return key, nil
}

const (
	maxKey    = 1024 // bytes, S3's
	maxName   = 60   // of an execution name's 80
	hashBytes = 9    // 18 hex digits: 60 + 1 + 18 are 79, and no two of 10^8 uploads of one name meet
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

// runIDFor is the same for every delivery of one event, raw key or encoded, and
// another for a fresh upload of the same bytes.
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
