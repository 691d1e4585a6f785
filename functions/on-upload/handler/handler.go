// Package handler starts a run for each object that is uploaded to the inbox. For an
// object that cannot become a run it writes the reason to the inbox, below rejected/.
package handler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
)

// The beginnings of the inbox's keys, and of the metadata that has parameters.
const (
	jobsPrefix     = "jobs/"
	filesPrefix    = "files/"
	rejectedPrefix = "rejected/"
	paramMetadata  = "param-" // x-amz-meta-param-steps: 30
)

// Input is an event of S3, by EventBridge or as a notification, which Handle decodes.
type Input struct{ json.RawMessage }

// ID returns the id of the run that [observe.Invocation] names in the line of the call:
// none, since an event can start several runs, each of which has a line of its own.
func (in Input) ID() string { return "" }

// Response says what became of the objects that an event reported.
type Response struct {
	Started  []string `json:"started,omitempty"`  // run ids, also of runs that were started before
	Rejected []string `json:"rejected,omitempty"` // keys of the reasons that were written
	Ignored  int      `json:"ignored,omitempty"`  // objects that start no run and are not rejected
}

// Inbox is the part of an S3 client that on-upload calls, for the inbox only.
type Inbox interface {
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	ListObjectVersions(context.Context, *s3.ListObjectVersionsInput, ...func(*s3.Options)) (*s3.ListObjectVersionsOutput, error)
}

// Executions starts executions of the stack's state machine. Start returns ErrExists of
// shared/executions for a name that was used before.
type Executions interface {
	Start(ctx context.Context, runID, input string) error
}

// Handler turns uploads into executions. It does not call Cyberun: submit checks the
// parameters against the workflow.
type Handler struct {
	Inbox      Inbox
	Executions Executions
	Log        *slog.Logger
}

// Handle starts a run for each object that an event reports. An object that cannot
// become a run does not hold up the others. The call fails if S3 or Step Functions could
// not be reached, or if the event, or one of its entries, is malformed. An object that is
// gone or was replaced is skipped with a warning. The call may be repeated: an object that
// has its run starts no second one.
func (h *Handler) Handle(ctx context.Context, in Input) (Response, error) {
	found, unreadable := uploads(in.RawMessage)
	var out Response
	var failures []error
	if len(found) == 0 && unreadable == nil {
		h.Log.InfoContext(ctx, "ignored", "why", "it is the test event of a new notification")
	}
	for _, u := range found {
		if err := h.start(ctx, u, &out); err != nil {
			h.Log.WarnContext(ctx, "not started yet", "bucket", u.bucket, "key", u.key, "cause", err.Error())
			failures = append(failures, err)
		}
	}
	// Passing failures first: the first name in the chain is the call's own.
	return out, errors.Join(append(failures, unreadable)...)
}

// start starts the run of one upload, rejects it, or ignores it, and adds that to out.
func (h *Handler) start(ctx context.Context, u upload, out *Response) error {
	u, request, err := h.request(ctx, u)
	var none *skipped
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
	// A name that exists belongs to an earlier delivery of this event: its 72 bits of
	// hash need no comparison of inputs.
	if err := h.Executions.Start(ctx, runID, string(request)); err != nil && !errors.Is(err, executions.ErrExists) {
		return err
	}
	out.Started = append(out.Started, runID)
	h.Log.InfoContext(ctx, "started", observe.RunID, runID, "object", u.String(), "version", u.version)
	return nil
}

// rejection is the document under rejected/.
type rejection struct {
	Key       string           `json:"key"`
	Sequencer string           `json:"sequencer,omitempty"`
	Error     *named.Error     `json:"error"`
	Reasons   named.Violations `json:"reasons"`
}

// reject writes why an upload became no run into the inbox, and returns the key.
func (h *Handler) reject(ctx context.Context, u upload, e *named.Error) (string, error) {
	key := rejectedKey(u)
	document := rejection{Key: u.key, Sequencer: u.sequencer, Error: e, Reasons: e.Violations}
	body, _ := json.MarshalIndent(document, "", "  ") // of these types it cannot fail
	if _, err := h.Inbox.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &u.bucket, Key: &key, Body: bytes.NewReader(append(body, '\n')), ContentType: aws.String("application/json"),
	}); err != nil {
		return "", named.Errorf(named.Unavailable, "S3 could not write s3://%s/%s: %w", u.bucket, key, err)
	}
	h.Log.InfoContext(ctx, "rejected", "bucket", u.bucket, "key", u.key, "reasons_in", key, "violations", len(e.Violations))
	return key, nil
}

// skipped is why an upload starts no run and is not rejected either. Each has a
// line in the log.
type skipped struct {
	level slog.Level
	why   string
}

func (s *skipped) Error() string { return s.why }

// skip returns why an upload that never asked for a run starts none.
func skip(why string) error { return &skipped{slog.LevelInfo, why} }

// skipWithWarning returns why an upload that asked for a run, and can no longer be read,
// starts none. Its line in the log is a warning, since a person may want to know.
func skipWithWarning(why string) error { return &skipped{slog.LevelWarn, why} }

// request returns the request that an upload stands for, checked as far as it can
// be without the workflow, and the upload with the object's own key. Its error is
// skipped, InvalidRequest, or passing.
func (h *Handler) request(ctx context.Context, u upload) (upload, []byte, error) {
	if why := whyIgnored(u); why != "" {
		return u, nil, skip(why)
	}
	u, head, err := h.findObject(ctx, u)
	if err != nil {
		return u, nil, err
	}
	if why := whyIgnored(u); why != "" { // by the decoded key, and by the size that S3 reports
		return u, nil, skip(why)
	}
	if u.copied {
		if err := h.skipCopyOfItself(ctx, u, head); err != nil {
			return u, nil, err
		}
	}
	if store.Archived(head) {
		return u, nil, rejected(store.InArchive)
	}
	var raw []byte
	if strings.HasPrefix(u.key, jobsPrefix) {
		raw, err = h.jobRequest(ctx, u, head)
	} else {
		raw, err = fileRequest(u, head)
	}
	if err != nil {
		return u, nil, err
	}
	if _, violations := run.ParseRequest(raw); len(violations) > 0 {
		return u, nil, violations.Err()
	}
	input, err := run.Canonical(raw)
	return u, input, err
}

// whyIgnored returns why an upload starts no run, by what its event says; empty if
// it may start one.
func whyIgnored(u upload) string {
	switch {
	case !u.created():
		return "it is no upload: " + u.event
	case strings.HasSuffix(u.key, "/"):
		return "it is a folder"
	case !strings.HasPrefix(u.key, jobsPrefix) && !strings.HasPrefix(u.key, filesPrefix):
		return "it lies outside " + jobsPrefix + " and " + filesPrefix
	}
	if why := whyNotMeant(u.key); why != "" {
		return why
	}
	if u.size != nil && *u.size == 0 {
		// Many clients create a file empty and write it a moment later.
		return "it is empty"
	}
	return ""
}
