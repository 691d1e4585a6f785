package main

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode"
)

// What --json prints is the same value, and nothing in it moves a terminal's cursor.
func TestPrintableJSON(t *testing.T) {
	for _, value := range []string{
		"plain", "ä snowman ☃ and 🎨", "DEL \x7f", "CSI \u009b2J", "OSC \u009d0;title\u009c", "bidi \u202egnp.exe", "line \u2028 separator", "a tag \U000E0041",
	} {
		document := string(mustMarshal(t, map[string]string{"name": value}))
		got := printable("  " + document + "\n")
		if strings.ContainsFunc(strings.TrimSpace(got), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q is printed as %q", value, got)
		}
		var back map[string]string
		if err := json.Unmarshal([]byte(got), &back); err != nil || !reflect.DeepEqual(back, map[string]string{"name": value}) {
			t.Errorf("%q came back as %q, %v", value, back["name"], err)
		}
	}
}

func mustMarshal(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestAskToken(t *testing.T) {
	tests := []struct {
		name, entered, want string
		fails               bool
	}{
		{"a code", "123456\n", "123456", false},
		{"without a line end, as from a pipe", "123456", "123456", false},
		{"with blanks", " 123456 \r\n", "123456", false},
		{"an empty line", "\n", "", true},
		{"nothing", "", "", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var asked strings.Builder
			got, err := askToken(strings.NewReader(test.entered), &asked)
			if got != test.want || (err != nil) != test.fails || asked.String() == "" {
				t.Errorf("got %q, %v, asked %q", got, err, asked.String())
			}
		})
	}
}
