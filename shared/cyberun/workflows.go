package cyberun

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// MaxPageSize is the documented upper limit of per_page.
const MaxPageSize = 100

// Page asks for one page of a list. Zero values leave the choice to the remote:
// the first page, 20 rows.
type Page struct {
	Number int // from 1
	Size   int // at most MaxPageSize
}

func (p Page) query() url.Values {
	q := url.Values{}
	if p.Number > 0 {
		q.Set("current_page", strconv.Itoa(p.Number))
	}
	if p.Size > 0 {
		q.Set("per_page", strconv.Itoa(min(p.Size, MaxPageSize)))
	}
	return q
}

// PageMeta is what a list says of itself.
type PageMeta struct {
	CurrentPage int `json:"current_page"`
	PerPage     int `json:"per_page"`
	TotalCount  int `json:"total_count"` // -1: the answer did not say
}

func (o object) pageMeta() PageMeta {
	meta, _ := parseObject(o["page_meta"])
	m := PageMeta{CurrentPage: meta.count("current_page"), PerPage: meta.count("per_page"), TotalCount: -1}
	if n := meta.integer("total_count"); n != nil && *n >= 0 {
		m.TotalCount = *n
	}
	return m
}

// rows reads a list that has to be there. A null is an empty list, unless the
// page says that there are rows: absence must not be read out of a broken answer.
func (a answer) rows(o object, name string) ([]json.RawMessage, error) {
	raw, there := o[name]
	if !there {
		return nil, a.bad("but without %s", name)
	}
	var rows []json.RawMessage
	if err := json.Unmarshal(raw, &rows); err != nil {
		return nil, a.bad("but %s is not a list", name)
	}
	if rows == nil && o.pageMeta().TotalCount > 0 {
		return nil, a.bad("but %s is null although total_count is %d", name, o.pageMeta().TotalCount)
	}
	return rows, nil
}

// WorkflowStatus is open too: only a disabled workflow is known to reject tasks.
type WorkflowStatus string

const (
	WorkflowActive   WorkflowStatus = "active"
	WorkflowDisabled WorkflowStatus = "disabled"
)

// Workflow is what can be run. A list's rows may lack the parameters.
type Workflow struct {
	ID             string         `json:"id"`
	Slug           string         `json:"workflow_slug"`
	DisplayName    string         `json:"display_name"`
	Version        int            `json:"version"`
	Status         WorkflowStatus `json:"workflow_status"`
	Description    string         `json:"description"`
	Parameters     []Parameter    `json:"parameters"`
	RequiredLabels []string       `json:"required_labels,omitempty"`
	TaskTimeout    int            `json:"task_timeout"` // seconds from the agent's ACK; 0: none
	MaxRetries     int            `json:"max_retries"`
	ToolType       string         `json:"tool_type"`
	CreatedAt      Time           `json:"created_at"`
	UpdatedAt      Time           `json:"updated_at"`
	Date           time.Time      `json:"-"` // the server's clock, with Client.Workflow
}

// ParameterType is an open set.
type ParameterType string

const (
	TypeString  ParameterType = "string"
	TypeNumber  ParameterType = "number"
	TypeInteger ParameterType = "integer" // in the documentation's prose only
	TypeBoolean ParameterType = "boolean"
	TypeSelect  ParameterType = "select"
	TypeFile    ParameterType = "file"
)

// Parameter is one input of a workflow.
type Parameter struct {
	Key         string        `json:"key"`
	Type        ParameterType `json:"type"`
	Label       string        `json:"label,omitempty"`
	Description string        `json:"description,omitempty"`
	Required    bool          `json:"required"`
	Default     any           `json:"default,omitempty"` // json.Number if no float64 holds it
	Min         *float64      `json:"min,omitempty"`
	Max         *float64      `json:"max,omitempty"`
	Options     []Option      `json:"options,omitempty"` // select
	Accept      []string      `json:"accept,omitempty"`  // file: MIME types or extensions
}

// Option is one choice of a select. How the remote writes one is not
// documented: a bare value and an object with value and label are both read.
type Option struct {
	Value any    `json:"value"`
	Label string `json:"label"` // the value's text if it has none of its own
}

