package main

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"image"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/local/standin/picture"
)

// output is one file that a task leaves: under an id in download_urls, as the lone download_url, or both.
type output struct {
	id, path, contentType string
	lone                  bool
	render                func() ([]byte, error) // nil: big-file's noise
}

func (o output) storageKey(t *task) string { return "outputs/" + t.id + "/" + o.path }

// outputs lists what a task leaves; nothing is rendered before someone asks for it.
func (s *standin) outputs(t *task) []output {
	p := t.params
	png := func(id, path string, scene picture.Scene) output {
		return output{id: id, path: path, contentType: "image/png", render: func() ([]byte, error) { return t.drawn(scene) }}
	}
	if strings.HasPrefix(t.flow.Slug, ownPrefix) {
		return []output{{path: "file.bin", contentType: "application/octet-stream", lone: true}}
	}
	switch t.flow.Slug {
	case "text-to-image":
		one := png("", "ComfyUI_00001_.png", t.scene(0))
		one.lone = true
		return []output{one}
	case "multi-image":
		var list []output
		for i := range int(number(p, "count")) {
			list = append(list, png("9.images."+strconv.Itoa(i), fmt.Sprintf("9/ComfyUI_%05d_.png", i+1), t.scene(i)))
		}
		wide := t.scene(20)
		wide.Width, wide.Height = 1024, 432
		return append(list, png("12.images.0", "12/ComfyUI_00001_.png", wide),
			output{id: "13.video.0", path: "13/clip_00001.gif", contentType: "image/gif", render: func() ([]byte, error) { return picture.Clip(t.scene(30)) }})
	case "upscale":
		return []output{{path: "upscaled_00001_.png", contentType: "image/png", lone: true, render: func() ([]byte, error) { return s.upscaled(t) }}}
	case "nerf-train":
		return []output{
			{id: "export.pointcloud.0", path: "exports/point_cloud.ply", contentType: "application/octet-stream", render: t.pointCloud},
			png("export.preview.0", "exports/preview.png", t.scene(0))}
	case "big-file":
		return []output{{path: "big.bin", contentType: "application/octet-stream", lone: true}}
	case "both-urls":
		one := png("9.images.0", "9/ComfyUI_00001_.png", t.scene(0))
		two := png("9.images.1", "9/ComfyUI_00002_.png", t.scene(1))
		if word(p, "lone") == "same" {
			one.lone = true
			return []output{one, two}
		}
		other := png("", "summary.png", t.scene(2))
		other.lone = true
		return []output{one, two, other}
	case "many-files":
		return manyFiles(int(number(p, "count")))
	default:
		return oddNames()
	}
}

// manyFiles are small, and each says which one it is.
func manyFiles(count int) []output {
	list := make([]output, count)
	for i := range list {
		list[i] = output{id: fmt.Sprintf("9.text.%d", i), path: fmt.Sprintf("9/part_%05d.txt", i+1), contentType: "text/plain; charset=utf-8",
			render: func() ([]byte, error) { return fmt.Appendf(nil, "file %d of %d\n", i+1, count), nil }}
	}
	return list
}

// oddNames are ids that meet one another, or the relay's own files, when made into keys carelessly.
func oddNames() []output {
	var list []output
	for i, id := range []string{"manifest.json", "manifest", "error.json", "../escape", "a/b", "a:b", "a b", "A", "a", "a.", ".hidden", "ünï çødé", "日本語", "con", ""} {
		name := fmt.Sprintf("odd_%02d.txt", i)
		kind := "text/plain; charset=utf-8"
		switch i % 3 {
		case 1:
			name, kind = fmt.Sprintf("odd_%02d", i), "application/json" // its extension only in the type
		case 2:
			name, kind = fmt.Sprintf("odd_%02d.tar.gz", i), "application/octet-stream"
		}
		one := output{id: id, path: name, contentType: kind, render: func() ([]byte, error) { return fmt.Appendf(nil, "{\"id\": %q}\n", id), nil }}
		one.lone = id == ""
		list = append(list, one)
	}
	return append(list, output{id: "empty", path: "empty.bin", contentType: "application/octet-stream", render: func() ([]byte, error) { return nil, nil }})
}

