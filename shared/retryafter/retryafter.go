// Package retryafter reads the header Retry-After. It imports the standard library
// only.
package retryafter

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Wait returns how long the Retry-After header of an answer asks to wait, from 0 to
// most; 0 if there is none that can be read. RFC 9110 allows whole seconds and a date;
// fractions of a second are read as well. A date is compared with the answer's own
// Date, so that a wrong clock on either side does no harm, or with now if the answer
// has none.
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
