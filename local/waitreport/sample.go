package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
)

// How a run waits for its task.
const (
	howLoop     = "3 s loop"
	howPolled   = "polled"
	howHeld     = "held"
	howWebhooks = "webhooks"
)

// Sample is one run, as it happened.
type Sample struct {
	How         string  `json:"how"`
	Task        float64 `json:"task"`  // seconds that the task took, at scale 1
	Scale       float64 `json:"scale"` // so many times faster did it run
	Delay       float64 `json:"delay"` // seconds from the task's end to the end of the step that writes the manifest
	Transitions int     `json:"transitions"`
	Events      int     `json:"events"` // as AWS writes them
	Polls       int     `json:"polls"`  // looks by the state PollStatus
	Parks       int     `json:"parks"`  // looks by the state AwaitWebhook
	Lead        float64 `json:"lead"`   // seconds from the task's start to the first poll
	Calls       []Call  `json:"calls"`
}

// Call is one invocation of a function.
type Call struct {
	Function string  `json:"function"`
	Seconds  float64 `json:"seconds"`
	MemoryMB int     `json:"memory_mb"`
}

func readSamples(file string) ([]Sample, error) {
	if file == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []Sample
	return list, json.Unmarshal(raw, &list)
}

func writeSamples(file string, list []Sample) error {
	if file == "" {
		return nil
	}
	raw, err := json.MarshalIndent(list, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(raw, '\n'), 0o644)
}
