package cyberun

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// CallTime is how long a function waits for one call to Cyberun, apart from StartTask, an
// upload, the event stream, a cancel (5 s) and container calls: two thirds of the 30 s in
// which API Gateway wants the relay's own answer.
const CallTime = 20 * time.Second

// MaxPageSize is the documented limit for the rows of a page.
const MaxPageSize = 100

// Page says which page of a list is asked for. Where a field is zero, Cyberun chooses:
// the first page, and 20 rows.
type Page struct {
	Number int // from 1
	Size   int // rows, at most MaxPageSize
}

func (p Page) query() string {
	q := url.Values{}
	if p.Number > 0 {
		q.Set("current_page", strconv.Itoa(p.Number))
	}
	if p.Size > 0 {
		q.Set("per_page", strconv.Itoa(min(p.Size, MaxPageSize)))
	}
	return q.Encode()
}

// PageMeta is what an answer says of its page and of the whole list.
type PageMeta struct {
	CurrentPage int `json:"current_page"`
	PerPage     int `json:"per_page"`
	TotalCount  int `json:"total_count"` // rows of the whole list; -1 if the answer does not say
}

func (o looseJSON) pageMeta() PageMeta {
	meta, _ := parseLooseJSON(o["page_meta"])
	m := PageMeta{CurrentPage: meta.count("current_page"), PerPage: meta.count("per_page"), TotalCount: -1}
	if n := meta.integer("total_count"); n != nil && *n >= 0 {
		m.TotalCount = *n
	}
	return m
}

// list reads one page of a list, whose rows are below the first of the names that the
// answer has. A null is an empty list, unless the page says that there are rows:
// absence must not be read out of an answer that is broken.
func list[T any](ctx context.Context, c *Client, path string, page Page, names ...string) ([]T, PageMeta, response, error) {
	o, a, err := read[looseJSON](ctx, c, request{method: http.MethodGet, path: path, query: page.query()})
	if err != nil {
		return nil, PageMeta{}, a, err
	}
	name := names[max(0, slices.IndexFunc(names, func(name string) bool { _, there := o[name]; return there }))]
	meta := o.pageMeta()
	var rows []json.RawMessage
	switch raw, there := o[name]; {
	case !there:
		return nil, meta, a, a.unusable("but without %s", name)
	case json.Unmarshal(raw, &rows) != nil:
		return nil, meta, a, a.unusable("but %s is not a list", name)
	case rows == nil && meta.TotalCount > 0:
		return nil, meta, a, a.unusable("but %s is null although total_count is %d", name, meta.TotalCount)
	}
	items := make([]T, len(rows))
	for i, row := range rows {
		if err := json.Unmarshal(row, &items[i]); err != nil {
			return nil, meta, a, a.unusable("%s (row %d)", err, i+1)
		}
	}
	return items, meta, a, nil
}
