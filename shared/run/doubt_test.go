package run

import (
	"testing"
	"time"
)

func TestWindow(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	w := Submission{MarkedAt: noon, PostUntil: noon.Add(25 * time.Second)}.Window()
	for second, want := range map[int]bool{-6: false, -5: true, 0: true, 25: true, 30: true, 31: false} {
		if got := w.Contains(noon.Add(time.Duration(second) * time.Second)); got != want {
			t.Errorf("second %d: %v, want %v", second, got, want)
		}
	}
}

// TestServerTime: what Cyberun's clock should say follows from the relay's own,
// whatever lies between the two.
func TestServerTime(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, apart := range []time.Duration{0, -3 * time.Minute, 8 * time.Hour} {
		s := Submission{MarkedAt: noon.Add(apart), LocalAt: noon}
		if got := s.ServerTime(noon.Add(time.Minute)); !got.Equal(noon.Add(apart + time.Minute)) {
			t.Errorf("%s apart: %s", apart, got)
		}
	}
}

func TestMarkerIsTheWindow(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	s := Submission{AttemptID: "a", MarkedAt: noon, PostUntil: noon.Add(25 * time.Second)}
	if m := s.Marker("r"); m.RunID != "r" || m.AttemptID != "a" || m.Window != s.Window() {
		t.Errorf("%+v", m)
	}
}
