package lifecycle

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"

	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
)

// The keys of the state bucket. The package comment says what stands under each.
const (
	indexPrefix    = "index/"
	manifestPrefix = "manifests/"
	copyPrefix     = "copies/"
	sweepKey       = "sweep/state.json"
)

func recordKey(runID string) string { return "runs/" + runID + ".json" }

func indexKey(r run.Record) string { return indexPrefix + CursorOf(r) }

// CursorOf returns the cursor of a run in the index, for [Runs.EachNewestFirst]. Two
// callers may see start times of a run that differ by milliseconds, and write two
// entries; skip the entry whose cursor is not that of the record.
func CursorOf(r run.Record) string { return store.DescendingKey(r.StartedAt) + "-" + r.RunID }

func ownershipKey(taskID string) string { return "tasks/" + taskID }

func progressKey(runID string) string { return "progress/" + runID + ".json" }

func wakeKey(runID string) string { return "wake/" + runID + ".json" }

// The ids of workflows are as Cyberun sends them: with a '/' in one, no list of the
// workflow's markers would find the marker.
func markersIn(workflowID string) string { return "submitting/" + url.PathEscape(workflowID) + "/" }

func markersOf(workflowID, runID string) string { return markersIn(workflowID) + runID + "/" }

func doubtsIn(workflowID string) string { return "doubt/" + url.PathEscape(workflowID) + "/" }

// manifestBodyKey is the key of the bytes of one delivery's manifest. Each call that delivers
// has a key of its own, and the record names the one that counts: neither of two calls
// can change the bytes of the other.
func manifestBodyKey(runID, id string) string { return manifestPrefix + runID + "/" + id + ".json" }

func copyKey(runID, outputID string) string {
	sum := sha256.Sum256([]byte(outputID)) // the id is as Cyberun sends it, and may not fit a key
	return copyPrefix + runID + "/" + hex.EncodeToString(sum[:16]) + ".json"
}
