// Package retryafter reads the header by which a server says how long to wait. It
// imports the standard library only.
package retryafter

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Wait returns how long an answer's Retry-After header asks to wait, from 0 to
// most; 0 if it asks for nothing that can be read. RFC 9110 knows seconds and a
// date; fractions of a second are read as well. The date is measured against the
// answer's own Date, so that a wrong clock on either side does no harm, and
// against now if the answer has none.
func Wait(h http.Header, now time.Time, most time.Duration) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		switch {
		case !(seconds > 0): // NaN among them
			return 0
		case seconds >= most.Seconds(): // a larger number may not fit a Duration
			return most
		}
		return time.Duration(seconds * float64(time.Second))
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), 0), most)
}
