package handler

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/fanout"
	"github.com/cyberun-cloud/cyberun-relay/shared/httpapi"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// view is a run as the API answers it.
type view struct {
	RunID       string          `json:"run_id"`
	Status      run.Status      `json:"status"`
	Workflow    string          `json:"workflow,omitempty"`
	TaskID      string          `json:"task_id,omitempty"`
	TaskStatus  string          `json:"task_status,omitempty"`
	Adopted     bool            `json:"adopted,omitempty"`
	StartedAt   time.Time       `json:"started_at,omitzero"`
	EndedAt     time.Time       `json:"ended_at,omitzero"`
	Progress    *run.Progress   `json:"progress,omitempty"`
	Bucket      string          `json:"bucket,omitempty"`
	ManifestKey string          `json:"manifest_key,omitempty"`
	Outputs     []outputView    `json:"outputs,omitempty"`
	OutputsNext string          `json:"outputs_next,omitempty"` // for ?outputs_after
	Candidates  []run.Candidate `json:"candidates,omitempty"`
	Submission  *run.Submission `json:"submission,omitempty"` // while its outcome is unknown
	ExtraTasks  []run.ExtraTask `json:"extra_tasks,omitempty"`
	Cancel      *run.Cancel     `json:"cancel,omitempty"`
	Error       *named.Error    `json:"error,omitempty"`
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
	// maxSigned is how many outputs one answer has. With the session token of a
	// role, an output takes some 2 KB of the 6 MB that Lambda can answer.
	maxSigned = 1000
	// maxLongPoll keeps ?wait within the 30 s of an HTTP API.
	maxLongPoll = 20 * time.Second
	// longPollStep is how often a waiting call looks at the record.
	longPollStep = time.Second

	// describeAgain and describePause bound how long an unknown run is looked for.
	describeAgain = 3
	describePause = 400 * time.Millisecond

	usualLimit = 20 // entries of a list's page, if the query has no limit
	// maxScanned bounds how many records one call reads when it filters by
	// status: the cursor goes on from there.
	maxScanned = 500
	readers    = 16 // records read at once
)

// getRun answers at once, or with ?wait=SECONDS when the run has ended, if that
// is sooner.
func (h *Handler) getRun(ctx context.Context, r httpapi.Request) (none httpapi.Response, err error) {
	q, err := httpapi.Query(r)
	if err != nil {
		return none, err
	}
	wait, err := longPoll(q.Get("wait"))
	if err != nil {
		return none, err
	}
	until := h.Now().Add(wait)
	for {
		v, err := h.view(ctx, r.PathParameters["id"], q.Get("outputs_after"))
		if err != nil {
			return none, err
		}
		if !v.Status.Open() || !h.Now().Before(until) {
			return httpapi.JSON(http.StatusOK, v)
		}
		if err := h.Sleep(ctx, min(longPollStep, until.Sub(h.Now()))); err != nil {
			return none, err
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

// view returns a run with everything that is known of it. A run that was accepted
// a moment ago has no record yet: Step Functions knows it.
func (h *Handler) view(ctx context.Context, id, outputsAfter string) (view, error) {
	r, err := h.Runs.Get(ctx, id)
	if errors.Is(err, lifecycle.ErrNoRecord) {
		return h.unrecorded(ctx, id)
	}
	if err != nil {
		return view{}, err
	}
	v := h.summary(r.Record)
	if r.TaskID != "" {
		progress, err := h.Runs.Progress(ctx, id)
		if err != nil {
			return v, err
		}
		if r.TaskStatus == "" {
			v.TaskStatus = progress.TaskStatus
		}
		if progress.Polls > 0 {
			v.Progress = &progress
		}
	}
	if v.ManifestKey != "" {
		if v.Outputs, v.OutputsNext, err = h.outputs(ctx, r.Record, v.Bucket, outputsAfter); err != nil {
			return v, err
		}
	}
	return v, nil
}

// summary returns what the record alone says of a run, as lists show it.
func (h *Handler) summary(r run.Record) view {
	v := view{
		RunID: r.RunID, Status: r.Status.Shown(), Workflow: cmp.Or(r.TaskWorkflow, r.Workflow), TaskID: r.TaskID,
		TaskStatus: r.TaskStatus, Adopted: r.Adopted, StartedAt: r.StartedAt, EndedAt: r.EndedAt,
		Candidates: r.Candidates, ExtraTasks: r.ExtraTasks, Cancel: r.Cancel, Error: r.Error,
	}
	if r.InDoubt() {
		v.Submission = r.Submission
	}
	if r.Status == run.Succeeded {
		v.Bucket, v.ManifestKey = cmp.Or(r.Bucket, h.OutputBucket), r.ManifestKey
	}
	return v
}

// unrecorded returns what Step Functions knows of a run without a record.
func (h *Handler) unrecorded(ctx context.Context, id string) (view, error) {
	execution, err := h.find(ctx, id)
	if errors.Is(err, executions.ErrNotFound) {
		return view{}, notFound(id)
	}
	if err != nil {
		return view{}, err
	}
	request, _ := run.ParseRequest([]byte(execution.Input))
	return view{RunID: id, Status: statusOf(execution.State), StartedAt: execution.StartedAt, Workflow: request.Workflow, Error: execution.Error}, nil
}

func notFound(id string) error {
	return named.Errorf(named.RunNotFound, "there is no run %s, or it ended over 90 days ago", id)
}

// find describes the execution of a run, and asks again if there is none: it may
// have been started a moment ago, and Step Functions' reads are eventually
// consistent.
func (h *Handler) find(ctx context.Context, id string) (executions.Execution, error) {
	if !executions.ValidName(id) {
		return executions.Execution{}, executions.ErrNotFound
	}
	for again := 0; ; again++ {
		execution, err := h.Executions.Describe(ctx, h.Executions.Execution(id))
		if !errors.Is(err, executions.ErrNotFound) || again == describeAgain {
			return execution, err
		}
		if err := h.Sleep(ctx, describePause); err != nil {
			return execution, err
		}
	}
}

// statusOf returns the status of a run without a record.
func statusOf(s executions.State) run.Status {
	switch s {
	case executions.Succeeded:
		return run.Succeeded
	case executions.Aborted:
		return run.Cancelled
	case executions.Failed, executions.TimedOut:
		return run.Failed
	}
	return run.Submitting
}

// outputs reads a manifest and signs an address for each output after the one
// named, 1,000 at most; next is the last of them if there are more. Only keys
// under the run's own prefix are signed: others may write to the user's bucket,
// and this function's role may read all of it. A manifest that was moved or has
// expired is no fault of the run.
func (h *Handler) outputs(ctx context.Context, r run.Record, bucket, after string) (views []outputView, next string, err error) {
	object, err := h.Outputs.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &r.ManifestKey})
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) && answer.HTTPStatusCode() == http.StatusNotFound {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", named.Errorf(named.Unavailable, "S3 could not read s3://%s/%s: %w", bucket, r.ManifestKey, err)
	}
	defer object.Body.Close()
	var manifest run.Manifest
	if err := json.NewDecoder(io.LimitReader(object.Body, maxManifest)).Decode(&manifest); err != nil {
		return nil, "", named.Errorf(named.Unavailable, "s3://%s/%s cannot be read: %w", bucket, r.ManifestKey, err)
	}
	outputs := manifest.Outputs
	if after != "" {
		i := slices.IndexFunc(outputs, func(o run.Output) bool { return o.ID == after })
		if i < 0 {
			return nil, "", named.Violations{{Parameter: "outputs_after", Message: "is not the id of an output of this run"}}.Err()
		}
		outputs = outputs[i+1:]
	}
	if len(outputs) > maxSigned {
		outputs = outputs[:maxSigned]
		next = outputs[maxSigned-1].ID
	}
	views = make([]outputView, len(outputs))
	for i, o := range outputs {
		views[i] = outputView{Output: o, S3URI: "s3://" + bucket + "/" + o.Key}
		if !ownOutput(r, o.Key) {
			continue
		}
		signed, err := h.Presign.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &o.Key}, s3.WithPresignExpires(urlLife))
		if err != nil {
			return nil, "", named.Errorf(named.Unavailable, "no address could be signed for s3://%s/%s: %w", bucket, o.Key, err)
		}
		views[i].URL = signed.URL
	}
	return views, next, nil
}

