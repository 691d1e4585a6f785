package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// call is one line of calls.jsonl. local/stack/record.go says what it holds.
type call struct {
	Function string
	Service  string
	Method   string
	Path     string
	Query    []string
	Target   string
	Names    map[string]string
	IfMatch  bool `json:"if_match"`
	Status   int
}

// stack is one stack.json and the calls beside it.
type stack struct {
	Template   template
	Parameters map[string]string
	Resources  map[string]string
	Region     string
	StackName  string `json:"stack_name"`

	calls []call
}

// template is what is read of a processed template.
type template struct {
	Conditions map[string]any
	Resources  map[string]resource
}

type resource struct {
	Type       string
	Condition  string
	Properties map[string]any
}

// load reads every stack below a folder.
func load(folder string) ([]stack, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*", "stack.json"))
	if err != nil {
		return nil, err
	}
	var stacks []stack
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var s stack
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if s.calls, err = loadCalls(filepath.Join(filepath.Dir(file), "calls.jsonl")); err != nil {
			return nil, err
		}
		stacks = append(stacks, s)
	}
	return stacks, nil
}

func loadCalls(path string) ([]call, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var calls []call
	decoder := json.NewDecoder(bufio.NewReader(file))
	for {
		var c call
		switch err := decoder.Decode(&c); {
		case errors.Is(err, io.EOF):
			return calls, nil
		case err != nil:
			return nil, fmt.Errorf("%s, call %d: %w", path, len(calls)+1, err)
		}
		calls = append(calls, c)
	}
}
