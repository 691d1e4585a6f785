package picture

import (
	"hash/fnv"
	"image"
	"image/color"
	"math"
	"math/rand/v2"
	"strings"
)

// Scene is what a picture is made from. The same scene gives the same picture.
type Scene struct {
	Prompt, Footer, Style string
	Seed                  uint64
	Width, Height         int
}

type rgb struct{ r, g, b float64 }

func hex(v uint32) rgb {
	return rgb{float64(v >> 16), float64(v >> 8 & 255), float64(v & 255)}
}

func (c rgb) mix(d rgb, t float64) rgb {
	return rgb{c.r + (d.r-c.r)*t, c.g + (d.g-c.g)*t, c.b + (d.b-c.b)*t}
}

// mood is a time of day or a land: its sky from above to the horizon, its sun, its hills from far to near.
type mood struct {
	words          string // of the prompt that call for it
	top, mid, low  rgb
	sun            rgb
	far, near      rgb
	stars, forests bool
}

func moods() []mood {
	return []mood{
		{"sunset dusk evening", hex(0x2b1b54), hex(0xd1495b), hex(0xffc57a), hex(0xfff0c9), hex(0xb5557a), hex(0x1a1033), false, true},
		{"sunrise dawn morning", hex(0x3f5f9e), hex(0xf2a7a0), hex(0xffe3b8), hex(0xfffbe8), hex(0xc79bb0), hex(0x2c2f55), false, true},
		{"night moon star space", hex(0x060b24), hex(0x15265c), hex(0x3c5a96), hex(0xf4f1e2), hex(0x2e4780), hex(0x040817), true, true},
		{"forest green jungle garden", hex(0x5aa2b8), hex(0xb9ddc9), hex(0xf4f3d2), hex(0xfffdf0), hex(0x8fb996), hex(0x12352b), false, true},
		{"desert sand dune mars", hex(0x2f6f8f), hex(0xf0c78a), hex(0xffe9c2), hex(0xfffaf0), hex(0xdc9a63), hex(0x6b2b1a), false, false},
		{"snow winter ice arctic", hex(0x2a4a7c), hex(0x9cc3e0), hex(0xf1f6fb), hex(0xffffff), hex(0xa9c3dd), hex(0x26405f), false, true},
	}
}

func (s Scene) mood() mood {
	list := moods()
	prompt := strings.ToLower(s.Prompt)
	for _, m := range list {
		for _, word := range strings.Fields(m.words) {
			if strings.Contains(prompt, word) {
				return m
			}
		}
	}
	h := fnv.New32a()
	h.Write([]byte(s.Prompt))
	return list[h.Sum32()%uint32(len(list))]
}

// styled is the mood as a watercolour or as ink.
func (m mood) styled(style string) mood {
	change := func(c rgb) rgb { return c }
	switch style {
	case "watercolor":
		change = func(c rgb) rgb { return c.mix(hex(0xfdf6ea), 0.42) }
	case "ink":
		change = func(c rgb) rgb {
			grey := 0.3*c.r + 0.59*c.g + 0.11*c.b
			return rgb{grey * 1.02, grey, grey * 0.95}
		}
	}
	m.top, m.mid, m.low, m.sun, m.far, m.near = change(m.top), change(m.mid), change(m.low), change(m.sun), change(m.far), change(m.near)
	return m
}

// painter holds one picture while it is drawn.
type painter struct {
	img  *image.RGBA
	dice *rand.Rand
	w, h int
	mood mood
}

// Draw paints the scene with its prompt on it.
func Draw(s Scene) *image.RGBA {
	p := paint(s, 0)
	letter(p.img, s.Prompt, s.Footer)
	return p.img
}

// paint is the scene without words; drift moves the hills sideways, for a clip.
func paint(s Scene, drift float64) *painter {
	h := fnv.New64a()
	h.Write([]byte(s.Prompt))
	p := &painter{img: image.NewRGBA(image.Rect(0, 0, s.Width, s.Height)), dice: rand.New(rand.NewPCG(h.Sum64(), s.Seed)),
		w: s.Width, h: s.Height, mood: s.mood().styled(s.Style)}
	p.sky()
	p.hills(drift)
	return p
}

func (p *painter) set(x, y int, c rgb) {
	i := p.img.PixOffset(x, y)
	clamp := func(v float64) uint8 { return uint8(max(0, min(255, v+0.5))) }
	p.img.Pix[i], p.img.Pix[i+1], p.img.Pix[i+2], p.img.Pix[i+3] = clamp(c.r), clamp(c.g), clamp(c.b), 255
}

func (p *painter) at(x, y int) rgb {
	i := p.img.PixOffset(x, y)
	return rgb{float64(p.img.Pix[i]), float64(p.img.Pix[i+1]), float64(p.img.Pix[i+2])}
}

