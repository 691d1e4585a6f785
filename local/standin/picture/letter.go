package picture

import (
	"image"
	"image/color"
	"sort"
	"strings"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// maxLines is what fits above the hills in the largest letters; longer prompts get smaller ones.
const maxLines = 3

// maxShown bounds the letters that are laid out: the text chunk has them all.
const maxShown = 600

// letter writes the prompt large at the upper left and the footer small at the lower left.
func letter(img *image.RGBA, prompt, footer string) {
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	unit := float64(min(w, h*3/2))
	margin := int(unit * 0.05)
	prompt = shorten(prompt)
	var lines []string
	var face font.Face
	for _, size := range []float64{0.082, 0.066, 0.052, 0.040, 0.031, 0.024} {
		face = newFace(gobold.TTF, unit*size)
		lines = wrap(face, prompt, w-2*margin)
		if len(lines) <= maxLines {
			break
		}
	}
	most := max(1, (h-3*margin)/face.Metrics().Height.Ceil())
	lines = lines[:min(len(lines), most)]
	shade(img, margin+len(lines)*face.Metrics().Height.Ceil()+margin)
	y := margin + face.Metrics().Ascent.Ceil()
	for _, line := range lines {
		write(img, face, line, margin, y, unit)
		y += face.Metrics().Height.Ceil()
	}
	small := newFace(goregular.TTF, max(9, unit*0.024))
	write(img, small, footer, margin, h-margin*2/3, unit)
}

func shorten(text string) string {
	letters := []rune(strings.Join(strings.Fields(text), " "))
	if len(letters) > maxShown {
		letters = append(letters[:maxShown], '…')
	}
	return string(letters)
}

// shade darkens the sky behind the words, so that they read on any mood.
func shade(img *image.RGBA, depth int) {
	b := img.Bounds()
	for y := b.Min.Y; y < min(depth, b.Max.Y); y++ {
		keep := 0.62 + 0.38*float64(y)/float64(depth)
		row := img.Pix[img.PixOffset(0, y):img.PixOffset(0, y+1)]
		for i := range row {
			if i%4 != 3 {
				row[i] = uint8(float64(row[i]) * keep)
			}
		}
	}
}

// write puts a line of text with a soft shadow under it.
func write(img *image.RGBA, face font.Face, line string, x, y int, unit float64) {
	soft := int(max(1, unit*0.003))
	for _, layer := range []struct {
		dx, dy int
		c      color.Color
	}{{soft, soft, color.RGBA{0, 0, 0, 90}}, {0, soft, color.RGBA{0, 0, 0, 70}}, {0, 0, color.RGBA{255, 253, 246, 255}}} {
		d := font.Drawer{Dst: img, Src: image.NewUniform(layer.c), Face: face, Dot: fixed.P(x+layer.dx, y+layer.dy)}
		d.DrawString(line)
	}
}

// wrap breaks at spaces, and within a word only where it alone is too long.
func wrap(face font.Face, text string, width int) []string {
	var lines []string
	line := ""
	fits := func(s string) bool { return font.MeasureString(face, s).Ceil() <= width }
	for _, word := range strings.Fields(text) {
		if line != "" && fits(line+" "+word) {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		line = word
		for !fits(line) && len([]rune(line)) > 1 {
			letters := []rune(line)
			cut := max(1, sort.Search(len(letters), func(n int) bool { return !fits(string(letters[:n+1])) }))
			lines, line = append(lines, string(letters[:cut])), string(letters[cut:])
		}
	}
	return append(lines, line)
}

func newFace(ttf []byte, size float64) font.Face {
	f, err := opentype.Parse(ttf)
	if err != nil {
		panic(err) // the font is compiled in: a test has seen it parse
	}
	face, err := opentype.NewFace(f, &opentype.FaceOptions{Size: size, DPI: 72, Hinting: font.HintingNone})
	if err != nil {
		panic(err) // only ever for options that cannot be
	}
	return face
}
