package run

import (
	"bytes"
	"cmp"
	"encoding/json"
	"strconv"
	"strings"
)

// Canonical returns a JSON document in its canonical form: keys sorted, no blanks,
// equal numbers written alike. Two requests are the same if their canonical forms are.
// Its error is an InvalidRequest with the violations of [DecodeJSON].
func Canonical(raw []byte) ([]byte, error) {
	v, violations := DecodeJSON("JSON", raw)
	if err := violations.Err(); err != nil {
		return nil, err
	}
	return canonicalForm(v)
}

// canonicalForm returns the canonical form of a decoded value, which it does not
// change.
func canonicalForm(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(canonicalNumbers(v)); err != nil {
		return nil, err
	}
	return bytes.TrimRight(out.Bytes(), "\n"), nil
}

func canonicalNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		written := make(map[string]any, len(v))
		for key, value := range v {
			written[key] = canonicalNumbers(value)
		}
		return written
	case []any:
		written := make([]any, len(v))
		for i, value := range v {
			written[i] = canonicalNumbers(value)
		}
		return written
	case json.Number:
		return canonicalNumber(v)
	}
	return v
}

// plainDigits is how many digits a number may have and still be written without
// an exponent: 2^128 has 39, and no remote's whole numbers are wider.
const plainDigits = 39

// plainZeros is how many may follow the point: as many as Go and JavaScript write.
const plainZeros = 6

// canonicalNumber writes a number by its decimal digits alone. Through a float64
// two seeds that differ in their last digit would be one number.
func canonicalNumber(n json.Number) json.Number {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(n.String()), "e")
	mantissa, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return "0" // -0 and 0e9 too
	}
	power, err := strconv.ParseInt(cmp.Or(exponent, "0"), 10, 32)
	if err != nil {
		return n // no number that anyone can use: it stands as it is
	}
	point := len(digits) - len(fraction) + int(power) // where it stands among the digits
	digits = strings.TrimRight(digits, "0")
	sign := ""
	if negative {
		sign = "-"
	}
	return json.Number(sign + decimal(digits, point))
}

func decimal(digits string, point int) string {
	switch {
	case len(digits) <= point && point <= plainDigits:
		return digits + strings.Repeat("0", point-len(digits))
	case 0 < point && point < len(digits):
		return digits[:point] + "." + digits[point:]
	case -plainZeros < point && point <= 0:
		return "0." + strings.Repeat("0", -point) + digits
	}
	if len(digits) > 1 {
		digits = digits[:1] + "." + digits[1:]
	}
	return digits + "e" + strconv.Itoa(point-1)
}
