package handler

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"golang.org/x/sync/errgroup"
)

// view is a run as the API tells it.
type view struct {
	RunID       string        `json:"run_id"`
	Status      run.Status    `json:"status"`
	Workflow    string        `json:"workflow,omitempty"`
	TaskID      string        `json:"task_id,omitempty"`
	TaskStatus  string        `json:"task_status,omitempty"`
	Adopted     bool          `json:"adopted,omitempty"`
	StartedAt   time.Time     `json:"started_at,omitzero"`
	EndedAt     time.Time     `json:"ended_at,omitzero"`
	Progress    *run.Progress `json:"progress,omitempty"`
	Bucket      string        `json:"bucket,omitempty"`
	ManifestKey string        `json:"manifest_key,omitempty"`
	Outputs     []outputView  `json:"outputs,omitempty"`
	Error       *named.Error  `json:"error,omitempty"`
}

type outputView struct {
	run.Output
	S3URI string `json:"s3_uri"`
	URL   string `json:"url,omitempty"` // signed; it lives as long as urlLife
}

const (
	// urlLife is how long the addresses of outputs in an answer can be fetched.
	urlLife = 15 * time.Minute
	// maxManifest bounds what is read of a manifest: some 300 bytes an output.
	maxManifest = 8 << 20
	// maxLongPoll keeps ?wait within the 30 s of an HTTP API.
	maxLongPoll = 20 * time.Second
	// longPollStep is how often a waiting call looks at the record.
	longPollStep = time.Second

	// describeAgain and describePause bound how long an unknown run is looked for.
	describeAgain = 3
	describePause = 400 * time.Millisecond

	defaultLimit = 20
	maxLimit     = 100
	// maxScanned bounds how many records one call reads when it filters by
	// status: the cursor goes on from there.
	maxScanned = 500
	readers    = 16 // records read at once
)

// getRun answers at once, or with ?wait=SECONDS when the run has ended, if that
// is sooner.
func (h *Handler) getRun(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	wait, err := longPoll(r.URL.Query().Get("wait"))
	if err != nil {
		return err
	}
	until := h.Now().Add(wait)
	for {
		v, err := h.view(r.Context(), id)
		if err != nil {
			return err
		}
		if !v.Status.Open() || !h.Now().Before(until) {
			return writeJSON(w, http.StatusOK, v)
		}
		if err := h.Sleep(r.Context(), min(longPollStep, until.Sub(h.Now()))); err != nil {
			return err
		}
	}
}

func longPoll(value string) (time.Duration, error) {
	if value == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 {
		return 0, named.Violations{{Parameter: "wait", Message: "must be a number of seconds from 0 to 20"}}.Err()
	}
	return min(time.Duration(n)*time.Second, maxLongPoll), nil
}

// view is a run with everything that is known of it. A run that was accepted a
// moment ago has no record yet: Step Functions knows it.
func (h *Handler) view(ctx context.Context, id string) (view, error) {
	record, found, err := h.record(ctx, id)
	if err != nil {
		return view{}, err
	}
	if !found {
		return h.unrecorded(ctx, id)
	}
	v := h.summary(record)
	if record.TaskID != "" {
		progress, err := h.Records.Progress(ctx, id)
		if err != nil {
			return v, err
		}
		if record.TaskStatus == "" {
			v.TaskStatus = progress.TaskStatus
		}
		if progress.Polls > 0 {
			v.Progress = &progress
		}
	}
	if record.ManifestKey != "" {
		if v.Outputs, err = h.outputs(ctx, record.ManifestKey); err != nil {
			return v, err
		}
	}
	return v, nil
}

func (h *Handler) summary(record run.Record) view {
	v := view{
		RunID: record.RunID, Status: record.Status, Workflow: record.Workflow, TaskID: record.TaskID,
		TaskStatus: record.TaskStatus, Adopted: record.Adopted, StartedAt: record.StartedAt, EndedAt: record.EndedAt,
		ManifestKey: record.ManifestKey, Error: record.Error,
	}
	if v.ManifestKey != "" {
		v.Bucket = h.OutputBucket
	}
	return v
}

func (h *Handler) record(ctx context.Context, id string) (run.Record, bool, error) {
	record, err := h.Records.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return record, false, nil
	}
	return record, err == nil, err
}

func (h *Handler) unrecorded(ctx context.Context, id string) (view, error) {
	execution, err := h.find(ctx, id)
	if err != nil {
		return view{}, err
	}
	if execution == nil {
		return view{}, notFound(id)
	}
	v := view{RunID: id, Status: statusOf(execution.Status)}
	if execution.StartDate != nil {
		v.StartedAt = execution.StartDate.UTC()
	}
	if execution.Input != nil {
		request, _ := run.ParseRequest([]byte(*execution.Input))
		v.Workflow = request.Workflow
	}
	switch v.Status {
	case run.Failed:
		v.Error = named.ExecutionError(text(execution.Error), text(execution.Cause))
	case run.Cancelled:
		v.Error = named.Errorf(named.RunCancelled, "the run was stopped before it had a record")
	}
	return v, nil
}

