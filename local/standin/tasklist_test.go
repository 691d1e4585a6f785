package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// list reads the task list: its rows by id, and the answer's headers.
func (c *client) list() (rows map[string]map[string]any, order []string, header http.Header) {
	c.t.Helper()
	answer, _, err := c.do("GET", "/r/tasks", "")
	if err != nil {
		c.t.Fatal(err)
	}
	rows = map[string]map[string]any{}
	for _, row := range c.json("GET", "/r/tasks", "", 200)["task_list"].([]any) {
		r := row.(map[string]any)
		rows[r["id"].(string)] = r
		order = append(order, r["id"].(string))
	}
	return rows, order, answer.Header
}

// standingClock gives the stand-in a clock that goes on only when it is told to.
func (c *client) standingClock(at time.Time) (goOn func(time.Duration)) {
	var gone atomic.Int64
	c.s.now = func() time.Time { return at.Add(time.Duration(gone.Load())) }
	return func(d time.Duration) { gone.Add(int64(d)) }
}

// TestFaultsOfTheList: each changes the rows of the workflow that its rule names,
// and those of no other; asked for by its id a task is as ever.
func TestFaultsOfTheList(t *testing.T) {
	const flow = ownID + "own-a"
	tests := []struct {
		name, action string
		listed       bool           // the ended task of the workflow
		shows        map[string]any // what its row says
	}{
		{name: "none", listed: true, shows: map[string]any{"workflow_id": flow, "task_status": "completed", "created_at": "2026-11-23T12:00:00.000Z"}},
		{name: "snapshot ids", action: `{"type":"list_snapshot_ids"}`, listed: true, shows: map[string]any{"workflow_id": flow + "-snapshot-1"}},
		{name: "live tasks only", action: `{"type":"list_live_only"}`},
		{name: "local time, ahead", action: `{"type":"list_local_time","seconds":28800}`, listed: true,
			shows: map[string]any{"created_at": "2026-11-23T20:00:00.000", "completed_at": "2026-11-23T20:00:01.000", "workflow_id": flow}},
		{name: "local time, behind", action: `{"type":"list_local_time","seconds":-18000}`, listed: true, shows: map[string]any{"created_at": "2026-11-23T07:00:00.000"}},
		{name: "a lag", action: `{"type":"list_lag","seconds":90}`},
		{name: "a lag that is over", action: `{"type":"list_lag","seconds":30}`, listed: true, shows: map[string]any{"task_status": "completed"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := newClient(t, 1)
			goOn := c.standingClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
			ended := c.run("own-a", `{"seconds":1}`)
			other := c.run("own-b", `{"seconds":1}`)
			goOn(time.Minute)
			running := c.run("own-a", `{"seconds":600}`)
			if test.action != "" {
				c.fault(`{"match":{"workflow":"own-a"},"action":` + test.action + `}`)
			}
			rows, _, _ := c.list()
			row, listed := rows[ended]
			if listed != test.listed {
				t.Errorf("listed: %v", listed)
			}
			for name, want := range test.shows {
				if row[name] != want {
					t.Errorf("%s is %v, want %v", name, row[name], want)
				}
			}
			if lagging := strings.Contains(test.action, "list_lag"); (rows[running] == nil) != lagging {
				t.Errorf("the running one: %v", rows[running])
			}
			if got := rows[other]; got["workflow_id"] != ownID+"own-b" || got["task_status"] != "completed" || got["created_at"] != "2026-11-23T12:00:00.000Z" {
				t.Errorf("another workflow's row: %v", got)
			}
			if got := c.json("GET", "/r/tasks/"+ended, "", 200); got["workflow_id"] != flow || got["created_at"] != "2026-11-23T12:00:00.000Z" {
				t.Errorf("by its id: %v", got)
			}
		})
	}
}

