package explore

import (
	"context"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// scenarios, the eight that matter most first: those run in `make test`.
var scenarios = []scenario{
	{name: "submit twice", build: func(s *scene) {
		s.witness()
		s.start("r1", request)
		s.machine("r1", "PollStatus")
		s.late("r1")
	}},
	{name: "close beside a redrive", build: func(s *scene) {
		s.witness()
		s.lostReply("r1")
		s.event("r1").from(closing)
		s.redriverNow("r1", "PollStatus")
	}},
	{name: "two runs, one lost reply", build: func(s *scene) {
		s.witness()
		s.lostReply("r1")
		s.redriverNow("r1", "PollStatus").from(reading)
		s.start("r2", request)
		s.machine("r2", "PollStatus")
	}},
	{name: "two runs, two lost replies", build: func(s *scene) {
		s.witness()
		s.lostReply("r1")
		s.lostReply("r2")
		s.redriverNow("r1", "PollStatus").from(reading)
		s.redriverNow("r2", "PollStatus")
	}},
	{name: "manifest beside a stop", build: func(s *scene) {
		s.witness()
		s.runFor = time.Second
		s.waiting("r1", "CopyResult")
		s.machine("r1", "")
		s.person("r1")
		s.event("r1")
	}},
	{name: "a person's decision twice, beside a redrive", build: func(s *scene) {
		s.lostRequest("r1")
		s.closed("r1")
		s.decision("r1", `{"not_started":true}`)
		s.decision("r1", `{"not_started":true}`)
		s.redriver("r1", "PollStatus")
	}},
	{name: "submit twice, stop and close", build: func(s *scene) {
		s.witness()
		s.start("r1", request)
		s.machine("r1", "PollStatus")
		s.person("r1")
		s.event("r1")
	}},
	{name: "a late call of an ended life beside a close", build: func(s *scene) {
		s.witness()
		s.start("r1", request)
		s.gaveUp("r1")
		s.late("r1").from(posting)
		s.event("r1")
	}},
	{name: "submit twice, stop", build: func(s *scene) {
		s.witness()
		s.start("r1", request)
		s.machine("r1", "PollStatus").from(marking)
		s.late("r1").from(posting)
		s.person("r1")
	}},
	{name: "rescue, doubt and redrive", build: func(s *scene) {
		s.witness()
		s.lostReply("r1")
		s.event("r1").from(closing)
		s.rescuer("r5", "t2-r1").when(func(w *world) bool { return w.ended("r1") })
		s.redriver("r1", "PollStatus")
	}},
	{name: "late receipt beside a redrive", build: func(s *scene) {
		s.witness()
		s.start("r1", request)
		s.gaveUp("r1")
		s.late("r1").from(posting, accepting)
		s.event("r1").from(closing)
		s.redriver("r1", "PollStatus")
	}},
	{name: "two runs, a request and a reply lost", build: func(s *scene) {
		s.witness()
		s.lostRequest("r1")
		s.lostReply("r2")
		s.redriverNow("r1", "PollStatus").from(reading)
		s.redriverNow("r2", "PollStatus")
	}},
	{name: "close beside a redrive, DELETE", build: func(s *scene) {
		s.witness()
		s.failedWaiting("r1")
		s.event("r1")
		s.redriver("r1", "PollStatus")
		s.person("r1")
	}},
	{name: "rescue beside a close", build: func(s *scene) {
		s.witness()
		s.failedWaiting("r1")
		s.event("r1")
		s.event("r1") // delivered twice
		s.rescuer("r5", "t2-r1")
	}},
	{name: "manifest beside a redrive", build: func(s *scene) {
		s.witness()
		s.runFor = time.Second
		s.waiting("r1", "CopyResult")
		s.gaveUp("r1")
		s.lateCopy("r1").from(delivering)
		s.event("r1").from(closing)
		s.redriver("r1", "")
	}},
	{name: "sweep beside a redrive", lostEvents: true, build: func(s *scene) {
		s.witness()
		s.lostReply("r1")
		s.sweeper()
		s.redriverNow("r1", "PollStatus")
	}},
	{name: "no record, sweep", lostEvents: true, build: func(s *scene) {
		s.witness()
		s.start("r1", request)
		s.gaveUp("r1")
		s.late("r1")
		s.sweeper()
	}},
	{name: "ExecutionDoesNotExist beside a step", build: func(s *scene) {
		s.witness()
		s.add("start", "r1", func(u *universe) { _ = machine{u}.Start(context.Background(), "r1", request) })
		s.machine("r1", "PollStatus").when(func(w *world) bool { return w.exec("r1") != nil })
		s.person("r1")
		s.event("r1")
	}},
	{name: "park, webhook and stop", build: func(s *scene) {
		s.witness()
		s.runFor = 10 * time.Second
		s.waiting("r1", "PollStatus")
		s.webhooks = true
		s.machine("r1", "CopyResult")
		s.add("webhook", "r1", func(u *universe) { u.webhook("t2-r1") })
		s.person("r1")
	}},
	{name: "submit twice, stop and close, a late call", build: func(s *scene) {
		s.witness()
		s.start("r1", request)
		s.machine("r1", "PollStatus").from(posting)
		s.late("r1").from(posting)
		s.person("r1")
		s.event("r1")
	}},
	{name: "an event twice, beside a late call", build: func(s *scene) {
		s.witness()
		s.start("r1", request)
		s.gaveUp("r1")
		s.late("r1").from(posting, accepting)
		s.event("r1").spared().from(closing) // the other one is the same, and is not
		s.event("r1").from(closing)
	}},
	{name: "a stranger's task, InDoubt=absent-only", build: func(s *scene) {
		s.witness()
		s.inDoubt = "absent-only"
		s.lostRequest("r1")
		s.stranger()
		s.event("r1").from(closing)
		s.redriverNow("r1", "PollStatus")
		s.person("r1")
	}},
	{name: "a stranger's task, InDoubt=stop", build: func(s *scene) {
		s.witness()
		s.inDoubt = "stop"
		s.lostRequest("r1")
		s.stranger()
		s.event("r1").from(closing)
		s.redriverNow("r1", "PollStatus")
		s.person("r1")
	}},
	{name: "a person names the task twice, beside a redrive", build: func(s *scene) {
		s.lostReply("r1")
		s.closed("r1")
		s.decision("r1", `{"task_id":"t1-r1"}`)
		s.decision("r1", `{"task_id":"t1-r1"}`)
		s.redriver("r1", "PollStatus")
	}},
	{name: "manifest beside a stop, events lost", lostEvents: true, build: func(s *scene) {
		s.witness()
		s.runFor = time.Second
		s.waiting("r1", "CopyResult")
		s.machine("r1", "")
		s.person("r1")
		s.sweeper()
	}},
	{name: "submit, stop, events lost", lostEvents: true, build: func(s *scene) {
		s.witness()
		s.start("r1", request)
		s.machine("r1", "PollStatus")
		s.person("r1")
		s.sweeper()
	}},
	{name: "two runs, one stopped before its mark", after: aMarkerAloneHoldsUpNobody, build: func(s *scene) {
		s.witness()
		s.lostReply("r2")
		s.remove(stateBucket, "doubt/"+workflowID+"/r2") // its call died right behind its POST
		s.unannounced = true
		s.start("r1", request)
		s.machine("r1", "PollStatus").from(marking)
		s.person("r1")
		s.redriverNow("r2", "PollStatus").spared().from(reading)
	}},
	{name: "close of a refused run beside a redrive", build: func(s *scene) {
		s.witness()
		s.refusedPost("r1")
		s.event("r1").from(closing)
		s.redriverNow("r1", "PollStatus")
	}},
	{name: "two uploads of one key", after: eachUploadIsARun, build: func(s *scene) {
		s.takesFiles = true
		first, second := s.upload("photo A", 1), s.upload("photo B", 2)
		s.arrives(first)
		s.told(first)
		s.told(first) // delivered twice
		s.uploader(second)
		s.told(second).when(second.there)
		s.machine(first.run, "PollStatus").when(func(w *world) bool { return w.exec(first.run) != nil })
		s.machine(second.run, "PollStatus").when(func(w *world) bool { return w.exec(second.run) != nil })
	}},
	{name: "two sweeps, events lost, beside a redrive", lostEvents: true, build: func(s *scene) {
		s.witness()
		s.failedWaiting("r1")
		s.sweeper()
		s.sweeper()
		s.redriverNow("r1", "PollStatus")
	}},
	{name: "two decisions that contradict, beside a close", after: oneDecisionCounts, build: func(s *scene) {
		s.lostRequest("r1")
		s.stranger()
		s.closed("r1")
		s.event("r1") // once more
		s.decision("r1", `{"not_started":true}`)
		s.decision("r1", `{"task_id":"t1-stranger"}`)
		s.redriver("r1", "PollStatus")
	}},
	{name: "two decisions that contradict, beside a redrive", after: oneDecisionCounts, build: func(s *scene) {
		s.witness()
		s.lostRequest("r1")
		s.stranger()
		s.closed("r1")
		s.decision("r1", `{"not_started":true}`)
		s.decision("r1", `{"task_id":"t2-stranger"}`)
		s.redriverNow("r1", "PollStatus")
	}},
	{name: "a decision too early, beside a late call", early: true, build: func(s *scene) {
		s.witness()
		s.start("r1", request)
		s.gaveUp("r1")
		s.late("r1").from(posting, accepting)
		// Each of these meets its faults in another scenario: an event twice, a decision twice.
		s.event("r1").spared().from("waits ") // it has closed the run, and waits to name candidates
		s.decision("r1", `{"not_started":true}`).spared()
		s.redriver("r1", "PollStatus").when(func(w *world) bool { return w.exec("r1").redrives > 0 })
	}},
	{name: "a bucket that refuses, beside a redrive", build: func(s *scene) {
		s.witness()
		s.failedWaiting("r1")
		s.refuses = true
		s.event("r1")
		s.redriverNow("r1", "PollStatus")
		s.person("r1")
	}},
	{name: "a list with other workflow ids", build: func(s *scene) {
		s.witness()
		s.listedAs = "wf-base"
		s.lostReply("r1")
		s.event("r1").from(closing)
		s.redriverNow("r1", "PollStatus")
	}},
}

// aMarkerAloneHoldsUpNobody: a run that never marked its record has not posted.
func aMarkerAloneHoldsUpNobody(j *judge) {
	other, _ := j.record("r1")
	if r, _ := j.record("r2"); other.Status == run.Cancelled && other.WorkflowID == "" && r.TaskID == "" {
		j.note("r2 has not its task, and r1 was stopped before it could post")
	}
}

// oneDecisionCounts: of two decisions on one submission the one that was stored is acted on.
func oneDecisionCounts(j *judge) {
	r, _ := j.record("r1")
	switch d := r.Decision; {
	case d == nil || !strings.HasPrefix(d.AttemptID, setUp): // of a later submission, or none
	case d.NotStarted && strings.HasSuffix(r.TaskID, "-stranger"):
		j.note("r1 has the task %s, and the decision that stands is that none was started", r.TaskID)
	case !d.NotStarted && len(j.paid("r1")) > 0:
		j.note("r1 has started %v, and the decision that stands is that its task is %s", j.paid("r1"), d.TaskID)
	}
}
