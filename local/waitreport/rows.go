package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Row is a line of the table.
type Row struct {
	How         string
	Task        float64 // seconds
	Source      string
	Computed    bool
	Delay       float64 // seconds
	Worst       float64
	Transitions int
	Events      int
	Calls       int
	GBSeconds   float64
	USD         float64
	Share       float64 // of what the loop costs
}

var (
	tasks = []float64{5, 20, 300, 3600}
	hows  = []string{howLoop, howPolled, howHeld, howWebhooks}
)

// rows are measured where there are samples, else computed.
func rows(samples []Sample, models map[string]Model) ([]Row, error) {
	var list []Row
	for _, task := range tasks {
		var loop float64
		for _, how := range hows {
			row, err := rowOf(how, task, samples, models)
			if err != nil {
				return nil, err
			}
			if how == howLoop {
				loop = row.USD
			}
			row.Share = row.USD / loop
			list = append(list, row)
		}
	}
	return list, nil
}

func rowOf(how string, task float64, samples []Sample, models map[string]Model) (Row, error) {
	found := of(samples, how, task)
	if len(found) == 0 {
		m, ok := models[how]
		if !ok {
			return Row{}, fmt.Errorf("%s, a task of %v s: neither measured nor to be computed", how, task)
		}
		length := seconds(task)
		row := newRow(m.run(length))
		row.How, row.Computed, row.Source = how, true, "computed"
		row.Delay, row.Worst = m.delay(length)
		return row, nil
	}
	// The run in the middle, whole: a mean would have parts of transitions.
	row := newRow(found[len(found)/2])
	row.Worst = found[len(found)-1].Delay
	row.Source = "measured"
	if len(found) > 1 {
		row.Source = fmt.Sprintf("measured, middle of %d", len(found))
	}
	if scale := found[0].Scale; scale != 1 {
		row.Source += fmt.Sprintf(", time × %v", scale)
	}
	return row, nil
}

func newRow(s Sample) Row {
	gbs := gbSeconds(s.Calls)
	return Row{
		How: s.How, Task: s.Task, Delay: s.Delay, Transitions: s.Transitions, Events: s.Events,
		Calls: len(s.Calls), GBSeconds: gbs, USD: cost(s.Transitions, len(s.Calls), gbs),
	}
}

// of are the samples of one kind, the soonest delivered first.
func of(samples []Sample, how string, task float64) []Sample {
	var found []Sample
	for _, s := range samples {
		if s.How == how && (task == 0 || s.Task == task) {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b Sample) int { return cmp.Compare(a.Delay, b.Delay) })
	return found
}

// modelsOf takes what each call takes from the samples. A look is the loop's: it
// neither holds nor waits within the call.
func modelsOf(samples []Sample) (map[string]Model, error) {
	loop := of(samples, howLoop, 0)
	call := map[string]Call{callPoll: callOf(loop, callPoll)}
	for _, function := range []string{callSubmit, callCopy} {
		call[function] = callOf(samples, function)
	}
	for function, c := range call {
		if c.MemoryMB == 0 {
			return nil, fmt.Errorf("no call of %s was measured", function)
		}
	}
	lead := func(how string) time.Duration {
		found := of(samples, how, 0)
		slices.SortFunc(found, func(a, b Sample) int { return cmp.Compare(a.Lead, b.Lead) })
		if len(found) == 0 {
			return 0
		}
		return seconds(found[len(found)/2].Lead)
	}
	return map[string]Model{
		howLoop:   {Loop: true, Lead: max(0, lead(howLoop)-loopWait), Call: call},
		howPolled: {Lead: lead(howPolled), Call: call},
		howHeld:   {Hold: holdSeconds * time.Second, Lead: lead(howHeld), Call: call},
	}, nil
}

// holdSeconds is the template's default, and what the stack of the held runs has.
const holdSeconds = 30

// deviation is by how many polls the models miss the measured runs at most.
func deviation(samples []Sample, models map[string]Model) (worst, compared int, err error) {
	for _, s := range samples {
		m, ok := models[s.How]
		if !ok || s.Scale != 1 {
			continue
		}
		compared++
		off := m.run(seconds(s.Task)).Polls - s.Polls
		off = max(off, -off)
		worst = max(worst, off)
		// A poll more or less is where the task's end fell; twentieths are the
		// machine's own slowness, which the middle call does not have.
		if float64(off) > max(1, float64(s.Polls)/20) {
			err = fmt.Errorf("%s, a task of %v s: %d polls measured, %d computed: the model is wrong, or the machine is too busy to measure on",
				s.How, s.Task, s.Polls, m.run(seconds(s.Task)).Polls)
		}
	}
	return worst, compared, err
}
