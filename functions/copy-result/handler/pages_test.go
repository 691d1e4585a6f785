package handler

import (
	"net/http"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// TestPages: what stands between the relay and Cyberun answers the look at a result
// with a page of its own, under every status there is, once or for five minutes; and
// the look into the task list, after a result was said to be gone for ten. The run
// delivers.
func TestPages(t *testing.T) {
	l := functiontest.NewLoopback(t)
	client := l.Client()
	for _, test := range []struct {
		call string
		last time.Duration
	}{{call: "result"}, {call: "result", last: 5 * time.Minute}, {call: "list", last: 15 * time.Minute}} {
		for _, status := range functiontest.Statuses() {
			w := newWorld(t).record(nil)
			l.World = w.World
			begins, met := w.Now, 0
			l.HTMLPage = func(call string) (int, bool) {
				switch {
				case test.call == "list" && call == "result" && w.Now.Sub(begins) < test.last:
					return http.StatusNotFound, false
				case call != test.call, met > 0 && w.Now.Sub(begins) >= test.last:
					return 0, false
				}
				met++
				return status, false
			}
			w.h.Cyberun = client
			w.Cyberun.MaxTime = 0          // a deadline does not go over HTTP
			const pause = 30 * time.Second // the mean of the state machine's
			for {
				out, err := w.handle()
				if err == nil && out.Done {
					w.delivered(out, "output")
					break
				}
				if !named.Is(err, named.Unavailable) {
					t.Errorf("%+v, %d: after %d pages %+v, %v", test, status, met, out, err)
					break
				}
				w.Now = w.Now.Add(pause)
			}
			if met == 0 {
				t.Errorf("%+v, %d: no such call came", test, status)
			}
		}
	}
}
