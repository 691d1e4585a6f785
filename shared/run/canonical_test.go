package run

import (
	"bytes"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
)

func TestCanonical(t *testing.T) {
	tests := []struct{ name, raw, want string }{
		{"order and blanks", "{ \"b\": 1,\n \"a\": [ 1, {\"d\":null, \"c\":true} ] }", `{"a":[1,{"c":true,"d":null}],"b":1}`},
		{"the order of an array counts", `[2,1]`, `[2,1]`},
		{"escapes", `"\u0061\/\u00e4<&>"`, `"a/ä<&>"`},
		{"a whole number", `30`, `30`},
		{"a whole number with a point", `30.0`, `30`},
		{"a whole number with an exponent", `3e1`, `30`},
		{"a whole number with both", `0.30E+02`, `30`},
		{"zero", `0`, `0`}, {"minus zero", `-0`, `0`}, {"minus zero with a point", `-0.00`, `0`}, {"zero with an exponent", `0e7`, `0`},
		{"zero with an exponent beyond numbers", `0e99999999999999999999`, `0`},
		{"a fraction", `7.50`, `7.5`}, {"a small fraction", `0.0000010`, `0.000001`}, {"a smaller one", `0.0000001`, `1e-7`},
		{"a fraction with an exponent", `-750e-2`, `-7.5`},
		{"2^53", `9007199254740992`, `9007199254740992`},
		{"2^53 with a point", `9007199254740992.0`, `9007199254740992`},
		{"2^53+1", `9007199254740993`, `9007199254740993`},
		{"2^53+1 with a point", `9007199254740993.0`, `9007199254740993`},
		{"2^63+1", `9223372036854775809`, `9223372036854775809`},
		{"-2^63-1", `-9223372036854775809`, `-9223372036854775809`},
		{"2^64-1", `18446744073709551615`, `18446744073709551615`},
		{"2^128-1", `340282366920938463463374607431768211455`, `340282366920938463463374607431768211455`},
		{"1e16 and its digits", `[1e16,10000000000000000]`, `[10000000000000000,10000000000000000]`},
		{"more digits than a float has", `0.1000000000000000055511151231257827`, `0.1000000000000000055511151231257827`},
		{"beyond a float", `[1e400,10E+399,0.1e401]`, `[1e400,1e400,1e400]`},
		{"wider than any whole number", `[1e40,10e39]`, `[1e40,1e40]`},
		{"near nothing", `[1e-400,0.1e-399]`, `[1e-400,1e-400]`},
		{"an exponent that no machine holds", `1e99999999999999999999`, `1e99999999999999999999`},
		{"a byte order mark", "\xef\xbb\xbf{\"a\": 1}", `{"a":1}`},
		{"a whole surrogate pair", `"\ud83d\ude00"`, `"😀"`},
		{"the replacement character itself", `"\ufffd"`, "\"\ufffd\""},
		{"a number that is text", `"30.0"`, `"30.0"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Canonical([]byte(test.raw))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != test.want {
				t.Errorf("%s became %s, want %s", test.raw, got, test.want)
			}
		})
	}
}

func TestCanonicalRefuses(t *testing.T) {
	for _, raw := range []string{"", " ", "{", `{"a":1}{}`, `{"a":1} x`, "\"\xff\"", "01", "1.", "+1", "NaN", `{'a':1}`, `{"a":1,"a":2}`, `"\ud800"`, "\x1f\x8b\x08"} {
		if got, err := Canonical([]byte(raw)); err == nil {
			t.Errorf("%q became %s", raw, got)
		}
	}
}

// Seeds that a float64 cannot tell apart are two requests under one
// Idempotency-Key, not one.
func TestCanonicalKeepsDifferentNumbersApart(t *testing.T) {
	seen := map[string]string{}
	for _, n := range []string{"9007199254740992", "9007199254740993", "9007199254740993.5", "0.1", "0.10000000000000001", "18446744073709551615", "18446744073709551616", "1e400", "1e401", "-1", "1"} {
		got, err := Canonical([]byte(n))
		if err != nil {
			t.Fatal(err)
		}
		if other, there := seen[string(got)]; there {
			t.Errorf("%s and %s are both %s", n, other, got)
		}
		seen[string(got)] = n
	}
}

// FuzzCanonical: a canonical form is its own, and has the same value.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{`{"b":1,"a":[30.0,3e1,-0,1e400]}`, `"\ud800"`, `"\u2028"`, `9223372036854775809`, `1e-400`, `0e10000`, `0.1e-6`, `[]`, `{}`, `{"":{"":0}}`, "\xef\xbb\xbf1", `12345678901234567890123456789012345678901234567890`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		once, err := Canonical(raw)
		if err != nil {
			return
		}
		if !json.Valid(once) {
			t.Fatalf("%q became %q, which is not JSON", raw, once)
		}
		twice, err := Canonical(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q became %q, and that %q (%v)", raw, once, twice, err)
		}
		before, violations := DecodeJSON("", raw)
		if len(violations) > 0 {
			t.Fatal(violations)
		}
		after, violations := DecodeJSON("", once)
		if len(violations) > 0 {
			t.Fatal(violations)
		}
		if !equalValue(before, after) {
			t.Fatalf("%q became %q, another value", raw, once)
		}
	})
}

// FuzzCanonicalNumbers: two numbers have one form if, and only if, they are equal.
func FuzzCanonicalNumbers(f *testing.F) {
	f.Add("30", "3e1")
	f.Add("30.0", "0.3E+2")
	f.Add("9007199254740993", "9007199254740992")
	f.Add("-0.0", "0e5")
	f.Add("1e-7", "0.0000001")
	f.Add("10000000000000000000000000000000000000000", "1e40")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, okX := rational(a)
		y, okY := rational(b)
		if !okX || !okY {
			return
		}
		ca, errA := Canonical([]byte(a))
		cb, errB := Canonical([]byte(b))
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if (x.Cmp(y) == 0) != bytes.Equal(ca, cb) {
			t.Fatalf("%s is %s, %s is %s", a, ca, b, cb)
		}
	})
}

func equalValue(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for key := range a {
			if _, there := b[key]; !there || !equalValue(a[key], b[key]) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !equalValue(a[i], b[i]) {
				return false
			}
		}
		return true
	case json.Number:
		b, ok := b.(json.Number)
		if !ok {
			return false
		}
		x, okX := rational(a.String())
		y, okY := rational(b.String())
		return !okX || !okY || x.Cmp(y) == 0
	}
	return a == b
}

// rational reads a JSON number exactly; false for what is none, and for
// exponents that would fill the memory.
func rational(s string) (*big.Rat, bool) {
	if !json.Valid([]byte(s)) || s == "" || !strings.ContainsRune("-0123456789", rune(s[0])) {
		return nil, false
	}
	if _, exponent, found := strings.Cut(strings.ToLower(s), "e"); found && len(strings.TrimLeft(exponent, "+-0")) > 3 {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}
