package httpapi

import (
	"cmp"
	"encoding/base64"
	"net/url"
	"strconv"
	"unicode/utf8"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

const (
	// maxLimit is the most entries of a list in one answer, which is also the most that
	// Cyberun returns at once.
	maxLimit = 100
	// maxCursor is well above an index entry's 13 digits and a run id's 80 characters.
	maxCursor = 500

	// NotOurCursor is the message of a violation of the parameter cursor.
	NotOurCursor = "is not the next_cursor of an earlier answer"
)

// Page is the part of a list that a request to the relay asks for. Page of shared/cyberun is
// that of a call to Cyberun.
type Page struct {
	Limit int // entries, 1 to 100
	// Cursor is where the part begins, decoded; empty: at the start of the list, and for a
	// cursor that is wrong, which ReadPage adds to violations.
	Cursor string
}

// ReadPage reads the parameters limit and cursor of a query, and adds what is wrong
// with them to violations. usual is the limit of a query without one.
func ReadPage(q url.Values, usual int, violations *named.Violations) Page {
	limit, err := strconv.Atoi(cmp.Or(q.Get("limit"), strconv.Itoa(usual)))
	if err != nil || limit < 1 || limit > maxLimit {
		violations.Add("limit", "must be a whole number from 1 to %d", maxLimit)
	}
	page := Page{Limit: limit}
	raw, err := base64.RawURLEncoding.DecodeString(q.Get("cursor"))
	if err != nil || len(raw) > maxCursor || !utf8.Valid(raw) { // it may become part of a key, and S3 would refuse it
		violations.Add("cursor", NotOurCursor)
		return page
	}
	page.Cursor = string(raw)
	return page
}

// NumberedPage reads the query of a list that Cyberun pages by number, and returns the
// page and its number, 1 for the first. A cursor is valid only with the limit of the
// request whose answer gave it. It returns InvalidRequest for a query that is wrong.
func NumberedPage(r Request, usual int) (page Page, number int, err error) {
	q, err := Query(r)
	if err != nil {
		return page, 0, err
	}
	var violations named.Violations
	page = ReadPage(q, usual, &violations)
	if number, err = strconv.Atoi(cmp.Or(page.Cursor, "1")); err != nil || number < 1 {
		violations.Add("cursor", NotOurCursor)
	}
	return page, number, violations.Err()
}

// EncodeCursor returns a cursor in the form of next_cursor, which is opaque to clients.
func EncodeCursor(cursor string) string { return base64.RawURLEncoding.EncodeToString([]byte(cursor)) }

// NextNumber returns the next_cursor of an answer with the page p, of a list that
// Cyberun pages by number: number is the page's, rows is how many entries it has, total
// how many the list has, below 0 if Cyberun does not say. It is empty for the last page,
// which of a list of unknown length is the first that is not full.
func (p Page) NextNumber(number, rows, total int) string {
	if rows == 0 || total >= 0 && number*p.Limit >= total || total < 0 && rows < p.Limit {
		return ""
	}
	return EncodeCursor(strconv.Itoa(number + 1))
}