// sky is three colours from above to the horizon, with the sun's disc and its glow.
func (p *painter) sky() {
	m := p.mood
	size := float64(min(p.w, p.h))
	sunX, sunY := (0.52+0.34*p.dice.Float64())*float64(p.w), (0.36+0.09*p.dice.Float64())*float64(p.h)
	radius := (0.07 + 0.04*p.dice.Float64()) * size
	for y := range p.h {
		part := float64(y) / (0.72 * float64(p.h))
		base := m.top.mix(m.mid, min(1, part*1.7))
		if part > 0.588 {
			base = m.mid.mix(m.low, min(1, (part-0.588)/0.412))
		}
		for x := range p.w {
			away := math.Hypot(float64(x)-sunX, float64(y)-sunY)
			c := base.mix(m.sun, 0.55*math.Exp(-away/(radius*2.6)))
			c = c.mix(m.sun, max(0, min(1, radius-away+0.5)))
			p.set(x, y, c)
		}
	}
	if m.stars {
		for range p.w * p.h / 1800 {
			x, y, bright := p.dice.IntN(p.w), p.dice.IntN(p.h*6/10), p.dice.Float64()
			p.set(x, y, p.at(x, y).mix(rgb{255, 255, 245}, bright*bright))
		}
	}
}

const ridges = 5

// hills stand behind one another, each darker than the one behind, mist at their feet.
func (p *painter) hills(drift float64) {
	for layer := range ridges {
		depth := float64(layer) / (ridges - 1)
		base := (0.56 + 0.36*depth) * float64(p.h)
		tall := (0.24 - 0.13*depth) * float64(p.h)
		wave := p.wave()
		colour := p.mood.far.mix(p.mood.near, math.Pow(depth, 0.8))
		mist := colour.mix(p.mood.low, 0.38*(1-depth))
		tree := p.mood.forests && layer == ridges-1
		firs := p.firs()
		for x := range p.w {
			u := (float64(x) + drift*(0.3+depth)*float64(p.w)) / float64(p.w) * (2.2 + 1.3*depth)
			top := base - tall*wave(u, layer < 3)
			if tree {
				top -= firs(u) - 0.01*float64(p.h)
			}
			for y := max(0, int(top)); y < p.h; y++ {
				c := colour.mix(mist, max(0, min(1, (float64(y)-base+tall*0.8)/(0.24*float64(p.h)))))
				if cover := float64(y) + 1 - top; cover < 1 { // the ridge's edge, softened
					c = p.at(x, y).mix(c, max(0, cover))
				}
				p.set(x, y, c)
			}
		}
	}
}

// firs is how far a row of firs stands above the nearest ridge: each of its own
// height, breadth and place, their edges stepped as branches are.
func (p *painter) firs() func(u float64) float64 {
	const many, span = 170, 6.0 // span is more of u than any picture shows
	type fir struct{ at, tall, half float64 }
	row := make([]fir, many)
	for i := range row {
		tall := 0.03 + 0.10*math.Pow(p.dice.Float64(), 1.6)
		row[i] = fir{at: (float64(i) + p.dice.Float64()) / many * span, tall: tall, half: tall * (0.12 + 0.06*p.dice.Float64()) * 4}
	}
	return func(u float64) float64 {
		high := 0.0
		for _, f := range row {
			away := math.Abs(u-f.at) / f.half
			if away >= 1 {
				continue
			}
			h := 1 - away
			const branches = 7
			step := math.Floor(h*branches) / branches
			h = 0.55*h + 0.45*step // a slope between steps
			high = max(high, f.tall*h)
		}
		return high * float64(p.h)
	}
}

// wave is a smooth random line of height 0 to 1, or so: sums of finer and finer noise; sharp ones have peaks.
func (p *painter) wave() func(u float64, sharp bool) float64 {
	const period = 256
	values := make([]float64, period)
	for i := range values {
		values[i] = p.dice.Float64()
	}
	noise := func(u float64) float64 {
		whole := math.Floor(u)
		f := u - whole
		i := int(whole) % period
		if i < 0 {
			i += period
		}
		f = f * f * (3 - 2*f)
		return values[i] + (values[(i+1)%period]-values[i])*f
	}
	return func(u float64, sharp bool) float64 {
		sum, weight := 0.0, 0.5
		for octave := range 6 {
			n := noise(u*math.Pow(2, float64(octave)) + float64(octave)*37)
			if sharp {
				n = 1 - math.Abs(2*n-1)
			}
			sum += n * weight
			weight /= 2
		}
		return sum
	}
}

func (c rgb) RGBA() (r, g, b, a uint32) {
	return color.RGBA{uint8(c.r), uint8(c.g), uint8(c.b), 255}.RGBA()
}
