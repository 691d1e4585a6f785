package picture

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	_ "image/jpeg" // what upscale accepts
	_ "image/png"

	"golang.org/x/image/draw"
	_ "golang.org/x/image/webp"
)

// maxPixels bounds an upscaled picture: a small file can claim to be a huge one.
const maxPixels = 32 << 20

// Upscale decodes a PNG, JPEG or WebP and makes it factor times as wide and high.
func Upscale(data []byte, factor int) (image.Image, error) {
	size, _, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if size.Width*factor*size.Height*factor > maxPixels || size.Width < 1 || size.Height < 1 {
		return nil, fmt.Errorf("%d × %d is too large to be scaled by %d", size.Width, size.Height, factor)
	}
	src, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return scaled(src, size.Width*factor, size.Height*factor), nil
}

// clipFrames and clipStep make two seconds; the step is in hundredths of one.
const clipFrames, clipStep = 12, 16

// Clip is a short GIF that moves along the scene's hills.
func Clip(s Scene) ([]byte, error) {
	s.Width, s.Height = 240, 160
	var clip gif.GIF
	var palette color.Palette
	nearest := map[color.RGBA]uint8{} // of a colour's upper bits: searching for each pixel takes seconds
	for i := range clipFrames {
		frame := paint(s, float64(i)*0.012).img
		if palette == nil {
			palette = sampled(frame)
		}
		mapped := image.NewPaletted(frame.Bounds(), palette)
		for at := range mapped.Pix {
			rough := color.RGBA{frame.Pix[4*at] &^ 7, frame.Pix[4*at+1] &^ 7, frame.Pix[4*at+2] &^ 7, 255}
			index, known := nearest[rough]
			if !known {
				index = uint8(palette.Index(rough))
				nearest[rough] = index
			}
			mapped.Pix[at] = index
		}
		clip.Image, clip.Delay = append(clip.Image, mapped), append(clip.Delay, clipStep)
	}
	var out bytes.Buffer
	err := gif.EncodeAll(&out, &clip)
	return out.Bytes(), err
}

// sampled takes a palette from the picture itself, evenly over its height.
func sampled(img *image.RGBA) color.Palette {
	const colours = 128
	b := img.Bounds()
	var list color.Palette
	for i := range colours {
		list = append(list, img.At((i*53)%b.Dx(), i*b.Dy()/colours))
	}
	return list
}

// scaled is src in the size of w times h.
func scaled(src image.Image, w, h int) *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.CatmullRom.Scale(out, out.Bounds(), src, src.Bounds(), draw.Src, nil)
	return out
}