// ownOutput reports whether a key of a manifest is one of the run's own outputs.
func ownOutput(r run.Record, key string) bool {
	prefix := r.OutputPrefix()
	return prefix != "" && strings.HasPrefix(key, prefix) && key != prefix+run.ManifestName && key != prefix+run.ErrorName
}

// listQuery is what GET /runs asks for.
type listQuery struct {
	httpapi.Page
	status run.Status // empty: of any status
}

// parseListQuery reads the query of GET /runs, and reports everything that is
// wrong with it at once.
func parseListQuery(r httpapi.Request) (listQuery, error) {
	q, err := httpapi.Query(r)
	if err != nil {
		return listQuery{}, err
	}
	var violations named.Violations
	out := listQuery{status: run.Status(q.Get("status"))}
	if out.status != "" && !slices.Contains(run.Statuses, out.status) {
		violations.Add("status", "must be one of submitting, waiting, copying, succeeded, failed, cancelled")
	}
	out.Page = httpapi.ReadPage(q, usualLimit, &violations)
	return out, violations.Err()
}

// listRuns reads the index, newest first, and the records it names.
func (h *Handler) listRuns(ctx context.Context, r httpapi.Request) (none httpapi.Response, err error) {
	q, err := parseListQuery(r)
	if err != nil {
		return none, err
	}
	answer := struct {
		Runs       []view `json:"runs"`
		NextCursor string `json:"next_cursor,omitempty"`
	}{Runs: []view{}}
	cursor, scanned := q.Cursor, 0
	for len(answer.Runs) < q.Limit && scanned < maxScanned {
		page, more, err := h.page(ctx, cursor, q.Limit)
		if err != nil {
			return none, err
		}
		scanned += len(page)
		for _, e := range page {
			cursor = e.cursor
			if e.found && lifecycle.CursorOf(e.record) == e.cursor && (q.status == "" || e.record.Status.Shown() == q.status) {
				answer.Runs = append(answer.Runs, h.summary(e.record))
				if len(answer.Runs) == q.Limit {
					break
				}
			}
		}
		if !more && (len(page) == 0 || cursor == page[len(page)-1].cursor) {
			cursor = ""
			break
		}
	}
	answer.NextCursor = httpapi.EncodeCursor(cursor)
	return httpapi.JSON(http.StatusOK, answer)
}

// entry is one run of the list, with its place in it.
type entry struct {
	cursor string
	record run.Record
	found  bool
}

// page reads at most limit entries of the index after cursor, with their records;
// more says that there are further ones.
func (h *Handler) page(ctx context.Context, cursor string, limit int) (page []entry, more bool, err error) {
	var ids []string
	if err := h.Runs.Newest(ctx, cursor, func(runID, cursor string) bool {
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
	return page, more, fanout.Each(ctx, readers, len(ids), func(ctx context.Context, i int) error {
		r, err := h.Runs.Get(ctx, ids[i])
		if errors.Is(err, lifecycle.ErrNoRecord) {
			return nil
		}
		page[i].record, page[i].found = r.Record, err == nil
		return err
	})
}
