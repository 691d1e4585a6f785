package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// wakePrefix holds the task token of each run that is parked: {run_id}.json.
const wakePrefix = "wake/"

type parked struct {
	Token string `json:"token"`
}

// PutToken keeps what wakes a parked run; a later one replaces it.
func (s *Store) PutToken(ctx context.Context, runID, token string) error {
	body, err := marshal(parked{Token: token})
	if err != nil {
		return err
	}
	return s.write(ctx, wakePrefix+runID+".json", body, condition{})
}

// Token is the last one kept; empty: the run was never parked.
func (s *Store) Token(ctx context.Context, runID string) (string, error) {
	body, _, err := s.read(ctx, wakePrefix+runID+".json")
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var p parked
	if err := json.Unmarshal(body, &p); err != nil {
		return "", fmt.Errorf("token of %s: %w", runID, err)
	}
	return p.Token, nil
}

// Hook says that a webhook came.
type Hook struct {
	TaskID     string    `json:"task_id"`
	TaskStatus string    `json:"task_status"`
	ReceivedAt time.Time `json:"received_at"`
}

// hookPrefix keeps the last webhook of a task: {task_id}.json.
const hookPrefix = wakePrefix + "hooks/"

// PutHook keeps it; one that comes twice is kept once.
func (s *Store) PutHook(ctx context.Context, h Hook) error {
	body, err := marshal(h)
	if err != nil {
		return err
	}
	return s.write(ctx, hookPrefix+url.PathEscape(h.TaskID)+".json", body, condition{})
}
