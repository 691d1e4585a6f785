package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// history is "kind" or "kind:state" for each event, a second apart.
func history(events ...string) []sfntypes.HistoryEvent {
	var list []sfntypes.HistoryEvent
	for i, e := range events {
		kind, state, _ := strings.Cut(e, ":")
		event := sfntypes.HistoryEvent{Type: sfntypes.HistoryEventType(kind), Timestamp: aws.Time(time.Unix(int64(i), 0))}
		if state != "" {
			event.StateEnteredEventDetails = &sfntypes.StateEnteredEventDetails{Name: &state}
		}
		list = append(list, event)
	}
	return list
}

func lambda(state string, tries int) []string {
	events := []string{"TaskStateEntered:" + state, "TaskScheduled"}
	for range tries - 1 {
		events = append(events, "TaskFailed", "TaskScheduled")
	}
	return append(events, "TaskSucceeded", "TaskStateExited")
}

func choice(state string) []string {
	return []string{"ChoiceStateEntered:" + state, "ChoiceStateExited"}
}

func TestCount(t *testing.T) {
	poll := append(lambda(statePoll, 1), choice("IsTaskDone")...)
	begin := append([]string{"ExecutionStarted"}, lambda("Submit", 1)...)
	end := append(lambda(stateCopy, 1), choice("IsCopied")...)
	end = append(end, "SucceedStateEntered:Done", "SucceedStateExited", "ExecutionSucceeded")
	for name, c := range map[string]struct {
		between     [][]string
		transitions int
		events      int
		polls       int
		parks       int
	}{
		"one poll":                 {[][]string{poll}, 6, 23, 1, 0},
		"two polls and a wait":     {[][]string{poll, {"WaitStateEntered:WaitToPoll", "WaitStateExited"}, poll}, 9, 32, 2, 0},
		"a park":                   {[][]string{poll, lambda(stateAwait, 1), poll}, 9, 36, 2, 1},
		"a park with eleven looks": {[][]string{poll, lambda(stateAwait, 12), poll}, 20, 80, 2, 12},
		"a poll that was retried":  {[][]string{lambda(statePoll, 2), choice("IsTaskDone")}, 7, 26, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			all := append([]string{}, begin...)
			for _, b := range c.between {
				all = append(all, b...)
			}
			got := count(history(append(all, end...)...))
			if got.transitions != c.transitions || got.events != c.events || got.polls != c.polls || got.parks != c.parks {
				t.Errorf("%+v, want %+v", got, c)
			}
			if len(got.calls) != got.polls+2 || got.calls[0] != (Call{Function: callSubmit, Seconds: 1}) {
				t.Errorf("calls: %+v", got.calls)
			}
			if !got.firstPoll.Equal(time.Unix(5, 0)) || got.copied.IsZero() {
				t.Errorf("first poll %v, copied %v", got.firstPoll, got.copied)
			}
		})
	}
}

func models() map[string]Model {
	call := map[string]Call{callSubmit: {callSubmit, 0.3, 256}, callPoll: {callPoll, 0.1, 128}, callCopy: {callCopy, 0.4, 512}}
	lead := 100 * time.Millisecond
	return map[string]Model{
		howLoop: {Loop: true, Lead: lead, Call: call}, howPolled: {Lead: lead, Call: call}, howHeld: {Hold: holdSeconds * time.Second, Lead: lead, Call: call},
	}
}

func TestModel(t *testing.T) {
	for _, c := range []struct {
		how         string
		task        time.Duration
		transitions int
		events      int
		delay       float64 // at most
	}{
		{howHeld, 20 * time.Second, 6, 23, 0.6},
		{howHeld, 50 * time.Millisecond, 6, 23, 0.6},       // over before the first look
		{howHeld, 30500 * time.Millisecond, 9, 32, 6},      // just after the hold
		{howPolled, 5 * time.Second, 6, 23, 2},             // seen within the first call
		{howPolled, 8 * time.Second, 9, 32, 3},             // seen by the second
		{howLoop, 20 * time.Second, 1 + 3*7 + 1, 75, 3.6},  // 7 × 3.1 s
		{howLoop, 2 * time.Second, 1 + 3*1 + 1, 2 + 19, 2}, // the first poll is 3 s late
	} {
		got := models()[c.how].run(c.task)
		if got.Transitions != c.transitions || got.Events != c.events || got.Delay < 0 || got.Delay > c.delay {
			t.Errorf("%s, %v: %d transitions, %d events, %.2f s late; want %d, %d, at most %v",
				c.how, c.task, got.Transitions, got.Events, got.Delay, c.transitions, c.events, c.delay)
		}
		if len(got.Calls) != got.Polls+2 {
			t.Errorf("%s, %v: %d calls for %d polls", c.how, c.task, len(got.Calls), got.Polls)
		}
	}
}

