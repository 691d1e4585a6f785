package main

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
)

func TestTextForPeople(t *testing.T) {
	for got, want := range map[string]string{
		formatBytes(0): "0 B", formatBytes(1023): "1023 B", formatBytes(1024): "1.0 KiB", formatBytes(1536): "1.5 KiB", formatBytes(5 << 30): "5.0 GiB",
		formatDuration(-1):                  "0:00",
		formatDuration(41 * time.Second):    "0:41",
		formatDuration(725 * time.Second):   "12:05",
		formatDuration(11525 * time.Second): "3:12:05",
		clip("lighthouse", 10):              "lighthouse",
		clip("lighthouse", 5):               "ligh…",
		clip("文字を絵に", 10):                   "文字を絵に",
		clip("文字を絵に", 6):                    "文字…",
		clip("e\u0301e\u0301e\u0301", 2):    "e\u0301…",
		clip("👩\u200d🚀👩\u200d🚀", 3):         "👩\u200d🚀…",
		clip("lighthouse", -3):              "",
		oneLine("a\n\tb\x1b[31m"):           `a b\x1b[31m`,
		oneLine("👩\u200d🚀 e\u0301"):         "👩\u200d🚀 e\u0301",
		oneLine("\u202egnp\u00a0x\xff"):     `\u202egnp x�`,
		visible("a\nb  c"):                  "a b  c",
		shellWord("out/a-1.png"):            "out/a-1.png",
		shellWord("my pictures"):            "'my pictures'",
		shellWord("it's; rm"):               `'it'\''s; rm'`,
		shellWord(""):                       "''",
		plural(1, "fault"):                  "1 fault",
		plural(2, "fault"):                  "2 faults",
		formatTime(time.Time{}):             "",
		formatTime(noon.Add(-time.Hour)):    "2026-11-23 11:00:00 UTC",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What --json prints is the same value, and nothing in it moves a terminal's cursor.
func TestPrintableJSON(t *testing.T) {
	for _, value := range []string{
		"plain", "ä snowman ☃ and 🎨", "DEL \x7f", "CSI \u009b2J", "OSC \u009d0;title\u009c", "bidi \u202egnp.exe", "line \u2028 separator", "a tag \U000E0041",
	} {
		document, err := json.Marshal(map[string]string{"name": value})
		if err != nil {
			t.Fatal(err)
		}
		got := printableJSON("  " + string(document) + "\n")
		if strings.ContainsFunc(strings.TrimSpace(got), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q is printed as %q", value, got)
		}
		var back map[string]string
		if err := json.Unmarshal([]byte(got), &back); err != nil || !reflect.DeepEqual(back, map[string]string{"name": value}) {
			t.Errorf("%q came back as %q, %v", value, back["name"], err)
		}
	}
}
