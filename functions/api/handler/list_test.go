package handler

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// TestLists pages through runs, with and without a status, over holes in the index.
func TestLists(t *testing.T) {
	w := newWorld(t)
	w.S3.PageSize, w.h.Concurrency = 7, DefaultConcurrency
	statuses := []run.Status{run.Succeeded, run.Failed, run.Waiting}
	var all []string
	for i := range 31 {
		id := fmt.Sprintf("r%02d", i)
		w.Record(run.Record{RunID: id, Status: statuses[i%3], StartedAt: began.Add(time.Duration(i) * time.Second)})
		if i%5 == 4 { // its record has expired, or was never made
			w.S3.Remove(stateBucket, "runs/"+id+".json")
			continue
		}
		all = append([]string{id}, all...)
	}
	for _, status := range []string{"", "succeeded", "waiting", "copying"} {
		for _, limit := range []int{1, 3, 10, 100} {
			var want, got []string
			for _, id := range all {
				var i int
				if _, err := fmt.Sscanf(id, "r%d", &i); err != nil {
					t.Fatal(err)
				}
				if status == "" || statuses[i%3] == run.Status(status) {
					want = append(want, id)
				}
			}
			cursor, pages := "", 0
			for {
				a := w.call("GET", fmt.Sprintf("/runs?status=%s&limit=%d&cursor=%s", status, limit, url.QueryEscape(cursor)), "")
				runs, ok := a.body["runs"].([]any)
				if a.status != 200 || !ok || len(runs) > limit {
					t.Fatalf("%d %s", a.status, a.raw)
				}
				for _, r := range runs {
					got = append(got, r.(map[string]any)["run_id"].(string))
				}
				if cursor, _ = a.body["next_cursor"].(string); cursor == "" {
					break
				}
				if pages++; pages > 50 {
					t.Fatal("it never ends")
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("status %q, limit %d: %v, want %v", status, limit, got, want)
			}
		}
	}
}

// TestListsOnce: two calls that begin one run may leave two entries in the index.
func TestListsOnce(t *testing.T) {
	w := newWorld(t)
	w.Record(run.Record{RunID: "r1", Status: run.Waiting})
	for _, start := range []time.Time{began.Add(time.Millisecond), began.Add(-time.Second)} {
		w.Set("index/"+lifecycle.CursorOf(run.Record{RunID: "r1", StartedAt: start}), nil)
	}
	if a := w.call("GET", "/runs", ""); len(a.body["runs"].([]any)) != 1 || len(w.S3.Keys(stateBucket, "index/")) != 3 {
		t.Errorf("%s", a.raw)
	}
}

// TestListIsBounded: a rare status does not make one call read everything.
func TestListIsBounded(t *testing.T) {
	w := newWorld(t)
	for i := range maxScanned + 100 {
		w.Record(run.Record{RunID: fmt.Sprint(i), Status: run.Succeeded, StartedAt: began.Add(-time.Duration(i) * time.Second)})
	}
	w.Record(run.Record{RunID: "old", Status: run.Failed, StartedAt: began.Add(-24 * time.Hour)})
	a := w.call("GET", "/runs?status=failed&limit=100", "")
	cursor, _ := a.body["next_cursor"].(string)
	if len(a.body["runs"].([]any)) != 0 || cursor == "" {
		t.Fatal(a.raw)
	}
	if reads := len(w.S3.Calls("GetObject")); reads > maxScanned+100 {
		t.Errorf("%d reads", reads)
	}
	a = w.call("GET", "/runs?status=failed&limit=100&cursor="+cursor, "")
	if len(a.body["runs"].([]any)) != 1 || a.body["next_cursor"] != nil {
		t.Error(a.raw)
	}
}

func TestListFaults(t *testing.T) {
	w := newWorld(t)
	for query, want := range map[string]string{
		"status=done": "[status]", "limit=0": "[limit]", "limit=101": "[limit]", "limit=x": "[limit]", "cursor=%21": "[cursor]",
		"cursor=_w": "[cursor]", "cursor=AQ": "[cursor]", "cursor=MS1hAQ": "[cursor]", "cursor=MQ": "[cursor]", "cursor=" + strings.Repeat("YWFh", 500): "[cursor]", "status=x&limit=x&cursor=%21": "[status limit cursor]",
	} {
		if a := w.call("GET", "/runs?"+query, ""); a.status != 400 || fmt.Sprint(a.violations()) != want {
			t.Errorf("%s: %d %s", query, a.status, a.raw)
		}
	}
	if a := w.call("GET", "/runs", ""); a.raw != "{\"runs\":[]}\n" {
		t.Error(a.raw)
	}
}
