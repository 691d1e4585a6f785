package named

import "net/http"

// The names of the errors. Step Functions shows and retries by them, and a record,
// error.json, the API's answers and the command line carry them. [Table] says what
// each means.
const (
	InvalidRequest          = "InvalidRequest"
	InputReplaced           = "InputReplaced"
	InputGone               = "InputGone"
	WorkflowNotFound        = "WorkflowNotFound"
	WorkflowDisabled        = "WorkflowDisabled"
	Unauthorized            = "Unauthorized"
	FeatureNotLicensed      = "FeatureNotLicensed"
	RunRejected             = "RunRejected"
	OutputBucketRefused     = "OutputBucketRefused"
	SubmitInDoubt           = "SubmitInDoubt"
	WorkflowInDoubt         = "WorkflowInDoubt"
	SubmitOutcomeUnknown    = "SubmitOutcomeUnknown"
	Unavailable             = "Unavailable"
	TaskFailed              = "TaskFailed"
	TaskCancelled           = "TaskCancelled"
	TaskTaken               = "TaskTaken"
	RunTimedOut             = "RunTimedOut"
	RunCancelled            = "RunCancelled"
	Superseded              = "Superseded"
	HistoryFull             = "HistoryFull"
	OutputExpired           = "OutputExpired"
	OutputTruncated         = "OutputTruncated"
	OutputChanged           = "OutputChanged"
	OutputUnavailable       = "OutputUnavailable"
	OriginRefused           = "OriginRefused"
	NoOutputs               = "NoOutputs"
	RunNotFound             = "RunNotFound"
	NotFound                = "NotFound"
	IdempotencyConflict     = "IdempotencyConflict"
	NotInDoubt              = "NotInDoubt"
	ContainerNotFound       = "ContainerNotFound"
	ContainerNotRunning     = "ContainerNotRunning"
	ContainerTimedOut       = "ContainerTimedOut"
	ContainerBodyTooLarge   = "ContainerBodyTooLarge"
	ContainerAnswerTooLarge = "ContainerAnswerTooLarge"
)

// Spec is a row of [Table]: what a name means wherever it appears.
type Spec struct {
	Name string
	// Meaning says in whole sentences what has happened, for docs/errors.md.
	Meaning string
	// Hint says what to do about the error, where the code that made it has nothing
	// more precise to say.
	Hint string
	// RequestHint replaces Hint in the answer to a request, where Hint speaks of a
	// run that there may not be; empty: Hint fits both.
	RequestHint string
	// HTTPStatus is the status of the API's problem document; 0 stands for 503.
	HTTPStatus int
	// Retried says that the state machine calls the step again, after a pause.
	Retried bool
	// Redrivable says that redriving the run's execution can get past the error
	// without paying again, once its cause is gone.
	Redrivable bool
	// EndsPolling says that a step which meets the error while it waits for the
	// task ends the run: no waiting mends it.
	EndsPolling bool
}

