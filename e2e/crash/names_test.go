package crash

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
)

var (
	uuid   = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	millis = regexp.MustCompile(`[0-9]{13}-`)
	xid    = regexp.MustCompile(`/[0-9a-v]{20}(\.json)?$`)
	ended  = regexp.MustCompile(`\{time\}-[0-9]+-[0-9]+-\{id\}$`)
	fileID = regexp.MustCompile(`/bucket/inputs/.*`)
	// otherRun is the id of another run of the cell, once the cell's own is replaced.
	otherRun = regexp.MustCompile(`run-\d+`)
)

// name tells a call as the protocol's description does.
func (c *cell) name(upstream string, r *http.Request, body []byte) string {
	path := strings.ReplaceAll(r.URL.Path, c.runID, "{run}")
	switch upstream {
	case "s3":
		return c.s3Name(r, path, body)
	case "secrets", "sfn":
		_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		return action
	}
	path = fileID.ReplaceAllString(uuid.ReplaceAllString(strings.TrimPrefix(path, "/api/v1/r"), "{id}"), "{upload_url}")
	return "cyberun " + r.Method + " " + strings.TrimPrefix(path, "/")
}

func (c *cell) s3Name(r *http.Request, path string, body []byte) string {
	bucket, object, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	place := strings.TrimPrefix(bucket, c.buckets+"-")
	if place == "state" {
		place = ""
	}
	what := r.Method
	if prefix := r.URL.Query().Get("prefix"); r.URL.Query().Get("list-type") != "" {
		what, object = "LIST", prefix
	}
	object = strings.ReplaceAll(object, c.runID, "{run}")
	object = otherRun.ReplaceAllString(object, "{other run}")
	object = xid.ReplaceAllString(object, "/{attempt}")
	object = millis.ReplaceAllString(uuid.ReplaceAllString(object, "{id}"), "{time}-")
	object = ended.ReplaceAllString(object, "{end}")
	switch query := r.URL.Query(); {
	case query.Has("uploads"):
		what = "begin an upload of"
	case query.Has("uploadId") && r.Method == http.MethodDelete:
		what = "abort the upload of"
	}
	said := what + " " + strings.Trim(place+" "+object, " ")
	if r.Method != http.MethodPut {
		return said
	}
	if place == "" && strings.HasPrefix(object, "runs/") {
		said += " (" + written(body) + ")"
	}
	switch {
	case r.Header.Get("If-None-Match") != "":
		said += " if absent"
	case r.Header.Get("If-Match") != "":
		said += " if unchanged"
	}
	return said
}

// written says which step of the protocol a record's write is.
func written(body []byte) string {
	var r record
	if json.Unmarshal(body, &r) != nil {
		return "unreadable"
	}
	switch {
	case (r.Status == "failed" || r.Status == "cancelled") && r.CleanUpDue:
		return "close"
	case r.Status == "failed" || r.Status == "cancelled":
		return "settled"
	case r.Cancel != nil:
		return "cancel"
	case r.Status == "copying" || r.Status == "delivering" || r.Status == "succeeded":
		return r.Status
	case r.TaskID != "":
		return "task id"
	case r.Submission != nil && r.Submission.MarkedAt.Before(r.LifeStartedAt) && r.Life > 0:
		return "next life"
	case len(r.Candidates) > 0:
		return "candidates"
	case r.Submission != nil && !r.Submission.EmptyAt.IsZero():
		return "first look"
	case r.Submission != nil:
		return "mark"
	case r.Posts > 0:
		return "unmark"
	case r.Life > 0:
		return "next life"
	case len(r.Uploads) > 0:
		return "file key"
	}
	return "claim"
}
