package main

import (
	"net/http"
	"strconv"
	"strings"
)

// parameter is one as the API shows it. Whole is the stand-in's own: the
// documented type is number, and a tool that wants whole ones refuses others.
type parameter struct {
	Key         string   `json:"key"`
	Type        string   `json:"type"`
	Label       string   `json:"label"`
	Description string   `json:"description"`
	Required    bool     `json:"required"`
	Default     any      `json:"default,omitempty"`
	Min         *float64 `json:"min,omitempty"`
	Max         *float64 `json:"max,omitempty"`
	Options     []string `json:"options,omitempty"`
	Accept      []string `json:"accept,omitempty"`
	Whole       bool     `json:"-"`
}

type workflow struct {
	ID             string      `json:"id"`
	Slug           string      `json:"workflow_slug"`
	Name           string      `json:"display_name"`
	Version        int         `json:"version"`
	Status         string      `json:"workflow_status"`
	Description    string      `json:"description"`
	Parameters     []parameter `json:"parameters"`
	RequiredLabels []string    `json:"required_labels"`
	TaskTimeout    int         `json:"task_timeout"`
	MaxRetries     int         `json:"max_retries"`
	ToolType       string      `json:"tool_type"`
	CreatedAt      string      `json:"created_at"`
	UpdatedAt      string      `json:"updated_at"`

	Target  string  `json:"-"` // dispatch_target
	Seconds float64 `json:"-"` // how long a task takes unless the parameter seconds says otherwise
}

func ptr(f float64) *float64 { return &f }

func text(key, label string, required bool) parameter {
	return parameter{Key: key, Type: "string", Label: label, Required: required}
}

func whole(key, label string, otherwise any, low, high float64) parameter {
	return parameter{Key: key, Type: "number", Label: label, Default: otherwise, Min: ptr(low), Max: ptr(high), Whole: true}
}

// duration lets a test ask for a task of 30 s, or of an hour.
func duration(otherwise float64) parameter {
	return parameter{Key: "seconds", Type: "number", Label: "Seconds", Description: "how long the task takes (the stand-in's own)",
		Default: otherwise, Min: ptr(0), Max: ptr(86400)}
}

// maxFiles of a task are more than a result of 10 MiB can name.
const maxFiles = 20_000

// workflows are all there are, each version its own entry, the newest of a slug last.
func workflows() []*workflow {
	prompt := text("prompt", "Prompt", true)
	seed := parameter{Key: "seed", Type: "number", Label: "Seed", Description: "random when omitted", Min: ptr(0), Max: ptr(1 << 53), Whole: true}
	style := parameter{Key: "style", Type: "select", Label: "Style", Default: "photo", Options: []string{"photo", "watercolor", "ink"}}
	hd := parameter{Key: "hd", Type: "boolean", Label: "HD", Description: "twice the width and height", Default: false}
	list := []*workflow{
		{ID: "7f3c1a52-0001-4c1e-9a10-5b1d6f0e0001", Slug: "text-to-image", Name: "Text to image", Version: 1, Description: "A picture of what you say.", Seconds: 3,
			Parameters: []parameter{prompt, whole("steps", "Steps", 20, 1, 100), seed, duration(3)}},
		{ID: "7f3c1a52-0001-4c1e-9a10-5b1d6f0e0001", Slug: "text-to-image", Name: "Text to image", Version: 2, Description: "A picture of what you say, in the size you want.", Seconds: 3,
			Parameters: []parameter{prompt, whole("steps", "Steps", 30, 1, 150), whole("width", "Width", 768, 128, 2048),
				whole("height", "Height", 512, 128, 2048), seed, style, hd, duration(3)}},
		{ID: "7f3c1a52-0002-4c1e-9a10-5b1d6f0e0002", Slug: "multi-image", Name: "Several images and a clip", Version: 3, Target: "cloud", Seconds: 4,
			Description: "Variations of one prompt, a wide one and a short clip.",
			Parameters: []parameter{prompt, whole("count", "Images", 2, 1, 8), seed,
				{Key: "background", Type: "color", Label: "Background", Description: "a type that no page documents"}, duration(4)}},
		{ID: "7f3c1a52-0003-4c1e-9a10-5b1d6f0e0003", Slug: "upscale", Name: "Upscale", Version: 1, Description: "Your picture, larger.", Seconds: 3,
			Parameters: []parameter{{Key: "image", Type: "file", Label: "Image", Required: true, Accept: []string{"image/png", "image/jpeg", ".webp"}},
				{Key: "scale", Type: "select", Label: "Scale", Default: "2", Options: []string{"2", "4"}}, duration(3)}},
		{ID: "7f3c1a52-0004-4c1e-9a10-5b1d6f0e0004", Slug: "nerf-train", Name: "Train a NeRF", Version: 1, ToolType: "nerfstudio", Seconds: 20,
			Description: "A point cloud and a preview of a scene.", RequiredLabels: []string{"gpu:24gb"},
			Parameters: []parameter{text("scene", "Scene", true), whole("max_iterations", "Iterations", 30000, 100, 100000), duration(20)}},
		{ID: "7f3c1a52-0005-4c1e-9a10-5b1d6f0e0005", Slug: "legacy-sketch", Name: "Sketch (old)", Version: 1, Status: "disabled", Seconds: 3,
			Description: "No longer offered.", Parameters: []parameter{prompt}},
		{ID: "7f3c1a52-0006-4c1e-9a10-5b1d6f0e0006", Slug: "big-file", Name: "Big file", Version: 1, Seconds: 1,
			Description: "One file of so many bytes, the same for the same seed.",
			Parameters: []parameter{{Key: "bytes", Type: "integer", Label: "Bytes", Required: true, Min: ptr(0), Max: ptr(1 << 42), Whole: true},
				whole("seed", "Seed", 1, 0, 1<<53), duration(1)}},
		{ID: "7f3c1a52-0007-4c1e-9a10-5b1d6f0e0007", Slug: "both-urls", Name: "Both kinds of URL", Version: 1, Target: "cloud", Seconds: 3,
			Description: "download_url and download_urls at once.",
			Parameters: []parameter{prompt, {Key: "lone", Type: "select", Label: "Lone URL", Default: "same", Options: []string{"same", "other"},
				Description: "whether download_url is one of the map's files"}, duration(3)}},
		{ID: "7f3c1a52-0008-4c1e-9a10-5b1d6f0e0008", Slug: "odd-names", Name: "Odd names", Version: 1, Target: "cloud", Seconds: 1,
			Description: "Small files whose output ids are hard to make keys of.", Parameters: []parameter{duration(1)}},
		{ID: "7f3c1a52-0009-4c1e-9a10-5b1d6f0e0009", Slug: "many-files", Name: "Many files", Version: 1, Target: "cloud", Seconds: 1,
			Description: "So many small text files.", Parameters: []parameter{whole("count", "Files", 1000, 1, maxFiles), duration(1)}},
	}
	for _, w := range list {
		w.complete()
	}
	return list
}