func (w *Workflow) UnmarshalJSON(b []byte) error {
	o, ok := parseObject(b)
	if !ok {
		return errors.New("but a workflow that is not an object")
	}
	*w = Workflow{
		ID: o.id("id", "workflow_id"), Slug: o.id("workflow_slug", "slug"), DisplayName: o.text("display_name"),
		Version: o.count("version"), Status: WorkflowStatus(firstText(o, "workflow_status", "status")),
		Description: o.text("description"), RequiredLabels: o.texts("required_labels"),
		TaskTimeout: o.count("task_timeout"), MaxRetries: o.count("max_retries"), ToolType: o.text("tool_type"),
		CreatedAt: o.time("created_at"), UpdatedAt: o.time("updated_at"),
	}
	if w.ID == "" {
		return errors.New("but without a workflow's id")
	}
	for _, raw := range o.list("parameters") {
		// One without a key cannot be sent, so it is left out.
		var p Parameter
		if json.Unmarshal(raw, &p) == nil && p.Key != "" {
			w.Parameters = append(w.Parameters, p)
		}
	}
	return nil
}

func (p *Parameter) UnmarshalJSON(b []byte) error {
	o, _ := parseObject(b)
	*p = Parameter{
		Key: o.text("key"), Type: ParameterType(o.text("type")), Label: o.text("label"), Description: o.text("description"),
		Required: o.truth("required"), Default: o.value("default"), Min: o.number("min"), Max: o.number("max"),
		Accept: o.texts("accept"),
	}
	for _, raw := range o.list("options") {
		var option Option
		if json.Unmarshal(raw, &option) == nil && option.Value != nil {
			p.Options = append(p.Options, option)
		}
	}
	return nil
}

func (c *Option) UnmarshalJSON(b []byte) error {
	o, ok := parseObject(b)
	if !ok {
		o = object{"value": b}
	}
	*c = Option{Value: o.value("value"), Label: firstText(o, "label", "value")}
	return nil
}

// WorkflowList is one page.
type WorkflowList struct {
	Workflows []Workflow
	Page      PageMeta
	Date      time.Time
}

// Workflows lists the workflows that the key can run.
func (c *Client) Workflows(ctx context.Context, page Page) (WorkflowList, error) {
	a, err := c.do(ctx, call{method: http.MethodGet, path: "/r/workflows", query: page.query()})
	if err != nil {
		return WorkflowList{}, err
	}
	return a.workflowList()
}

func (a answer) workflowList() (WorkflowList, error) {
	var o object
	if err := a.decode(&o); err != nil {
		return WorkflowList{}, err
	}
	rows, err := a.rows(o, "workflow_list")
	if err != nil {
		return WorkflowList{}, err
	}
	list := WorkflowList{Workflows: make([]Workflow, len(rows)), Page: o.pageMeta(), Date: a.date}
	for i, row := range rows {
		if err := list.Workflows[i].UnmarshalJSON(row); err != nil {
			return WorkflowList{}, a.bad("%s (row %d)", err, i+1)
		}
	}
	return list, nil
}

// Workflow is one workflow's detail. ref is a slug, or slug@version.
func (c *Client) Workflow(ctx context.Context, ref string) (Workflow, error) {
	return c.workflowAt(ctx, "/r/workflows/slug/", ref)
}

// WorkflowByID reads a workflow's detail by the id that a task names. A Slug that
// the answer lacks is the id.
func (c *Client) WorkflowByID(ctx context.Context, id string) (Workflow, error) {
	return c.workflowAt(ctx, "/r/workflows/", id)
}

func (c *Client) workflowAt(ctx context.Context, below, ref string) (Workflow, error) {
	escaped, err := element("workflow", ref)
	if err != nil {
		return Workflow{}, err
	}
	a, err := c.do(ctx, call{method: http.MethodGet, path: below + escaped})
	if err != nil {
		return Workflow{}, err
	}
	return a.workflow(ref)
}

func (a answer) workflow(ref string) (Workflow, error) {
	var w Workflow
	if err := a.decode(&w); err != nil {
		return Workflow{}, err
	}
	if w.Slug == "" {
		w.Slug, _, _ = strings.Cut(ref, "@")
	}
	w.Date = a.date
	return w, nil
}
