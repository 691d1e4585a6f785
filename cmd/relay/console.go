package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/rivo/uniseg"
)

// console writes results to standard output, and progress, advice and errors to
// standard error. The text given as arguments may come from a remote: none of it
// reaches a terminal as a control character.
type console struct {
	stdout, stderr io.Writer
	terminal       bool       // stderr is a terminal, on which a bar can be drawn
	width          func() int // of that terminal, in columns
	writeErr       error      // the first failed write of a result
}

// Write writes a part of a result as it is, and remembers a failure.
func (c *console) Write(p []byte) (int, error) {
	n, err := c.stdout.Write(p)
	if c.writeErr == nil {
		c.writeErr = err
	}
	return n, err
}

// resultf writes a line of the result.
func (c *console) resultf(format string, args ...any) {
	fmt.Fprintf(c, format+"\n", visibleArgs(args)...)
}

// notef writes a line of progress or advice, in place of the bar if there is one.
func (c *console) notef(format string, args ...any) {
	if c.terminal {
		c.redraw("")
	}
	fmt.Fprintf(c.stderr, format+"\n", visibleArgs(args)...)
}

func visibleArgs(args []any) []any {
	for i, arg := range args {
		if v := reflect.ValueOf(arg); v.Kind() == reflect.String {
			args[i] = visible(v.String())
		}
	}
	return args
}

// json writes a JSON document as a result.
func (c *console) json(raw json.RawMessage) { fmt.Fprintln(c, printableJSON(string(raw))) }

// document writes a value as a JSON document.
func (c *console) document(v any) error {
	raw, err := json.Marshal(v)
	if err == nil {
		c.json(raw)
	}
	return err
}

// table writes rows as columns two blanks apart, each cell on one line. Columns are
// as wide as a terminal shows them: East Asian letters and emoji take two columns,
// combining characters none.
func (c *console) table(rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			row[i] = oneLine(cell)
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], uniseg.StringWidth(row[i]))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell + strings.Repeat(" ", widths[i]-uniseg.StringWidth(cell)+2))
		}
		fmt.Fprintln(c, strings.TrimRight(line.String(), " "))
	}
}

// facts writes rows of a name and a value as a table, without those that have no value.
func (c *console) facts(rows [][]string) {
	c.table(slices.DeleteFunc(rows, func(row []string) bool { return row[1] == "" }))
}

// barCells is a bar's length at most: a narrow terminal needs its columns for the words.
const barCells = 24

// drawBar replaces the terminal's last line with a percentage, a bar and words. It
// leaves the last column free: a full line makes some terminals go on to the next.
func (c *console) drawBar(percent int, words string) {
	cells := min(barCells, c.width()/4)
	full := percent * cells / 100
	bar := fmt.Sprintf("%4d%% │%s%s│  ", percent, strings.Repeat("█", full), strings.Repeat("░", cells-full))
	c.redraw(clip(bar+visible(words), c.width()-1))
}

// redraw replaces the terminal's last line.
func (c *console) redraw(text string) { _, _ = io.WriteString(c.stderr, eraseLine+text) }

// eraseLine is the control sequence for it, which every terminal since the VT100 has.
const eraseLine = "\r\x1b[2K"

// report writes a failure and returns the exit code of the command that ended with it.
// A result that could not be written is a failure as well. (A reader that went away, as
// in `relay list | head -1`, ends the program with SIGPIPE.)
func (c *console) report(f *failure) int {
	if f.what != "" {
		c.notef("relay: %s", oneLine(f.what))
	}
	for _, v := range f.violations {
		c.notef("  %s", oneLine(v.Parameter+" "+v.Message))
	}
	if f.hint != "" {
		c.notef("hint:  %s", oneLine(f.hint))
	}
	for _, line := range f.followUps {
		c.notef("%s", line)
	}
	if c.writeErr != nil {
		c.notef("relay: the result could not be written: %s", c.writeErr.Error())
		return cmp.Or(f.code, codeFailed)
	}
	return f.code
}
