package handler

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/shared/api"
	"github.com/cyberun-cloud/cyberun-relay/shared/fanout"
	"github.com/cyberun-cloud/cyberun-relay/shared/httpapi"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

const (
	usualLimit = 20 // entries of a list's page, if the query has no limit
	// maxScanned bounds how many records one call reads when it filters by
	// status: the cursor goes on from there.
	maxScanned = 500
)

// parseListQuery reads the query of GET /runs, and reports everything that is
// wrong with it at once. An empty status stands for any.
func parseListQuery(r httpapi.Request) (page httpapi.Page, status run.Status, err error) {
	q, err := httpapi.Query(r)
	if err != nil {
		return page, "", err
	}
	var violations named.Violations
	status = run.Status(q.Get("status"))
	if status != "" && !slices.Contains(run.Statuses, status) {
		violations.Add("status", "must be one of submitting, waiting, copying, succeeded, failed, cancelled")
	}
	page = httpapi.ReadPage(q, usualLimit, &violations)
	if page.Cursor != "" && !isPlaceInList(page.Cursor) {
		violations.Add("cursor", httpapi.NotOurCursor)
	}
	return page, status, violations.Err()
}

// isPlaceInList reports whether a cursor can be a run's place in the index, a number
// and the run's id. S3 repeats it in its answer, which control characters would make
// unreadable.
func isPlaceInList(cursor string) bool {
	at, runID, _ := strings.Cut(cursor, "-")
	return at != "" && strings.Trim(at, "0123456789") == "" && isRunID(runID)
}

// listRuns reads the index, newest first, and the records it names.
func (h *Handler) listRuns(ctx context.Context, r httpapi.Request) (none httpapi.Response, err error) {
	asked, status, err := parseListQuery(r)
	if err != nil {
		return none, err
	}
	runs, cursor, scanned := []api.Run{}, asked.Cursor, 0
	for len(runs) < asked.Limit && scanned < maxScanned {
		page, more, err := h.page(ctx, cursor, asked.Limit)
		if err != nil {
			return none, err
		}
		scanned += len(page)
		for _, e := range page {
			cursor = e.cursor
			if lifecycle.CursorOf(e.record) == e.cursor && (status == "" || e.record.Status.Shown() == status) {
				runs = append(runs, h.summary(e.record))
				if len(runs) == asked.Limit {
					break
				}
			}
		}
		if !more && (len(page) == 0 || cursor == page[len(page)-1].cursor) {
			cursor = ""
			break
		}
	}
	return httpapi.JSON(http.StatusOK, struct {
		Runs       []api.Run `json:"runs"`
		NextCursor string    `json:"next_cursor,omitempty"`
	}{runs, httpapi.EncodeCursor(cursor)})
}

// entry is one place in the list, with its run; without a record that is empty.
type entry struct {
	cursor string
	record run.Record
}

// page reads at most limit entries of the index after cursor, with their records;
// more says that there are further ones.
func (h *Handler) page(ctx context.Context, cursor string, limit int) (page []entry, more bool, err error) {
	var ids []string
	if err := h.Runs.EachNewestFirst(ctx, cursor, func(runID, cursor string) bool {
		if more = len(ids) == limit; !more {
			ids, page = append(ids, runID), append(page, entry{cursor: cursor})
		}
		return !more
	}); err != nil {
		return nil, false, err
	}
	return page, more, fanout.Each(ctx, h.Concurrency, len(ids), func(ctx context.Context, i int) error {
		r, err := h.Runs.Get(ctx, ids[i])
		if errors.Is(err, lifecycle.ErrNoRecord) {
			return nil
		}
		page[i].record = r.Record
		return err
	})
}
