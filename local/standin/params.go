package main

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"sort"
	"strings"
)

// check names every fault of the given parameters and fills in the defaults.
func (w *workflow) check(given map[string]any, files func(key string) *upload) (map[string]any, []paramFault) {
	var faults []paramFault
	filled := map[string]any{}
	known := map[string]bool{}
	for _, p := range w.Parameters {
		known[p.Key] = true
		value, ok := given[p.Key]
		switch {
		case ok && value != nil:
			if message := p.check(value, files); message != "" {
				faults = append(faults, paramFault{p.Key, message})
			}
			filled[p.Key] = value
		case p.Required:
			faults = append(faults, paramFault{p.Key, "is required"})
		case p.Default != nil:
			filled[p.Key] = p.Default
		}
	}
	for key := range given {
		if !known[key] {
			faults = append(faults, paramFault{key, "is not a parameter of " + w.Slug})
		}
	}
	sort.Slice(faults, func(i, j int) bool { return faults[i].Parameter < faults[j].Parameter })
	return filled, faults
}

func (p parameter) check(value any, files func(key string) *upload) string {
	switch p.Type {
	case "string":
		if text, ok := value.(string); !ok || p.Required && text == "" {
			return "must be a string that is not empty"
		}
	case "boolean":
		if _, ok := value.(bool); !ok {
			return "must be true or false"
		}
	case "select":
		if text, ok := value.(string); !ok || !slices.Contains(p.Options, text) {
			return "must be one of " + strings.Join(p.Options, ", ")
		}
	case "number", "integer":
		return p.checkNumber(value)
	case "file":
		return p.checkFile(value, files)
	}
	return "" // other types are let through
}

func (p parameter) checkNumber(value any) string {
	number, ok := value.(json.Number)
	if !ok {
		return "must be a number"
	}
	// Past these lengths a number is no setting, and 1e999999999 would be expanded digit by digit.
	f, err := number.Float64()
	if err != nil || len(number) > 32 {
		return "is out of any range"
	}
	exact, ok := new(big.Rat).SetString(number.String())
	if p.Whole && (!ok || !exact.IsInt()) {
		return "must be a whole number"
	}
	if p.Min != nil && f < *p.Min {
		return fmt.Sprintf("must be at least %g", *p.Min)
	}
	if p.Max != nil && f > *p.Max {
		return fmt.Sprintf("must be at most %g", *p.Max)
	}
	return ""
}

func (p parameter) checkFile(value any, files func(key string) *upload) string {
	key, ok := value.(string)
	if !ok {
		return "must be the file_key of an uploaded file"
	}
	file := files(key)
	if file == nil {
		return "names no uploaded file"
	}
	if len(p.Accept) > 0 && !slices.ContainsFunc(p.Accept, file.is) {
		return fmt.Sprintf("takes %s, not %s (%s)", strings.Join(p.Accept, ", "), file.Name, file.ContentType)
	}
	return ""
}

// number and word read filled parameters, whose defaults are Go's own numbers.
func number(params map[string]any, key string) float64 {
	switch v := params[key].(type) {
	case json.Number:
		f, _ := v.Float64() // checked before the task was made
		return f
	case float64:
		return v
	case int:
		return float64(v)
	}
	return 0
}

func word(params map[string]any, key string) string {
	v, _ := params[key].(string)
	return v
}
