package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The tests here lose the replies to submissions and break what a look into
// Cyberun's task list rests on (ADR 4): a task that the list does not show must
// not be paid for a second time. They come first in the package, since one of
// them needs a stack that has had no run.

// lostReply is a submission whose reply is lost, in a workflow of its own.
type lostReply struct {
	name      string
	post      string // what the POST meets at the stand-in
	list      string // what is wrong with the workflow's rows; empty: nothing
	strangers int    // tasks of the workflow that somebody else starts beside it
	words     string // the condition that fails; empty: it is decided without a person
	candidate bool   // its task is named to the person
	unstarted bool   // its POST never started a task

	workflow, prompt, runID string
}

const (
	lateStart = `{"type":"delay","seconds":17}` // SUBMIT_POST and its slack are 15 s
	taskLost  = `{"type":"accept_then_reset"}`
)

// begin starts the run, in a workflow of which the stack has had one task or none.
func (l *lostReply) begin(t *testing.T, s *stack) {
	t.Helper()
	l.prompt = uniqueWord(t) + " " + l.name
	if l.list != "" {
		s.addFault(t, fmt.Sprintf(`{"match":{"workflow":%q},"action":%s}`, l.workflow, l.list))
	}
	s.addFault(t, fmt.Sprintf(`{"match":{"method":"POST","path_regexp":"/run$","workflow":%q},"times":1,"action":%s}`, l.workflow, l.post))
	l.runID = s.start(t, mustJSON(t, map[string]any{"workflow": l.workflow, "parameters": map[string]any{"prompt": l.prompt}}))
	if l.strangers > 0 {
		eventually(t, "its POST has come", func() (bool, any) { paid := s.paid(t, l.prompt); return len(paid) > 0, paid })
		s.atStandIn(t, http.MethodPost, "/strangers", fmt.Sprintf(`{"workflow":%q,"count":%d}`, l.workflow, l.strangers))
	}
}

// check waits for what becomes of the run: it has its task, or a person is asked,
// and says what happened. Either way one task is paid.
func (l *lostReply) check(t *testing.T, s *stack) {
	t.Helper()
	if v := s.end(t, l.runID); l.words != "" {
		l.decide(t, s, v)
	}
	l.settled(t, s)
}

// settled waits until the run has delivered the one task that was paid for.
func (l *lostReply) settled(t *testing.T, s *stack) {
	t.Helper()
	var v runView
	eventually(t, "the run has delivered", func() (bool, any) { v = s.view(t, l.runID, ""); return v.Status == "succeeded", v })
	s.delivered(t, v)
	if paid := s.paid(t, l.prompt); len(paid) != 1 || paid[0].ID != v.TaskID || paid[0].CancelRequested {
		t.Errorf("paid for %+v, the run has %s", paid, v.TaskID)
	}
}

// decide holds the run to the question that a person is asked, and answers it.
func (l *lostReply) decide(t *testing.T, s *stack, v runView) {
	t.Helper()
	s.checkFailure(t, v, "SubmitOutcomeUnknown")
	if v.Error == nil || !strings.Contains(v.Error.Cause, l.words) {
		t.Errorf("the error is %+v, want %q", v.Error, l.words)
	}
	paid, word, named := s.paid(t, l.prompt), "--not-started", "none"
	if l.unstarted != (len(paid) == 0) || len(paid) > 1 {
		t.Fatalf("paid for %+v before anybody decided", paid)
	}
	if !l.unstarted {
		word, named = paid[0].ID, paid[0].ID
	}
	seen := relay(t, 1, "", "status", l.runID)
	for _, want := range []string{l.words, "asked for  " + l.workflow, "relay decide " + l.runID + " --not-started"} {
		if !strings.Contains(seen, want) {
			t.Errorf("relay status does not say %q:\n%s", want, seen)
		}
	}
	if named, says := "\n"+named+" ", "no candidate was found"; strings.Contains(seen, named) != l.candidate || strings.Contains(seen, says) == l.candidate {
		t.Errorf("relay status is to list %q, or say %q:\n%s", named, says, seen)
	}
	t.Logf("relay status says\n%s", seen)
	relay(t, 0, "", "decide", l.runID, word)
}

// witness starts a run of a workflow: once it is old enough, the list must show
// its task.
func (s *stack) witness(t *testing.T, workflow string) (runID string) {
	t.Helper()
	return s.start(t, mustJSON(t, map[string]any{"workflow": workflow, "parameters": map[string]any{"prompt": "a witness"}}))
}

// ripe is how old a witness must be when a reply is lost. It counts from 60 s on,
// and the first look comes 7 s after the POST or later.
const ripe = 55 * time.Second