// content is an output's bytes, rendered now or lately.
func (s *standin) content(t *task, o output) (content, error) {
	if o.render == nil {
		return noise(uint64(number(t.params, "seed")), int64(number(t.params, "bytes"))), nil
	}
	data, err := s.cache.get(o.storageKey(t), o.render)
	return blob(data), err
}

// scene is what a task's prompt, seed and settings look like; variant tells its several pictures apart.
func (t *task) scene(variant int) picture.Scene {
	seed := uint64(number(t.params, "seed"))
	if _, given := t.params["seed"]; !given {
		seed = t.random()
	}
	prompt := word(t.params, "prompt") + word(t.params, "scene")
	scene := picture.Scene{Prompt: prompt, Seed: seed + uint64(variant), Style: word(t.params, "style"), Width: 768, Height: 512,
		Footer: fmt.Sprintf("%s@%d   seed %d", t.flow.Slug, t.flow.Version, seed+uint64(variant))}
	if steps := int(number(t.params, "steps")); steps > 0 {
		scene.Footer += fmt.Sprintf("   %d steps", steps)
	}
	if w, h := int(number(t.params, "width")), int(number(t.params, "height")); w > 0 && h > 0 {
		scene.Width, scene.Height = w, h
	}
	if hd, _ := t.params["hd"].(bool); hd {
		scene.Width, scene.Height = 2*scene.Width, 2*scene.Height
	}
	return scene
}

// random is a number that the task keeps: what it renders must stay the same.
func (t *task) random() uint64 {
	h := fnv.New64a()
	h.Write([]byte(t.id))
	return h.Sum64() >> 44 // seven digits are enough to read
}

// drawn is a picture with what it was made of in its text chunks.
func (t *task) drawn(scene picture.Scene) ([]byte, error) {
	return picture.Encode(picture.Draw(scene), t.chunks(scene.Prompt)...)
}

func (t *task) chunks(prompt string) []picture.Text {
	return []picture.Text{{Keyword: "prompt", Value: prompt}, {Keyword: "task_id", Value: t.id},
		{Keyword: "workflow", Value: fmt.Sprintf("%s@%d", t.flow.Slug, t.flow.Version)}}
}

// upscaled is the uploaded picture, larger; one that does not decode is answered with a picture that says so.
func (s *standin) upscaled(t *task) ([]byte, error) {
	file := s.file(word(t.params, "image"))
	if file == nil {
		return nil, fmt.Errorf("the input file is no longer kept")
	}
	factor, _ := strconv.Atoi(word(t.params, "scale")) // one of the options
	var drawn image.Image
	drawn, err := picture.Upscale(file.data, factor)
	if err != nil {
		prompt := file.Name + " could not be read as a picture"
		drawn = picture.Draw(picture.Scene{Prompt: prompt, Seed: t.random(), Width: 768, Height: 512,
			Footer: fmt.Sprintf("%s@%d   %d bytes", t.flow.Slug, t.flow.Version, file.Size)})
	}
	return picture.Encode(drawn, append(t.chunks(file.Name), picture.Text{Keyword: "source_sha256", Value: file.SHA256})...)
}

// pointCloud is a hill of points in the text form of PLY, which any viewer opens.
func (t *task) pointCloud() ([]byte, error) {
	const points = 5000
	dice := rand.New(rand.NewPCG(t.random(), 1))
	var out bytes.Buffer
	fmt.Fprintf(&out, "ply\nformat ascii 1.0\ncomment task %s\nelement vertex %d\nproperty float x\nproperty float y\nproperty float z\n"+
		"property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n", t.id, points)
	for range points {
		x, y := dice.Float64()*2-1, dice.Float64()*2-1
		z := 1 / (1 + 4*(x*x+y*y))
		fmt.Fprintf(&out, "%.4f %.4f %.4f %d %d %d\n", x, y, z, 90+int(160*z), 110+int(60*z), 140)
	}
	return out.Bytes(), nil
}