// TestCachedList: the rows of a minute ago, with the headers of a cache that says
// all, its Age alone, its old Date alone, or nothing.
func TestCachedList(t *testing.T) {
	tests := []struct{ name, headers, age, date string }{
		{name: "all", headers: `{}`, age: "60", date: "Mon, 23 Nov 2026 11:59:30 GMT"},
		{name: "Age alone", headers: `{"Date":""}`, age: "60"},
		{name: "Date alone", headers: `{"Age":""}`, date: "Mon, 23 Nov 2026 11:59:30 GMT"},
		{name: "neither", headers: `{"Age":"","Date":""}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := newClient(t, 1)
			goOn := c.standingClock(time.Date(2026, 11, 23, 11, 59, 0, 0, time.UTC))
			old := c.run("own-a", `{"seconds":40}`)
			gone := c.run("own-a", `{"seconds":600}`)
			goOn(90 * time.Second)
			young := c.run("own-a", `{}`)
			c.json("POST", "/r/tasks/"+gone+"/cancel", "", 200)
			c.fault(`{"action":{"type":"list_cached","seconds":60,"headers":` + test.headers + `}}`)
			rows, _, header := c.list()
			if rows[young] != nil || rows[old]["task_status"] != "running" || rows[old]["completed_at"] != nil || rows[gone]["task_status"] != "running" {
				t.Errorf("%v", rows)
			}
			date := header.Get("Date")
			if header.Get("Age") != test.age || date == "" || (date == "Mon, 23 Nov 2026 11:59:30 GMT") != (test.date != "") {
				t.Errorf("Age %q, Date %q", header.Get("Age"), date)
			}
			if got := c.json("GET", "/r/tasks/"+old, "", 200); got["task_status"] != "completed" {
				t.Errorf("by its id: %v", got)
			}
		})
	}
}

// TestLateStart: a POST whose caller has gone starts its task all the same, later.
func TestLateStart(t *testing.T) {
	c := newClient(t, fast)
	c.fault(`{"match":{"method":"POST","path_regexp":"/run$"},"times":1,"action":{"type":"delay","seconds":0.3}}`)
	impatient := http.Client{Timeout: 50 * time.Millisecond}
	r, err := http.NewRequest("POST", c.root+basePath+"/r/workflows/slug/own-a/run", strings.NewReader(`{"parameters":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+testKey)
	if answer, err := impatient.Do(r); err == nil {
		t.Errorf("an answer came: %v", answer)
	}
	if rows, _, _ := c.list(); len(rows) > 0 {
		t.Error("it has started already")
	}
	for until := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if rows, _, _ := c.list(); len(rows) == 1 {
			return
		}
		if time.Now().After(until) {
			t.Fatal("it never started")
		}
	}
}

// TestStrangers start tasks of a workflow that no fault meets, and the ledger
// tells them.
func TestStrangers(t *testing.T) {
	c := newClient(t, fast)
	c.fault(`{"action":{"type":"status","status":503}}`)
	ids := c.json("POST", "/_/strangers", `{"workflow":"text-to-image","parameters":{"prompt":"a colleague's"},"count":3}`, 201)["ids"].([]any)
	one := c.json("POST", "/_/strangers", `{"workflow":"own-a"}`, 201)["ids"].([]any)
	c.json("DELETE", "/_/faults", "", 200)
	_, order, _ := c.list()
	slices.Reverse(order)
	if want := fmt.Sprint(append(ids, one...)); fmt.Sprint(order) != want || len(ids) != 3 {
		t.Errorf("listed %v, want %s", order, want)
	}
	for _, entry := range c.json("GET", "/_/ledger", "", 200)["tasks"].([]any) {
		if e := entry.(map[string]any); e["key"] != "stranger" {
			t.Errorf("%v", e)
		}
	}
	for body, status := range map[string]int{`{`: 400, `{"workflow":"own-a","count":0}`: 400, `{"workflow":"own-a","count":1001}`: 400,
		`{"workflow":"none"}`: 404, `{"workflow":"text-to-image"}`: 422} {
		c.json("POST", "/_/strangers", body, status)
	}
}

// TestOwnWorkflow: whatever slug begins with own- is a workflow, known by its id
// too, and in nobody's list.
func TestOwnWorkflow(t *testing.T) {
	c := newClient(t, fast)
	detail := c.json("GET", "/r/workflows/slug/own-b@1", "", 200)
	if detail["workflow_slug"] != "own-b" || c.json("GET", "/r/workflows/"+detail["id"].(string), "", 200)["workflow_slug"] != "own-b" {
		t.Errorf("%v", detail)
	}
	for _, path := range []string{"slug/own-b@2", "own-b", "slug/" + detail["id"].(string)} {
		c.json("GET", "/r/workflows/"+path, "", 404)
	}
	for _, w := range c.json("GET", "/r/workflows?per_page=100", "", 200)["workflow_list"].([]any) {
		if strings.HasPrefix(w.(map[string]any)["workflow_slug"].(string), ownPrefix) {
			t.Errorf("listed: %v", w)
		}
	}
	task := c.run("own-b", `{"prompt":"mine","bytes":10}`)
	c.end(task)
	if answer, got, err := c.do("GET", c.url(task), ""); err != nil || answer.StatusCode != 200 || len(got) != 10 {
		t.Errorf("%v %v, %d bytes", answer, err, len(got))
	}
	c.fault(`{"match":{"workflow":"own-c"},"action":{"type":"status","status":503}}`)
	c.run("own-b", `{}`)
	c.json("POST", "/r/workflows/slug/own-c/run", `{}`, 503)
}

// TestRulesOfTheList: a fault of the whole list takes no workflow, and a request
// for anything else does not meet one.
func TestRulesOfTheList(t *testing.T) {
	c := newClient(t, fast)
	for _, action := range []string{`{"type":"list_order","order":"asc"}`, `{"type":"list_ignores_filter"}`, `{"type":"list_cached","seconds":9}`} {
		c.json("POST", "/_/faults", `{"match":{"workflow":"own-a"},"action":`+action+`}`, 400)
	}
	for _, action := range []string{`{"type":"list_cached"}`, `{"type":"list_local_time"}`} {
		c.json("POST", "/_/faults", `{"action":`+action+`}`, 400)
	}
	c.fault(`{"times":1,"match":{"workflow":"own-a"},"action":{"type":"list_live_only"}}`)
	task := c.run("own-a", `{}`)
	c.end(task)
	if rows, _, _ := c.list(); rows[task] == nil { // list reads twice: the first answer met the fault
		t.Error("once was not all")
	}
	if rule := c.json("GET", "/_/faults", "", 200)["faults"].([]any)[0].(map[string]any); rule["seen"] != 1.0 || rule["fired"] != 1.0 {
		t.Errorf("%v", rule)
	}
}
