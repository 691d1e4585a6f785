package main

import (
	"testing"
	"time"
)

func TestTextForPeople(t *testing.T) {
	for got, want := range map[string]string{
		size(0): "0 B", size(1023): "1023 B", size(1024): "1.0 KiB", size(1536): "1.5 KiB", size(5 << 30): "5.0 GiB",
		clock(-1):                    "0:00",
		clock(41 * time.Second):      "0:41",
		clock(725 * time.Second):     "12:05",
		clock(11525 * time.Second):   "3:12:05",
		clip("lighthouse", 10):       "lighthouse",
		clip("lighthouse", 5):        "ligh…",
		clip("lighthouse", -3):       "",
		oneLine("a\n\tb\x1b[31m"):    "a b�[31m",
		shellWord("out/a-1.png"):     "out/a-1.png",
		shellWord("my pictures"):     "'my pictures'",
		shellWord("it's; rm"):        `'it'\''s; rm'`,
		shellWord(""):                "''",
		count(1, "fault"):            "1 fault",
		count(2, "fault"):            "2 faults",
		moment(time.Time{}):          "",
		moment(noon.Add(-time.Hour)): "2026-11-23 11:00:00 UTC",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
