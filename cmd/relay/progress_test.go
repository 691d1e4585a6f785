package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/api"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// Between two answers the bar's clock goes on.
func TestBarTicks(t *testing.T) {
	var drawn strings.Builder
	at := noon
	d := &progress{console: &console{stderr: &drawn, terminal: true, width: func() int { return 100 }}, now: func() time.Time { return at }, begun: at}
	d.tick() // before anything is known there is nothing to draw
	d.show(view{Run: api.Run{RunID: "r", Status: run.Submitting, StartedAt: noon}})
	at = at.Add(61 * time.Second)
	d.tick()
	d.close()
	want := []string{"", "   0% │░░░░░░░░░░░░░░░░░░░░░░░░│  0:00  submitting", "   0% │░░░░░░░░░░░░░░░░░░░░░░░░│  1:01  submitting", ""}
	if got := strings.Split(drawn.String(), eraseLine); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