func notFound(id string) error {
	return named.Errorf(named.RunNotFound, "there is no run %s, or it ended over 90 days ago", id)
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// find is describe for a run that may have been accepted a moment ago: Step
// Functions' own reads are eventually consistent.
func (h *Handler) find(ctx context.Context, id string) (*sfn.DescribeExecutionOutput, error) {
	execution, err := h.describe(ctx, id)
	for range describeAgain {
		if err != nil || execution != nil {
			break
		}
		if err := h.Sleep(ctx, describePause); err != nil {
			return nil, err
		}
		execution, err = h.describe(ctx, id)
	}
	return execution, err
}

// describe is nil if there is no such execution.
func (h *Handler) describe(ctx context.Context, id string) (*sfn.DescribeExecutionOutput, error) {
	if !validName(id) {
		return nil, nil
	}
	arn := h.executionARN(id)
	out, err := h.Executions.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: &arn})
	var missing *types.ExecutionDoesNotExist
	switch {
	case errors.As(err, &missing):
		return nil, nil
	case err != nil:
		return nil, named.Errorf(named.Unavailable, "Step Functions could not describe the run %s: %w", id, err)
	}
	return out, nil
}

// executionARN puts the run's name behind its state machine's, as Step Functions does.
func (h *Handler) executionARN(id string) string {
	return strings.Replace(h.StateMachineARN, ":stateMachine:", ":execution:", 1) + ":" + id
}

// validName is what Step Functions allows in an execution's name.
func validName(id string) bool {
	const maxName = 80
	return id != "" && len(id) <= maxName && !strings.ContainsFunc(id, func(r rune) bool {
		return r <= ' ' || r >= 0x7f && r <= 0x9f || strings.ContainsRune(`<>{}[]?*"#%\^|~`+"`$&,;:/", r)
	})
}

// statusOf stands in for a record that is not there.
func statusOf(s types.ExecutionStatus) run.Status {
	switch s {
	case types.ExecutionStatusSucceeded:
		return run.Succeeded
	case types.ExecutionStatusAborted:
		return run.Cancelled
	case types.ExecutionStatusFailed, types.ExecutionStatusTimedOut:
		return run.Failed
	}
	return run.Submitting
}

// outputs reads a manifest and signs an address for each output. The bucket is the
// user's: a manifest that was moved or has expired is no fault of the run.
func (h *Handler) outputs(ctx context.Context, key string) ([]outputView, error) {
	object, err := h.Outputs.GetObject(ctx, &s3.GetObjectInput{Bucket: &h.OutputBucket, Key: &key})
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) && answer.HTTPStatusCode() == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, named.Errorf(named.Unavailable, "S3 could not read s3://%s/%s: %w", h.OutputBucket, key, err)
	}
	defer object.Body.Close()
	var manifest run.Manifest
	if err := json.NewDecoder(io.LimitReader(object.Body, maxManifest)).Decode(&manifest); err != nil {
		return nil, named.Errorf(named.Unavailable, "s3://%s/%s cannot be read: %w", h.OutputBucket, key, err)
	}
	views := make([]outputView, len(manifest.Outputs))
	for i, o := range manifest.Outputs {
		signed, err := h.Presign.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &h.OutputBucket, Key: &o.Key}, s3.WithPresignExpires(urlLife))
		if err != nil {
			return nil, named.Errorf(named.Unavailable, "no address could be signed for s3://%s/%s: %w", h.OutputBucket, o.Key, err)
		}
		views[i] = outputView{Output: o, S3URI: "s3://" + h.OutputBucket + "/" + o.Key, URL: signed.URL}
	}
	return views, nil
}

// listRuns reads the index, newest first, and the records it names.
func (h *Handler) listRuns(w http.ResponseWriter, r *http.Request) error {
	q, err := parseListQuery(r.URL.Query())
	if err != nil {
		return err
	}
	answer := struct {
		Runs       []view `json:"runs"`
		NextCursor string `json:"next_cursor,omitempty"`
	}{Runs: []view{}}
	cursor, scanned := q.cursor, 0
	for len(answer.Runs) < q.limit && scanned < maxScanned {
		page, more, err := h.page(r.Context(), cursor, q.limit)
		if err != nil {
			return err
		}
		scanned += len(page)
		for _, e := range page {
			cursor = e.cursor
			if e.found && store.CursorOf(e.record) == e.cursor && (q.status == "" || e.record.Status == q.status) {
				answer.Runs = append(answer.Runs, h.summary(e.record))
				if len(answer.Runs) == q.limit {
					break
				}
			}
		}
		if !more && (len(page) == 0 || cursor == page[len(page)-1].cursor) {
			cursor = ""
			break
		}
	}
	answer.NextCursor = encodeCursor(cursor)
	return writeJSON(w, http.StatusOK, answer)
}

type entry struct {
	cursor string
	record run.Record
	found  bool
}

// page reads limit entries of the index after cursor, and their records.
func (h *Handler) page(ctx context.Context, cursor string, limit int) (page []entry, more bool, err error) {
	var ids []string
	if err := h.Records.Newest(ctx, cursor, func(runID, cursor string) bool {
		if len(ids) == limit {
			more = true
			return false
		}
		ids = append(ids, runID)
		page = append(page, entry{cursor: cursor})
		return true
	}); err != nil {
		return nil, false, err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	var mu sync.Mutex
	for i, id := range ids {
		group.Go(func() error {
			record, found, err := h.record(groupCtx, id)
			mu.Lock()
			defer mu.Unlock()
			page[i].record, page[i].found = record, found
			return err
		})
	}
	return page, more, group.Wait()
}
