package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	plotWidth  = 860
	plotLeft   = 225
	plotBar    = 18
	plotRow    = 28
	plotBottom = 20
	plotLabel  = 13 // a line's label is that much above the next one's: they'd run into each other
)

// writePlot draws each contestant's throughput as a bar with its spread over the
// rounds, the limits and the reference as lines across them.
func writePlot(dir string, f *figures) error {
	if len(f.Large) == 0 {
		return nil
	}
	var body strings.Builder
	y := 30
	for _, secure := range []bool{true, false} {
		y = plotPanel(&body, f, secure, y)
	}
	svg := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="Helvetica, Arial, sans-serif" font-size="13">
<rect width="100%%" height="100%%" fill="#ffffff"/>
%s</svg>
`, plotWidth, y+plotBottom, plotWidth, y+plotBottom, body.String())
	return os.WriteFile(filepath.Join(dir, "plot.svg"), []byte(svg), 0o644)
}

func plotPanel(b *strings.Builder, f *figures, secure bool, y int) int {
	rows, speeds := []largeRow{}, map[string]float64{}
	for _, r := range f.Large {
		if r.TLS != secure {
			continue
		}
		if speeds[r.Name] = r.MBps; !isTraffic(r.Name) {
			rows = append(rows, r)
		}
	}
	if len(rows) == 0 {
		return y
	}
	lines := []struct {
		label, colour, style string
		mbps                 float64
	}{
		{"limit, one connection", "#b06a3b", "", min(speeds["get1"], speeds["put1"])},
		{"limit, eight", "#7a2e2e", "", min(speeds["get"], speeds["put"])},
		{"for reference, GET and PUT at once", "#6b7280", `stroke-dasharray="4 3" `, speeds["both"]},
	}
	top := 0.0
	for _, l := range lines {
		top = max(top, l.mbps)
	}
	for _, r := range rows {
		top = max(top, r.MBps, r.MaxMBps)
	}
	scale := float64(plotWidth-plotLeft-150) / top
	fmt.Fprintf(b, `<text x="16" y="%d" font-size="15" font-weight="bold" fill="#1d2b3a">%s over %s, MB/s (longer is better)</text>`+"\n", y, sizeName(rows[0].Size), protocol(secure))
	fmt.Fprintf(b, `<text x="16" y="%d" font-size="11" fill="#5b6673">bars: whole processes, median and min–max of the rounds; lines: transfers alone</text>`+"\n", y+16)
	y += 40 + plotLabel*len(lines)
	from, to := y-14, y-14+plotRow*len(rows)
	for i, l := range lines {
		if l.mbps > 0 {
			x := plotLeft + l.mbps*scale
			fmt.Fprintf(b, `<line x1="%.0f" x2="%.0f" y1="%d" y2="%d" stroke="%s" %sstroke-width="1.5"/>`+"\n", x, x, from-plotLabel*i, to, l.colour, l.style)
		}
	}
	for i, l := range lines { // after all lines: their white edge keeps them readable on one
		if l.mbps > 0 {
			fmt.Fprintf(b, `<text x="%.0f" y="%d" font-size="11" text-anchor="middle" fill="%s" stroke="#ffffff" stroke-width="3" paint-order="stroke">%s %.0f</text>`+"\n",
				plotLeft+l.mbps*scale, from-plotLabel*i-4, l.colour, l.label, l.mbps)
		}
	}
	for _, r := range rows {
		colour := "#9db4c8"
		if r.Name == "ours" {
			colour = "#1f6f54"
		}
		name := strings.NewReplacer("*", "", "SDK `feature/s3/", "SDK ", "`", "").Replace(titles[r.Name])
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end" fill="#1d2b3a">%s</text>`+"\n", plotLeft-8, y+plotBar/2-5, name)
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.0f" height="%d" fill="%s"/>`+"\n", plotLeft, y-plotBar/2, max(1, r.MBps*scale), plotBar, colour)
		fmt.Fprintf(b, `<line x1="%.0f" x2="%.0f" y1="%d" y2="%d" stroke="#1d2b3a" stroke-width="1.5"/>`+"\n", plotLeft+r.MinMBps*scale, plotLeft+r.MaxMBps*scale, y, y)
		fmt.Fprintf(b, `<text x="%.0f" y="%d" fill="#1d2b3a" stroke="#ffffff" stroke-width="3" paint-order="stroke">%.0f</text>`+"\n", plotLeft+max(r.MBps, r.MaxMBps)*scale+6, y+plotBar/2-5, r.MBps)
		y += plotRow
	}
	return y + 26
}