// Table lists every named error, in the order in which a run can meet them. The state
// machine's retriers, the API's statuses and the command line's advice are held
// to it by tests, and docs/errors.md is generated from it.
var Table = []Spec{
	{Name: InvalidRequest, HTTPStatus: http.StatusBadRequest,
		Meaning:     "The request is wrong. Everything that is wrong with it is listed; nothing was submitted or paid.",
		Hint:        "correct what is listed and start a new run; nothing was submitted or paid",
		RequestHint: "correct what is listed and send the request again; nothing was started or paid"},
	{Name: InputReplaced, HTTPStatus: http.StatusConflict,
		Meaning: "The object that the run is pinned to was written again before the run read it. Nothing was submitted or paid.",
		Hint:    "the object was written again after this run was asked for; its newer bytes start a run of their own, or start one by hand; nothing was submitted or paid"},
	{Name: InputGone, HTTPStatus: http.StatusGone,
		Meaning: "The version of the object that the run is pinned to was deleted, or has expired. Nothing was submitted or paid.",
		Hint:    "the object's version was deleted or has expired: upload it again; nothing was submitted or paid"},
	{Name: WorkflowNotFound, HTTPStatus: http.StatusNotFound, Redrivable: true,
		Meaning: "Cyberun has no such workflow, or no such version of it, for the stack's Cyberun key.",
		Hint:    "`relay workflows` lists the workflows this key can run; check the slug and the version after @"},
	{Name: WorkflowDisabled, HTTPStatus: http.StatusBadRequest, Redrivable: true,
		Meaning:     "The workflow exists and is switched off at Cyberun.",
		Hint:        "enable the workflow at Cyberun and redrive the run, or run another; `relay workflows` shows which are active",
		RequestHint: "enable the workflow at Cyberun, or run another; `relay workflows` shows which are active"},
	{Name: Unauthorized, HTTPStatus: http.StatusBadGateway, Redrivable: true, EndsPolling: true,
		Meaning:     "The stack's Cyberun key is missing, or Cyberun refuses it.",
		Hint:        "put a valid sk-… key into the secret that the stack output ApiKeySecretArn names, then redrive the run",
		RequestHint: "put a valid sk-… key into the secret that the stack output ApiKeySecretArn names, then send the request again"},
	{Name: FeatureNotLicensed, HTTPStatus: http.StatusBadGateway, Redrivable: true,
		Meaning:     "The Cyberun deployment's licence lacks a feature that the run needs.",
		Hint:        "this Cyberun deployment's licence lacks the feature named in the cause: ask its administrator, then redrive the run",
		RequestHint: "this Cyberun deployment's licence, or the key, lacks what the detail names: ask its administrator"},
	{Name: RunRejected, HTTPStatus: http.StatusBadRequest,
		Meaning:     "Cyberun refused the run, or five submissions in a row never started; the cause has what Cyberun answered last, if it answered. Nothing was paid.",
		Hint:        "Cyberun refused the run and started nothing; correct what the cause names and start a new run",
		RequestHint: "Cyberun refused what the relay asked, as the detail says; is this stack's version of the relay as new as the Cyberun deployment?"},
	{Name: OutputBucketRefused, HTTPStatus: http.StatusBadGateway, Redrivable: true, EndsPolling: true,
		Meaning: "The output bucket does not take the run's objects: its region, policy, encryption key or name is wrong. The cause has S3's own code.",
		Hint:    "correct the output bucket's policy, region, encryption key (KmsKeyArn) or name (OutputBucketName), then redrive the run: a task that was paid for is delivered, not paid again"},
	{Name: SubmitInDoubt, HTTPStatus: http.StatusServiceUnavailable, Retried: true,
		Meaning: "The reply to this run's submission was lost, or another call of the same step is submitting the run or has given it a task. A run shows this only while the state machine retries it.",
		Hint:    "wait: the relay first finds out, in its records and Cyberun's task list, what became of the submission"},
	{Name: WorkflowInDoubt, HTTPStatus: http.StatusServiceUnavailable, Retried: true,
		Meaning: "The reply to another run's submission of the same workflow was lost, so this run waits before it submits. A run shows this only while the state machine retries it.",
		Hint:    "another run of this workflow is finding out what became of its submission; this one submits after it"},
	{Name: SubmitOutcomeUnknown, Redrivable: true,
		Meaning: "The reply to the submission was lost, and whether a task started could not be found out. The cause says why ([lost replies](lost-replies.md)).",
		Hint:    "`relay status RUN` shows the candidates; say which task is this run's with `relay decide RUN TASK`, or that none is with `relay decide RUN --not-started`"},
	{Name: Unavailable, HTTPStatus: http.StatusServiceUnavailable, Retried: true, Redrivable: true,
		Meaning:     "A service could not be reached, or the relay or the platform failed in a way that has no other name. The cause says which. While a service is away, the state machine tries for an hour or more before a run fails by it.",
		Hint:        "a remote could not be reached; redrive the run once it answers again",
		RequestHint: "it is mostly a passing state: send the request again after the seconds that Retry-After names"},
	{Name: TaskFailed, EndsPolling: true,
		Meaning: "The task failed at Cyberun, or Cyberun no longer knows it.",
		Hint:    "the cause has Cyberun's own message, if there was one; correct the parameters or the workflow and start a new run"},
	{Name: TaskCancelled, EndsPolling: true,
		Meaning: "Somebody cancelled the task at Cyberun.",
		Hint:    "the task was cancelled at Cyberun; start a new run if it was not meant"},
	{Name: TaskTaken, HTTPStatus: http.StatusConflict, Redrivable: true,
		Meaning: "Another run that has not ended delivers the task; or a person named it for a run in doubt, and another run is known to have started it.",
		Hint:    "look at the run that the cause names. If it delivers the task, wait for its end; if it started the task, do not stop it, since a stop cancels that, and name the task for no other run"},
	{Name: RunTimedOut, Redrivable: true,
		Meaning: "The run's `max_seconds` passed before its task ended; or before it could be submitted, and then a redrive submits nothing any more; or the state machine's own 8 days.",
		Hint:    "the cause says what became of the task; a redrive gives one that was left running max_seconds once more, at most until 7 days after the run's first start; a run without a task needs a new run"},
	{Name: RunCancelled,
		Meaning: "A person stopped the run.",
		Hint:    "the run was stopped by a person, and a redrive keeps it stopped; start a new run if it was not meant"},
	{Name: Superseded,
		Meaning: "The call came too late: the execution has been redriven since, or its run is already closed. It changed nothing.",
		Hint:    "the run went on, or ended, without this call, which did nothing"},
	{Name: HistoryFull, Redrivable: true, EndsPolling: true,
		Meaning: "The history of the run's execution is nearly full: Step Functions allows 25,000 events.",
		Hint:    "the execution's history is nearly full; nothing was cancelled: rescue its task with `relay rescue TASK`, or redrive the run once the task has ended"},
	{Name: OutputExpired, Redrivable: true,
		Meaning: "Cyberun no longer hands the output out. It keeps outputs for 7 days.",
		Hint:    "Cyberun no longer hands this output out; redrive the run if it should still be there, before you pay for a new one"},
	{Name: OutputTruncated, Redrivable: true,
		Meaning: "The origin of the output sent fewer or more bytes than it had announced. Nothing of it was stored.",
		Hint:    "the origin sent fewer or more bytes than it announced; redrive the run to fetch it anew"},
	{Name: OutputChanged, Redrivable: true,
		Meaning: "The output was replaced at its origin while it was copied. Nothing of it was stored.",
		Hint:    "the output changed while it was copied; redrive the run to fetch it anew"},
	{Name: OutputUnavailable, Redrivable: true,
		Meaning: "The origin refuses the output with the HTTP status in the cause, such as 400, 410 or 451.",
		Hint:    "the origin refuses this output with the status in the cause; redrive the run once it is there again"},
	{Name: OriginRefused, Redrivable: true,
		Meaning: "The address of an output, or the one that an input file is to be sent to, is one that the stack may not reach.",
		Hint:    "the address is not allowed: for downloads see the stack parameter DownloadHosts, which opens no private address; then redrive the run"},
	{Name: NoOutputs, Redrivable: true,
		Meaning: "The task completed and left no file.",
		Hint:    "the task completed but left no downloadable output: look at the workflow's output nodes, or redrive the run if they should be there"},
	{Name: RunNotFound, HTTPStatus: http.StatusNotFound,
		Meaning: "There is no such run, or it ended over 90 days ago.",
		Hint:    "`relay list` shows the runs there are"},
	{Name: NotFound, HTTPStatus: http.StatusNotFound,
		Meaning: "The API has no such route.",
		Hint:    "docs/openapi.yaml lists the routes"},
	{Name: IdempotencyConflict, HTTPStatus: http.StatusConflict,
		Meaning: "The `Idempotency-Key` was used before, with another request.",
		Hint:    "use a new Idempotency-Key for a new request"},
	{Name: NotInDoubt, HTTPStatus: http.StatusConflict,
		Meaning: "A decision was sent for a run whose submission is not in doubt, or that can no longer be redriven; or another decision than the one that is stored.",
		Hint:    "`relay status RUN` shows what became of the run"},
	{Name: ContainerNotFound, HTTPStatus: http.StatusNotFound,
		Meaning: "Cyberun has no such container service for the stack's Cyberun key.",
		Hint:    "`relay containers` lists the container services this key can call"},
	{Name: ContainerNotRunning, HTTPStatus: http.StatusConflict,
		Meaning: "The container service exists and does not run. The detail has its status.",
		Hint:    "start the container service at Cyberun, then call again"},
	{Name: ContainerTimedOut, HTTPStatus: http.StatusGatewayTimeout,
		Meaning: "The container gave no whole answer within 25 seconds.",
		Hint:    "the container may still be working on the call: look before you send it again"},
	{Name: ContainerBodyTooLarge, HTTPStatus: http.StatusRequestEntityTooLarge,
		Meaning: "The body of the call is larger than Lambda takes. Nothing was sent.",
		Hint:    "Lambda takes 6 MB a call, base64 included: send at most 4 MB of binary; nothing was sent"},
	{Name: ContainerAnswerTooLarge, HTTPStatus: http.StatusBadGateway,
		Meaning: "The container's answer is larger than Lambda returns. The call was carried out.",
		Hint:    "Lambda returns 6 MB a call, base64 included: ask the container for less at once"},
}

// Lookup returns the [Table]'s row for a name. ok is false for one that is not the
// relay's, such as an error of Step Functions itself.
func Lookup(name string) (spec Spec, ok bool) {
	spec, ok = byName[name]
	return spec, ok
}

var byName = func() map[string]Spec {
	m := make(map[string]Spec, len(Table))
	for _, s := range Table {
		m[s.Name] = s
	}
	return m
}()
