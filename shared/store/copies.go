package store

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"crypto/sha256"
)

// copyPrefix holds what is known of each output's copy, as long as its run is
// open: copies/{run_id}/{hash of the output's id}.json.
const copyPrefix = "copies/"

func copyKey(runID, outputID string) string {
	sum := sha256.Sum256([]byte(outputID)) // the id is the remote's word, and no key
	return copyPrefix + runID + "/" + hex.EncodeToString(sum[:16]) + ".json"
}

// PutCopy keeps how far the copy of an output has come.
func (s *Store) PutCopy(ctx context.Context, runID, outputID string, state any) error {
	body, err := marshal(state)
	if err != nil {
		return err
	}
	return s.write(ctx, copyKey(runID, outputID), body, condition{})
}

// Copy reads it into state; false: that copy has not begun.
func (s *Store) Copy(ctx context.Context, runID, outputID string, state any) (bool, error) {
	body, _, err := s.read(ctx, copyKey(runID, outputID))
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(body, state); err != nil {
		return false, fmt.Errorf("copy state of %s: %w", runID, err)
	}
	return true, nil
}

// Copies reads the raw state of every copy of a run, for its close.
func (s *Store) Copies(ctx context.Context, runID string, each func(state []byte) error) error {
	keys, err := s.copyKeys(ctx, runID)
	if err != nil {
		return err
	}
	for _, key := range keys {
		body, _, err := s.read(ctx, key)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if err := each(body); err != nil {
			return err
		}
	}
	return nil
}

// ClearCopies forgets them, once the manifest says the same and more.
func (s *Store) ClearCopies(ctx context.Context, runID string) error {
	keys, err := s.copyKeys(ctx, runID)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := s.delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) copyKeys(ctx context.Context, runID string) ([]string, error) {
	var keys []string
	err := s.list(ctx, copyPrefix+runID+"/", "", func(key string) bool {
		keys = append(keys, key)
		return true
	})
	return keys, err
}
