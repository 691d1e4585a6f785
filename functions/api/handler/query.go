package handler

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

type listQuery struct {
	status run.Status
	limit  int
	cursor string
}

// parseListQuery tells everything that is wrong with a list's query at once.
func parseListQuery(r *http.Request) (listQuery, error) {
	q, err := query(r)
	if err != nil {
		return listQuery{}, err
	}
	var faults named.Violations
	out := listQuery{status: run.Status(q.Get("status")), limit: defaultLimit}
	if out.status != "" && !slices.Contains(run.Statuses, out.status) {
		faults = append(faults, named.Violation{Parameter: "status", Message: "must be one of submitting, waiting, copying, succeeded, failed, cancelled"})
	}
	if value := q.Get("limit"); value != "" {
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > maxLimit {
			faults = append(faults, named.Violation{Parameter: "limit", Message: "must be a whole number from 1 to 100"})
		}
		out.limit = n
	}
	cursor, ok := decodeCursor(q.Get("cursor"))
	if !ok {
		faults = append(faults, named.Violation{Parameter: "cursor", Message: "is not the next_cursor of an earlier answer"})
	}
	out.cursor = cursor
	return out, faults.Err()
}

func encodeCursor(cursor string) string {
	if cursor == "" {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString([]byte(cursor))
}

// decodeCursor refuses what S3 would: it becomes part of a key.
func decodeCursor(text string) (string, bool) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	return string(raw), err == nil && len(raw) <= maxCursor && utf8.Valid(raw)
}

// maxCursor is well above an index entry's 13 digits and a run id's 80 characters.
const maxCursor = 500
