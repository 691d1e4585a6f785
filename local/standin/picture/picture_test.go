package picture

import (
	"bytes"
	"image/gif"
	"image/png"
	"strings"
	"testing"
)

func TestDraw(t *testing.T) {
	base := Scene{Prompt: "a sunset over mountains, 4k", Footer: "seed 42", Seed: 42, Width: 192, Height: 128}
	draw := func(change func(*Scene)) []byte {
		s := base
		change(&s)
		img := Draw(s)
		if img.Bounds().Dx() != s.Width || img.Bounds().Dy() != s.Height {
			t.Errorf("%v is drawn as %v", s, img.Bounds())
		}
		return img.Pix
	}
	first := draw(func(*Scene) {})
	if !bytes.Equal(first, draw(func(*Scene) {})) {
		t.Error("the same scene, another picture: ranges of it would not fit together")
	}
	for name, change := range map[string]func(*Scene){
		"prompt": func(s *Scene) { s.Prompt = "a sunset over the sea" },
		"seed":   func(s *Scene) { s.Seed++ },
		"style":  func(s *Scene) { s.Style = "ink" },
		"footer": func(s *Scene) { s.Footer = "seed 43" },
	} {
		if bytes.Equal(first, draw(change)) {
			t.Errorf("another %s, the same picture", name)
		}
	}
	for _, prompt := range []string{"", "日本語", strings.Repeat("word ", 5000), strings.Repeat("x", 5000), "a\x00b\nc"} {
		draw(func(s *Scene) { s.Prompt = prompt })
	}
}

func TestTexts(t *testing.T) {
	scene := Scene{Prompt: "Ελλάδα", Width: 128, Height: 128}
	data, err := Encode(Draw(scene), Text{"prompt", scene.Prompt}, Text{"task_id", "7"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(bytes.NewReader(data)); err != nil {
		t.Errorf("the chunks have spoilt the PNG: %v", err)
	}
	if got, err := Texts(data); err != nil || got["prompt"] != scene.Prompt || got["task_id"] != "7" {
		t.Errorf("%v %v", got, err)
	}
	for _, wrong := range [][]byte{nil, []byte("GIF89a"), data[:60], data[:len(data)-12]} {
		if got, err := Texts(wrong); err == nil {
			t.Errorf("%d bytes gave %v", len(wrong), got)
		}
	}
}

func TestUpscaleAndClip(t *testing.T) {
	small, err := Encode(Draw(Scene{Prompt: "p", Width: 128, Height: 128}))
	if err != nil {
		t.Fatal(err)
	}
	if img, err := Upscale(small, 2); err != nil || img.Bounds().Dx() != 256 {
		t.Errorf("%v", err)
	}
	for _, wrong := range [][]byte{nil, []byte("no picture"), small[:100]} {
		if _, err := Upscale(wrong, 2); err == nil {
			t.Errorf("%d bytes were scaled", len(wrong))
		}
	}
	if _, err := Upscale(small, 1000); err == nil {
		t.Error("128,000 × 128,000 was scaled")
	}
	clip, err := Clip(Scene{Prompt: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if all, err := gif.DecodeAll(bytes.NewReader(clip)); err != nil || len(all.Image) != clipFrames {
		t.Errorf("%v", err)
	}
}
