package httpapi

import (
	"encoding/base64"
	"net/url"
	"strconv"
	"unicode/utf8"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

const (
	// MaxLimit is the most entries that one answer of a list has: Cyberun gives no
	// more at once either.
	MaxLimit = 100
	// maxCursor is well above an index entry's 13 digits and a run id's 80 characters.
	maxCursor = 500

	notOurCursor = "is not the next_cursor of an earlier answer"
)

// Page is the part of a list that a request asks for.
type Page struct {
	Limit int // 1 to MaxLimit entries
	// Cursor is where the part begins, decoded; empty: at the start of the list.
	Cursor string
}

// ReadPage reads limit and cursor from a query, and adds what is wrong with them
// to violations. usual is the limit of a request that names none.
func ReadPage(q url.Values, usual int, violations *named.Violations) Page {
	page := Page{Limit: usual}
	if value := q.Get("limit"); value != "" {
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > MaxLimit {
			violations.Add("limit", "must be a whole number from 1 to %d", MaxLimit)
		}
		page.Limit = n
	}
	raw, err := base64.RawURLEncoding.DecodeString(q.Get("cursor"))
	if err != nil || len(raw) > maxCursor || !utf8.Valid(raw) { // it may become part of a key, and S3 would refuse it
		violations.Add("cursor", notOurCursor)
	}
	page.Cursor = string(raw)
	return page
}

// NumberedPage reads the query of a list that Cyberun pages by number: the page, and
// its number, 1 for the first. A cursor is good for the limit that it was given out
// with.
func NumberedPage(r Request, usual int) (page Page, number int, err error) {
	q, err := Query(r)
	if err != nil {
		return page, 0, err
	}
	var violations named.Violations
	page = ReadPage(q, usual, &violations)
	if number = 1; page.Cursor != "" {
		if number, err = strconv.Atoi(page.Cursor); err != nil || number < 1 {
			violations.Add("cursor", notOurCursor)
		}
	}
	return page, number, violations.Err()
}

// EncodeCursor returns a cursor as next_cursor tells it: a client is not to read
// anything in it.
func EncodeCursor(cursor string) string { return base64.RawURLEncoding.EncodeToString([]byte(cursor)) }

// NextNumber returns the next_cursor behind a page of a list that Cyberun pages
// by number: rows is how many entries the page had, total how many the list has.
// It is empty behind the last page.
func (p Page) NextNumber(number, rows, total int) string {
	if rows == 0 || number*p.Limit >= total {
		return ""
	}
	return EncodeCursor(strconv.Itoa(number + 1))
}
