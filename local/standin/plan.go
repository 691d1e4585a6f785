package main

import (
	"fmt"
	"time"
)

// A task's life is planned when it starts: a list of moments. What it is now
// follows from the clock alone; only a cancel changes it.
type moment struct {
	at       time.Duration // from the task's creation
	status   string
	progress *progress // nil: a change of status
	message  string    // of a failure
}

type progress struct {
	Part    float64
	Node    string
	Current *int
	Total   *int
	Stage   string
	Message string
}

func terminal(status string) bool {
	return status == "completed" || status == "failed" || status == "cancelled"
}

// maxTicks bounds the progress events of one task: one a percent is what a bar can show.
const maxTicks = 100

// plan lays out a life of so many seconds: a fifth of it, at most 0.6 s, goes by before it runs.
func plan(w *workflow, params map[string]any, faults []action, speed float64) []moment {
	whole := time.Duration(number(params, "seconds") * float64(time.Second) / speed)
	if _, given := params["seconds"]; !given {
		whole = time.Duration(w.Seconds * float64(time.Second) / speed)
	}
	lead := min(whole/5, time.Duration(0.6*float64(time.Second)/speed))
	life := []moment{{at: 0, status: "pending"}, {at: lead / 3, status: "provisioning"}, {at: lead * 2 / 3, status: "queued"}}
	for _, a := range faults {
		switch a.Type {
		case "stay_waiting":
			return []moment{{status: "pending"}, {at: lead / 3, status: "waiting"}}
		case "task_state":
			life = append(life, moment{at: lead * 5 / 6, status: a.State})
		}
	}
	life = append(life, moment{at: lead, status: "running"})
	end := moment{at: whole, status: "completed"}
	for _, a := range faults {
		half := lead + (whole-lead)*6/10
		switch a.Type {
		case "task_fail":
			end = moment{at: half, status: "failed", message: a.Message}
		case "task_cancel":
			end = moment{at: half, status: "cancelled"}
		}
	}
	for _, tick := range ticks(w, params, lead, whole) {
		if tick.at < end.at {
			life = append(life, tick)
		}
	}
	return append(life, end)
}

func ticks(w *workflow, params map[string]any, from, to time.Duration) []moment {
	if w.ToolType == "nerfstudio" {
		return stages(int(number(params, "max_iterations")), from, to)
	}
	steps := int(number(params, "steps"))
	if steps == 0 {
		steps = 20
	}
	stride := (steps + maxTicks - 1) / maxTicks
	var list []moment
	for i := stride; i <= steps; i += stride {
		part := float64(i) / float64(steps)
		list = append(list, moment{at: from + time.Duration(part*0.95*float64(to-from)), status: "running",
			progress: &progress{Part: part * 0.95, Node: "KSampler", Current: &i, Total: &steps}})
	}
	return append(list, moment{at: from + time.Duration(0.96*float64(to-from)), status: "running",
		progress: &progress{Part: 0.98, Node: "SaveImage"}}) // no steps: they may be absent
}

// stages are nerfstudio's, each with its share of the time; only training counts steps.
func stages(iterations int, from, to time.Duration) []moment {
	var list []moment
	done := 0.0
	for _, stage := range []struct {
		name  string
		share float64
		ticks int
	}{{"download", 0.05, 2}, {"process_data", 0.15, 5}, {"train", 0.65, 40}, {"export", 0.1, 3}, {"upload", 0.05, 2}} {
		for i := range stage.ticks {
			here := float64(i) / float64(stage.ticks)
			part := done + here*stage.share
			p := &progress{Part: part, Node: "nerfstudio", Stage: stage.name, Message: fmt.Sprintf("%s: %d %%", stage.name, int(here*100))}
			if stage.name == "train" {
				step := int(here * float64(iterations))
				p.Current, p.Total = &step, &iterations
			}
			list = append(list, moment{at: from + time.Duration(part*float64(to-from)), status: "running", progress: p})
		}
		done += stage.share
	}
	return list
}