// samples are what the models say, as if measured.
func samples() []Sample {
	var list []Sample
	for how, m := range models() {
		for _, task := range []time.Duration{5 * time.Second, 20 * time.Second, 5 * time.Minute} {
			s := m.run(task)
			s.How, s.Lead = how, m.Lead.Seconds()
			if m.Loop {
				s.Lead += loopWait.Seconds()
			}
			list = append(list, s)
		}
	}
	for _, task := range tasks {
		list = append(list, Sample{How: howWebhooks, Task: task, Scale: 1, Delay: 0.3, Transitions: 20, Events: 80, Parks: 12, Calls: make([]Call, 17)})
	}
	return list
}

func TestReport(t *testing.T) {
	r, err := newReport(samples())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != len(tasks)*len(hows) || r.Off != 0 || r.Looks != 11 {
		t.Errorf("%d rows, models off by %d, %d looks", len(r.Rows), r.Off, r.Looks)
	}
	if err := r.broken(); err != nil {
		t.Error(err)
	}
	text, err := r.markdown()
	if err != nil || !strings.Contains(text, "| 1 h | 3 s loop |") || strings.Contains(text, "broken") {
		t.Errorf("%v\n%s", err, text)
	}
	for decoder := xml.NewDecoder(strings.NewReader(plot(r.Rows))); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the plot is no XML: %v", err)
		}
	}
}

// TestBroken: each promise is seen to break.
func TestBroken(t *testing.T) {
	for name, worsen := range map[string]func(*Sample){
		"held, 20 s: at most":   func(s *Sample) { s.Transitions += 2 },
		"held, 20 s: delivered": func(s *Sample) { s.Delay = 1.1 },
		"webhooks, 1 h":         func(s *Sample) { s.Transitions += 60 },
	} {
		list := samples()
		for i, s := range list {
			if strings.HasPrefix(name, s.How+", "+length(s.Task)) {
				worsen(&list[i])
			}
		}
		r, err := newReport(list)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.broken(); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	rows := []Row{{How: howPolled, Task: 3600, USD: 1, Share: 0.11}}
	if c := checks(rows)[2]; c.Holds {
		t.Errorf("holds: %+v", c)
	}
}

// TestDeviation: a model that misses what was measured makes no report.
func TestDeviation(t *testing.T) {
	list := samples()
	for i := range list {
		if list[i].How == howPolled {
			list[i].Polls += 3
		}
	}
	if _, err := newReport(list); err == nil {
		t.Error("three polls off, and no error")
	}
}

func TestReportsIn(t *testing.T) {
	report := func(ms string) string {
		return "REPORT RequestId: 1\tDuration: " + ms + " ms\tBilled Duration: " + ms + " ms\tMemory Size: 128 MB\tMax Memory Used: 0 MB"
	}
	got := reportsIn(callWebhook, []logLine{{"START RequestId: 1"}, {`{"msg":"REPORT"}`}, {report("120")}, {report("7")}, {report("90.5")}})
	if len(got) != 3 || middle(got) != (Call{callWebhook, 0.0905, 128}) {
		t.Errorf("%+v", got)
	}
}

// TestLoop: what the loop is made of is still in the state machine.
func TestLoop(t *testing.T) {
	relay, err := os.ReadFile("../../statemachine/run.asl.json")
	if err != nil {
		t.Fatal(err)
	}
	text, err := loopOf(string(relay))
	if err != nil {
		t.Fatal(err)
	}
	var loop struct {
		StartAt string
		States  map[string]struct {
			Next, Default, OutputPath string
			End                       bool
		}
	}
	if err := json.Unmarshal([]byte(text), &loop); err != nil {
		t.Fatal(err)
	}
	s := loop.States
	if loop.StartAt != "Submit" || s["Submit"].Next != "Wait" || s["Wait"].Next != statePoll || s[statePoll].Next != "IsTaskDone" ||
		s["IsTaskDone"].Default != "Wait" || !s[stateCopy].End || s[stateCopy].Next != "" || len(s) != 5 {
		t.Errorf("%s", text)
	}
	if _, err := loopOf(`{"States":{}}`); err == nil {
		t.Error("a state machine without those states made a loop")
	}
}
