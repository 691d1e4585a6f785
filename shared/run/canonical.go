package run

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
)

// Canonical writes a JSON document in the one form of its value: keys sorted,
// no blanks, numbers that are equal written alike. Two requests are the same
// when their canonical forms are.
func Canonical(raw []byte) ([]byte, error) {
	v, err := decodeJSON(raw)
	if err != nil {
		return nil, err
	}
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
		for key, value := range v {
			v[key] = canonicalNumbers(value)
		}
	case []any:
		for i, value := range v {
			v[i] = canonicalNumbers(value)
		}
	case json.Number:
		return canonicalNumber(v)
	}
	return v
}

// maxExact is 2^53: up to there a float64 holds every whole number.
const maxExact = 1 << 53

func canonicalNumber(n json.Number) json.Number {
	if i, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
		return json.Number(strconv.FormatInt(i, 10)) // -0 and 0 are one value
	}
	f, err := strconv.ParseFloat(n.String(), 64)
	if err != nil {
		return n
	}
	if f == math.Trunc(f) && math.Abs(f) < maxExact {
		return json.Number(strconv.FormatInt(int64(f), 10))
	}
	if isInteger(n.String()) {
		return n // beyond int64: its digits are its value
	}
	return json.Number(strconv.FormatFloat(f, 'g', -1, 64))
}

func isInteger(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
