package handler

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/doubt"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// TestPages: what stands between the relay and Cyberun answers a call with a page of
// its own, under every status there is, once or for five minutes, and before the
// work is done or after it. No run ends by it, none pays twice.
func TestPages(t *testing.T) {
	for _, test := range []struct {
		call string // all: every one, from the POST on
		work bool   // the service has done what it was asked for
		last time.Duration
	}{
		{call: "workflow"}, {call: "workflow", last: 5 * time.Minute},
		{call: "presign"}, {call: "presign", work: true}, {call: "presign", last: 5 * time.Minute},
		{call: "upload"}, {call: "upload", work: true}, {call: "upload", last: 5 * time.Minute},
		{call: "start"}, {call: "start", work: true},
		{call: "list"}, {call: "list", last: 5 * time.Minute},
		{call: "all"}, {call: "all", work: true}, {call: "all", last: 5 * time.Minute}, {call: "all", work: true, last: 5 * time.Minute},
	} {
		t.Run(fmt.Sprintf("%+v", test), func(t *testing.T) {
			t.Parallel()
			l := functiontest.NewLoopback(t)
			client := l.Client()
			for _, status := range functiontest.Statuses() {
				if test.work && (status == http.StatusRequestEntityTooLarge || status == http.StatusTooManyRequests) {
					continue // refused before anything is done: an assumption of ADR 4
				}
				w := witnessed(t)
				w.S3.Set(inboxBucket, "x.png", storetest.Object{Body: []byte("x"), ContentType: "image/png"})
				met, lost, until := 0, false, time.Time{}
				l.World, l.HTMLPage = w.World, func(call string) (int, bool) {
					if test.call == "list" && call == "start" && !lost { // a list is read in a doubt alone
						lost = true
						return http.StatusBadGateway, true
					}
					if call != test.call && (test.call != "all" || met == 0 && call != "start") {
						return 0, true
					}
					if until.IsZero() {
						until = w.Now.Add(test.last)
					}
					if met > 0 && !w.Now.Before(until) {
						return 0, true
					}
					met++
					return status, test.work
				}
				h := w.handler()
				h.Cyberun, h.Doubts = client, doubt.Investigator{Cyberun: client, Runs: h.Runs, Now: w.Time}
				out, err := w.driveWith(h, w.input("r1", fmt.Sprintf(`{"workflow":%q,"parameters":{"prompt":"r1","image":"s3://inbox/x.png"}}`, workflowRef)))
				if err != nil || met == 0 {
					t.Errorf("%d: after %d pages %v", status, met, err)
					continue
				}
				w.checkSettled("r1", out)
			}
		})
	}
}
