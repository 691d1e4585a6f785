package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
