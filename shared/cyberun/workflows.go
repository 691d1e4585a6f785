package cyberun

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
)

// WorkflowStatus is the state of a workflow. The set is open: only a disabled workflow
// is known to refuse runs.
type WorkflowStatus string

// The documented statuses of a workflow.
const (
	WorkflowActive   WorkflowStatus = "active"
	WorkflowDisabled WorkflowStatus = "disabled"
)

// Workflow is a graph of nodes that can be run. In a [WorkflowList] it may lack its
// parameters.
type Workflow struct {
	ID             string         `json:"id"`
	Slug           string         `json:"workflow_slug"`
	DisplayName    string         `json:"display_name"`
	Version        int            `json:"version"`
	Status         WorkflowStatus `json:"workflow_status"`
	Description    string         `json:"description"`
	Parameters     []Parameter    `json:"parameters"`
	RequiredLabels []string       `json:"required_labels,omitempty"`
	TaskTimeout    int            `json:"task_timeout"` // seconds from when an agent accepts the task; 0: none
	MaxRetries     int            `json:"max_retries"`
	ToolType       string         `json:"tool_type"`
	CreatedAt      Time           `json:"created_at"`
	UpdatedAt      Time           `json:"updated_at"`
	Date           time.Time      `json:"-"` // the server's clock; zero in a [WorkflowList]
}

// ParameterType says what kind of value a workflow's parameter takes. The set is open.
type ParameterType string

// The documented types of parameters.
const (
	TypeString  ParameterType = "string"
	TypeNumber  ParameterType = "number"
	TypeInteger ParameterType = "integer" // named in the documentation's prose alone
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

// Option is one choice of a parameter of the type select.
type Option struct {
	Value any    `json:"value"`
	Label string `json:"label"` // the value's text if it has none of its own
}

// UnmarshalJSON reads a workflow, of which only the id has to be there. A parameter
// without a key is left out, since it could not be sent.
func (w *Workflow) UnmarshalJSON(b []byte) error {
	o, ok := parseLooseJSON(b)
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
		var p Parameter
		if json.Unmarshal(raw, &p) == nil && p.Key != "" {
			w.Parameters = append(w.Parameters, p)
		}
	}
	return nil
}

// UnmarshalJSON reads a parameter. It never fails.
func (p *Parameter) UnmarshalJSON(b []byte) error {
	o, _ := parseLooseJSON(b)
	*p = Parameter{
		Key: o.text("key"), Type: ParameterType(o.text("type")), Label: o.text("label"), Description: o.text("description"),
		Required: o.boolean("required"), Default: o.value("default"), Min: o.number("min"), Max: o.number("max"),
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

// UnmarshalJSON reads a bare value, or an object with value and label: which of the
// two the remote writes is not documented. It never fails.
func (c *Option) UnmarshalJSON(b []byte) error {
	o, ok := parseLooseJSON(b)
	if !ok {
		o = looseJSON{"value": b}
	}
	*c = Option{Value: o.value("value"), Label: firstText(o, "label", "value")}
	return nil
}

// WorkflowList is one page of the workflows that the key can run.
type WorkflowList struct {
	Workflows []Workflow
	Page      PageMeta
}

// Workflows lists one page of the workflows that the key can run.
func (c *Client) Workflows(ctx context.Context, page Page) (WorkflowList, error) {
	workflows, meta, _, err := list[Workflow](ctx, c, "/r/workflows", page, "workflow_list")
	if err != nil {
		return WorkflowList{}, err
	}
	return WorkflowList{Workflows: workflows, Page: meta}, nil
}

// Workflow reads one workflow with its parameters. ref is its slug, or slug@version.
// [IsNotFound] reports whether the error says that there is none.
func (c *Client) Workflow(ctx context.Context, ref string) (Workflow, error) {
	return c.workflowAt(ctx, "/r/workflows/slug/", ref)
}

// WorkflowByID is [Client.Workflow] by the id that a [Task] names. Where the answer
// has no slug, Slug is the id.
func (c *Client) WorkflowByID(ctx context.Context, id string) (Workflow, error) {
	return c.workflowAt(ctx, "/r/workflows/", id)
}

func (c *Client) workflowAt(ctx context.Context, below, ref string) (Workflow, error) {
	escaped, err := escapeSegment("workflow", ref)
	if err != nil {
		return Workflow{}, err
	}
	w, a, err := read[Workflow](ctx, c, request{method: http.MethodGet, path: below + escaped})
	if err != nil {
		return Workflow{}, err
	}
	if w.Slug == "" {
		w.Slug, _, _ = strings.Cut(ref, "@")
	}
	w.Date = a.date
	return w, nil
}
