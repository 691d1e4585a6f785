package main

import (
	"fmt"
	"math"
	"strings"
)

// line is how one way of waiting is drawn. The colours are told apart by people
// who see no red or no green; the marks differ as well.
type line struct{ how, colour, mark string }

func lines() []line {
	return []line{
		{howLoop, "#767676", "square"},
		{howPolled, "#0072b2", "circle"},
		{howHeld, "#d55e00", "triangle"},
		{howWebhooks, "#009e73", "diamond"},
	}
}

// panel is one of the two plots, both axes logarithmic.
type panel struct {
	title       string
	left        float64
	low, high   float64 // of the axis
	ticks       []float64
	name        func(float64) string
	value       func(Row) float64
	first, last float64 // tasks
}

const (
	width, height = 980, 400
	panelWidth    = 340
	top, bottom   = 78, 340
)

// plot draws both panels as SVG.
func plot(rows []Row) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="system-ui, sans-serif" font-size="13" fill="#333">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, `<title>Cost of a run and delay after the task's end, by the length of the task</title><rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	legend(&b)
	for _, p := range panels() {
		p.draw(&b, rows)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func panels() []panel {
	first, last := tasks[0], tasks[len(tasks)-1]
	return []panel{
		{"Cost of 1,000 runs", 80, 0.05, 150, []float64{0.1, 1, 10, 100},
			func(v float64) string { return fmt.Sprintf("$%g", v) },
			func(r Row) float64 { return r.USD * 1000 }, first, last},
		{"Delay after the task's end", 570, 0.05, 150, []float64{0.1, 1, 10, 100},
			func(v float64) string { return fmt.Sprintf("%g s", v) },
			func(r Row) float64 { return r.Delay }, first, last},
	}
}

func legend(b *strings.Builder) {
	x := 80.0
	for _, l := range lines() {
		fmt.Fprintf(b, `<line x1="%.0f" y1="24" x2="%.0f" y2="24" stroke="%s" stroke-width="2"/>`, x, x+28, l.colour)
		mark(b, l, x+14, 24, false)
		fmt.Fprintf(b, `<text x="%.0f" y="28">%s</text>`+"\n", x+36, l.how)
		x += 125
	}
	fmt.Fprintf(b, `<text x="%d" y="28" text-anchor="end" fill="#666">hollow: computed</text>`+"\n", 570+panelWidth)
}

func (p panel) x(task float64) float64 {
	return p.left + panelWidth*math.Log(task/p.first)/math.Log(p.last/p.first)
}

func (p panel) y(v float64) float64 {
	v = min(max(v, p.low), p.high)
	return bottom - (bottom-top)*math.Log(v/p.low)/math.Log(p.high/p.low)
}

func (p panel) draw(b *strings.Builder, rows []Row) {
	fmt.Fprintf(b, `<text x="%.0f" y="%d" font-weight="600">%s</text>`+"\n", p.left, top-16, p.title)
	for _, t := range p.ticks {
		fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#ddd"/><text x="%.1f" y="%.1f" text-anchor="end">%s</text>`+"\n",
			p.left-8, p.y(t), p.left+panelWidth+8, p.y(t), p.left-14, p.y(t)+4, p.name(t))
	}
	fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#999"/>`+"\n", p.left-8, bottom, p.left+panelWidth+8, bottom)
	for _, task := range tasks {
		fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#999"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			p.x(task), bottom, p.x(task), bottom+5, p.x(task), bottom+22, length(task))
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle" fill="#666">the task takes</text>`+"\n", p.left+panelWidth/2, bottom+44)
	for _, l := range lines() {
		p.curve(b, l, rows)
	}
}

func (p panel) curve(b *strings.Builder, l line, rows []Row) {
	var path []string
	var marks strings.Builder
	for _, r := range rows {
		if r.How != l.how {
			continue
		}
		x, y := p.x(r.Task), p.y(p.value(r))
		path = append(path, fmt.Sprintf("%.1f,%.1f", x, y))
		mark(&marks, l, x, y, r.Computed)
	}
	fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(path, " "), l.colour)
	b.WriteString(marks.String())
}

// mark is hollow where a value is computed.
func mark(b *strings.Builder, l line, x, y float64, hollow bool) {
	fill := l.colour
	if hollow {
		fill = "#fff"
	}
	style := fmt.Sprintf(`fill="%s" stroke="%s" stroke-width="2"`, fill, l.colour)
	switch l.mark {
	case "circle":
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="4.5" %s/>`+"\n", x, y, style)
	case "square":
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="8" height="8" %s/>`+"\n", x-4, y-4, style)
	case "triangle":
		fmt.Fprintf(b, `<path d="M%.1f %.1fl5.5 9.5h-11z" %s/>`+"\n", x, y-6, style)
	default:
		fmt.Fprintf(b, `<path d="M%.1f %.1fl5.5 5.5l-5.5 5.5l-5.5 -5.5z" %s/>`+"\n", x, y-5.5, style)
	}
}
