package main

import (
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// What one state writes into a history on AWS. The local histories are shorter:
// MiniStack leaves out the events in between, so they are counted anew.
const (
	eventsOfExecution = 2 // ExecutionStarted, ExecutionSucceeded
	eventsOfState     = 2 // …StateEntered, …StateExited
	eventsOfLambda    = 3 // LambdaFunctionScheduled, …Started, …Succeeded
	eventsOfCallback  = 4 // TaskScheduled, TaskStarted, TaskSubmitted, TaskSucceeded or TaskTimedOut
)

const (
	stateSubmit = "Submit"
	statePoll   = "PollStatus"
	stateAwait  = "AwaitWebhook"
	stateCopy   = "CopyResult"
)

// tally is what an execution's history says.
type tally struct {
	transitions, events int
	polls, parks        int
	calls               []Call // without their memory, and without those of AwaitWebhook
	firstPoll, copied   time.Time
}

// count reads a history as AWS bills it: a transition for each state entered and
// for each retry.
func count(history []sfntypes.HistoryEvent) tally {
	var t tally
	var state string
	var began time.Time
	attempts := 0 // of this state
	for _, e := range history {
		kind := string(e.Type)
		switch {
		case kind == "ExecutionStarted":
			t.events += eventsOfExecution
		case strings.HasSuffix(kind, "StateEntered"):
			state, attempts = aws.ToString(e.StateEnteredEventDetails.Name), 0
			t.transitions++
			t.events += eventsOfState
			if state == statePoll && t.firstPoll.IsZero() {
				t.firstPoll = aws.ToTime(e.Timestamp)
			}
		case kind == "TaskScheduled":
			began = aws.ToTime(e.Timestamp)
			t.attempt(state)
			if attempts++; attempts > 1 {
				t.transitions++
			}
		case (kind == "TaskSucceeded" || kind == "TaskFailed") && state != stateAwait:
			t.calls = append(t.calls, Call{Function: functionOf(state), Seconds: aws.ToTime(e.Timestamp).Sub(began).Seconds()})
		case kind == "TaskStateExited" && state == stateCopy:
			t.copied = aws.ToTime(e.Timestamp)
		}
	}
	return t
}

func (t *tally) attempt(state string) {
	if state == stateAwait {
		t.parks++
		t.events += eventsOfCallback
		return
	}
	t.events += eventsOfLambda
	if state == statePoll {
		t.polls++
	}
}

func functionOf(state string) string {
	switch state {
	case stateSubmit:
		return callSubmit
	case stateCopy:
		return callCopy
	}
	return callPoll
}
