package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// The ledger must count right when everything comes at once and every fifth reply is lost.
func TestManyAtOnce(t *testing.T) {
	c := newClient(t, fast)
	c.fault(`{"match":{"path_regexp":"/run$","every":5},"action":{"type":"accept_then_reset"}}`)
	const many = 50
	answered := make(chan bool, many)
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() {
			_, got, err := c.do("POST", "/r/workflows/slug/big-file/run", fmt.Sprintf(`{"parameters":{"bytes":%d}}`, i))
			answered <- err == nil && strings.Contains(string(got), "task_id")
			for _, path := range []string{"/r/tasks", "/_/ledger", "/_/faults"} {
				if _, _, err := c.do("GET", path, ""); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	close(answered)
	heard := 0
	for ok := range answered {
		if ok {
			heard++
		}
	}
	if n := c.counts(); heard != many-many/5 || !strings.HasPrefix(n, fmt.Sprintf("tasks %d ", many)) {
		t.Errorf("%d of %d heard; %s", heard, many, n)
	}
}
