package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/rivo/uniseg"
)

// isVisible reports whether a terminal shows a character, alone or, as the joiners
// within an emoji or a word, as a part of its neighbours. Control characters, escape
// and those that turn the direction of writing are not.
func isVisible(r rune) bool {
	const zeroWidthNonJoiner, zeroWidthJoiner = '\u200c', '\u200d'
	return unicode.IsPrint(r) || r == zeroWidthNonJoiner || r == zeroWidthJoiner
}

// visible returns text on one line whose invisible characters are written as escapes
// (\x1b): a workflow's name must not be able to rewrite the screen.
func visible(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case unicode.IsSpace(r):
			b.WriteByte(' ')
		case isVisible(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}

// oneLine returns visible text with one blank between words and none at its ends.
func oneLine(s string) string { return visible(strings.Join(strings.Fields(s), " ")) }

// printableJSON escapes the unprintable characters in the strings of a JSON document,
// which stays the same value: encoding/json leaves those above U+007E as they are, and
// some of them a terminal obeys.
func printableJSON(document string) string {
	var b strings.Builder
	for _, r := range document {
		if unicode.IsPrint(r) || unicode.IsSpace(r) && r <= ' ' {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, "\\u%04x", unit)
		}
	}
	return b.String()
}

// clip shortens text to a number of a terminal's columns, between whole characters.
func clip(s string, columns int) string {
	if uniseg.StringWidth(s) <= columns {
		return s
	}
	end, left := 0, columns-1 // for the ellipsis
	for g := uniseg.NewGraphemes(s); g.Next() && g.Width() <= left; left -= g.Width() {
		_, end = g.Positions()
	}
	if end == 0 {
		return ""
	}
	return s[:end] + "…"
}

// shellWord quotes what a shell would not take as one plain word.
func shellWord(s string) string {
	special := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_./@:+=,", r)
	}
	if s != "" && !strings.ContainsFunc(s, special) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// expandHome replaces a leading ~/ with the home directory: a shell leaves it as it
// is inside a word, as in image=@~/photo.png and --out=~/pictures.
func expandHome(name string) string {
	if rest, ok := strings.CutPrefix(name, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return name
}

// formatBytes writes a number of bytes as 1023 B, 1.5 KiB, 5.0 GiB.
func formatBytes(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, i := float64(n)/unit, 0
	for value >= unit && i < len("KMGTPE")-1 {
		value /= unit
		i++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTPE"[i])
}

// formatDuration writes a duration as 0:41, 12:05, 3:12:05; one below zero as 0:00.
func formatDuration(d time.Duration) string {
	s := int(max(d, 0).Seconds())
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// formatTime writes a time in UTC, as records and manifests have it, and no time as "".
func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// withPrefix puts a prefix before text, unless there is no text.
func withPrefix(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// plural writes a number with the noun it counts: 1 fault, 2 faults.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