// complete fills in what most workflows have in common.
func (w *workflow) complete() {
	w.CreatedAt, w.UpdatedAt = "2026-03-02T09:00:00Z", "2026-09-14T16:30:00Z"
	w.TaskTimeout, w.MaxRetries = 3600, 1
	if w.Status == "" {
		w.Status = "active"
	}
	if w.ToolType == "" {
		w.ToolType = "comfyui"
	}
	if w.Target == "" {
		w.Target = "agent"
	}
	if w.RequiredLabels == nil {
		w.RequiredLabels = []string{}
	}
}

// A slug that begins with ownPrefix names a workflow that nobody else knows of:
// a test that leaves a run in doubt, or changes its rows of the task list, holds
// up no other test with it. Its id is its slug behind ownID.
const (
	ownPrefix = "own-"
	ownID     = "7f3c1a52-0009-4c1e-9a10-5b1d6f0e0009-"
)

func ownWorkflow(slug string) *workflow {
	w := &workflow{ID: ownID + slug, Slug: slug, Name: "A workflow of your own", Version: 1, Description: "One small file.", Seconds: 1,
		Parameters: []parameter{text("prompt", "Prompt", false), whole("bytes", "Bytes", 1000, 1, 1<<20), whole("seed", "Seed", 1, 0, 1<<53), duration(1)}}
	w.complete()
	return w
}

// find takes an id, a slug or slug@version; the newest version where none is said.
func (s *standin) find(name string) *workflow {
	slug, pin, pinned := strings.Cut(name, "@")
	var found *workflow
	for _, w := range s.flows {
		if (w.Slug == slug || w.ID == slug) && (!pinned || strconv.Itoa(w.Version) == pin) {
			found = w
		}
	}
	if slug = strings.TrimPrefix(slug, ownID); found == nil && strings.HasPrefix(slug, ownPrefix) && (!pinned || pin == "1") {
		found = ownWorkflow(slug)
	}
	return found
}

// named finds the workflow that a route's {slug} or {id} says; ids take no version.
func (s *standin) named(r *http.Request) *workflow {
	if slug := r.PathValue("slug"); slug != "" {
		if w := s.find(slug); w != nil && !strings.HasPrefix(slug, w.ID) {
			return w
		}
		return nil
	}
	if w := s.find(r.PathValue("id")); w != nil && w.ID == r.PathValue("id") {
		return w
	}
	return nil
}

func (s *standin) listWorkflows(w http.ResponseWriter, r *http.Request) {
	var newest []*workflow
	for _, one := range s.flows {
		if s.find(one.Slug) == one {
			newest = append(newest, one)
		}
	}
	rows, meta, err := paging(r, newest)
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, "invalid_query", err.Error())
		return
	}
	reply(w, http.StatusOK, map[string]any{"workflow_list": rows, "page_meta": meta})
}

func (s *standin) getWorkflow(w http.ResponseWriter, r *http.Request) {
	found := s.named(r)
	if found == nil {
		fail(w, http.StatusNotFound, "workflow_not_found", "no such workflow")
		return
	}
	reply(w, http.StatusOK, found)
}
