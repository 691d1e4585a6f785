package retryafter

import (
	"net/http"
	"testing"
	"time"
)

const date = "Mon, 23 Nov 2026 10:00:00 GMT"

var dated = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func TestWait(t *testing.T) {
	const most = 24 * time.Hour
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "-5": 0, "NaN": 0, "soon": 0, " 12 ": 12 * time.Second, "1.5": 1500 * time.Millisecond,
		"1e300": most, "+Inf": most, "99999999999999999999": most, "1e999": 0,
		"Mon, 23 Nov 2026 10:01:00 GMT": time.Minute, "Mon, 23 Nov 2026 09:00:00 GMT": 0,
		"Fri, 23 Nov 2096 10:01:00 GMT": most, "Monday, 23-Nov-26 10:00:02 GMT": 2 * time.Second,
	} {
		h := http.Header{"Date": {date}, "Retry-After": {value}}
		if got := Wait(h, dated.Add(time.Hour), most); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
	if got := Wait(http.Header{"Retry-After": {date}}, dated.Add(-time.Minute), most); got != time.Minute {
		t.Errorf("without a Date: %v", got)
	}
}

func FuzzWait(f *testing.F) {
	for _, s := range []string{"", "0", "120", "1.5", "-1", "NaN", "Inf", "1e999", "0x10", date, "Monday, 23-Nov-26 10:00:02 GMT", "99999999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		const most = 20 * time.Second
		if d := Wait(http.Header{"Retry-After": {s}}, dated, most); d < 0 || d > most {
			t.Errorf("%q: %v", s, d)
		}
	})
}
