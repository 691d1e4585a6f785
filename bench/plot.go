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
)

// writePlot draws the throughput as bars, the limit as a line across them.
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
		if speeds[r.Name] = r.MBps; !isLimit(r.Name) {
			rows = append(rows, r)
		}
	}
	if len(rows) == 0 {
		return y
	}
	limit := min(speeds["get"], speeds["put"])
	top := limit
	for _, r := range rows {
		top = max(top, r.MBps)
	}
	scale := float64(plotWidth-plotLeft-150) / top
	fmt.Fprintf(b, `<text x="16" y="%d" font-size="15" font-weight="bold" fill="#1d2b3a">%s over %s, MB/s (longer is better)</text>`+"\n", y, sizeName(rows[0].Size), protocol(secure))
	y += 32
	from, to := y-14, y-14+plotRow*len(rows)
	plotLine(b, plotLeft+limit*scale, from, to, "#7a2e2e", fmt.Sprintf("GET or PUT alone %.0f", limit), "")
	if both := speeds["both"]; both > 0 {
		plotLine(b, plotLeft+both*scale, from, to, "#8a8f98", fmt.Sprintf("both at once %.0f", both), `stroke-dasharray="4 3" `)
	}
	for _, r := range rows {
		colour := "#9db4c8"
		if r.Name == "ours" {
			colour = "#1f6f54"
		}
		name := strings.NewReplacer("*", "", "`", "", "SDK feature/s3/", "SDK ").Replace(titles[r.Name])
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end" fill="#1d2b3a">%s</text>`+"\n", plotLeft-8, y+plotBar/2-5, name)
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.0f" height="%d" fill="%s"/>`+"\n", plotLeft, y-plotBar/2, max(1, r.MBps*scale), plotBar, colour)
		fmt.Fprintf(b, `<text x="%.0f" y="%d" fill="#1d2b3a" stroke="#ffffff" stroke-width="3" paint-order="stroke">%.0f</text>`+"\n", plotLeft+r.MBps*scale+6, y+plotBar/2-5, r.MBps)
		y += plotRow
	}
	return y + 26
}

func plotLine(b *strings.Builder, x float64, from, to int, colour, label, style string) {
	fmt.Fprintf(b, `<line x1="%.0f" x2="%.0f" y1="%d" y2="%d" stroke="%s" %sstroke-width="1.5"/>`+"\n", x, x, from, to, colour, style)
	fmt.Fprintf(b, `<text x="%.0f" y="%d" font-size="11" text-anchor="middle" fill="%s">%s</text>`+"\n", x, from-4, colour, label)
}