// ownWorkflow is a workflow that no other test uses.
func ownWorkflow(name string) string {
	return unique("own-" + strings.NewReplacer(" ", "-", ",", "").Replace(strings.ToLower(name)))
}

// TestFreshStack: a stack that has had no task cannot show that its list would show
// one. A person says that the POST started none, and one task is paid.
func TestFreshStack(t *testing.T) {
	s := open(t)
	needRelay(t)
	var before struct {
		Runs []runView `json:"runs"`
	}
	if s.call(t, http.MethodGet, "/runs", "").into(t, &before); len(before.Runs) > 0 {
		t.Skip("the stack has had runs; the test needs one that has had none, and is the first of the package")
	}
	l := lostReply{post: `{"type":"status","status":503}`, workflow: ownWorkflow("fresh"), unstarted: true,
		words: "this stack has not yet seen a task of its own in the list"}
	l.begin(t, s)
	t.Parallel() // its doubt lasts half a minute
	l.check(t, s)
}

// TestLostReplies: whatever the list is, no task is paid twice. Where what it rests
// on is broken, the run ends with the words of what failed, and a person's decision
// finishes it; where it is not, the run decides by itself.
func TestLostReplies(t *testing.T) {
	s := open(t)
	needRelay(t)
	replies := []*lostReply{
		{name: "live tasks only", post: taskLost, list: `{"type":"list_live_only"}`, words: "which a receipt told of"},
		{name: "local time", post: taskLost, list: `{"type":"list_local_time","seconds":28800}`, words: "its times are not those of Cyberun's clock"},
		{name: "a long lag", post: taskLost, list: `{"type":"list_lag","seconds":3600}`, words: "the task list does not show the task"},
		{name: "a late start", post: lateStart, words: "after the submission, and it is not known who started it", candidate: true},
		{name: "rows by strangers", post: taskLost, strangers: 2, words: "3 tasks could be this run's", candidate: true},
		{name: "a short lag", post: taskLost, list: `{"type":"list_lag","seconds":20}`},
		{name: "the oldest first", post: taskLost},
		{name: "503 that hides a task", post: `{"type":"accept_then_status","status":503}`},
		{name: "503", post: `{"type":"status","status":503}`},
		{name: "reset", post: `{"type":"reset"}`},
		{name: "a page", post: `{"type":"status","status":200,"body":"<html>Please sign in</html>"}`},
	}
	began := time.Now()
	var witnesses []string
	for _, l := range replies {
		l.workflow = ownWorkflow(l.name)
		witnesses = append(witnesses, s.witness(t, l.workflow))
	}
	for _, runID := range witnesses {
		s.taskOf(t, runID) // or the fault that a later test puts before a POST would be theirs
	}
	t.Parallel() // the witnesses grow old meanwhile
	for _, runID := range witnesses {
		s.delivered(t, s.end(t, runID))
	}
	time.Sleep(ripe - time.Since(began))
	// The lists of the other tests begin with their newest task.
	s.addFault(t, `{"action":{"type":"list_order","order":"asc"}}`)
	for _, l := range replies {
		l.begin(t, s)
	}
	for _, l := range replies {
		t.Run(l.name, func(t *testing.T) { l.check(t, s) })
	}
}

// TestQuietDoubts: a list from a cache concerns every run in doubt, and one that
// shows ids of snapshots makes every task of that time a candidate. So they are
// played where no other test loses a reply.
func TestQuietDoubts(t *testing.T) {
	s := open(t)
	needRelay(t)
	if hold := s.setting(t, "PollStatusFunction", "HOLD_SECONDS"); hold != "0" {
		t.Skip("`make e2e` runs this test on the stack that polls, where no other test loses a reply")
	}
	cached := &lostReply{name: "a cached list", post: taskLost, workflow: ownWorkflow("cached"), words: "of the task list came from a cache"}
	snapshot := &lostReply{name: "ids of snapshots", post: taskLost, list: `{"type":"list_snapshot_ids"}`, workflow: ownWorkflow("snapshot"),
		words: `snapshot-1" instead of`, candidate: true}
	began := time.Now()
	witness := s.witness(t, snapshot.workflow)
	s.addFault(t, `{"action":{"type":"list_cached","seconds":120}}`)
	cached.begin(t, s)
	t.Parallel()
	t.Run(cached.name, func(t *testing.T) {
		v := s.end(t, cached.runID)
		s.clearFaults(t)
		cached.decide(t, s, v)
	})
	s.delivered(t, s.end(t, witness))
	time.Sleep(ripe - time.Since(began))
	snapshot.begin(t, s)
	t.Run(cached.name+", decided", func(t *testing.T) { cached.settled(t, s) })
	t.Run(snapshot.name, func(t *testing.T) { snapshot.check(t, s) })
}
