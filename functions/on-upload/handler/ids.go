package handler

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strings"
)

const (
	maxKey    = 1024 // bytes, S3's
	maxName   = 60   // of an execution name's 80
	hashBytes = 9    // 18 hex digits: 60 + 1 + 18 are 79, and no two of 10^8 uploads of one name meet
)

// rejectedKey returns the key of an upload's rejection: rejected/jobs/a.json for
// jobs/a.json, rejected/files/w/p/a.png.json for files/w/p/a.png. A job without
// .json gets a hash, or jobs/a and jobs/a.json would overwrite each other's.
func rejectedKey(u upload) string {
	name, isJSON := strings.CutSuffix(u.key, ".json")
	isJob := strings.HasPrefix(u.key, jobsPrefix)
	if !isJob {
		name = u.key
	}
	room := maxKey - len(rejectedPrefix) - len(".json") - 1 - 2*hashBytes
	if len(name) > room || isJob && !isJSON {
		name = strings.ToValidUTF8(name[:min(room, len(name))], "") + "-" + hash(u.key)
	}
	return rejectedPrefix + name + ".json"
}

// runIDFor returns the id of the run that an upload starts: the same for every
// delivery of one event, and another for a new upload of the same bytes.
func runIDFor(u upload) string {
	base := path.Base(u.key)
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '-'
	}, strings.TrimSuffix(base, path.Ext(base)))
	name = strings.Trim(name, "-")
	name = cmp.Or(strings.Trim(name[:min(maxName, len(name))], "-"), "upload")
	// Stores that are like S3 may give no sequencer: by the key alone, its next upload
	// would be taken for this one.
	event := cmp.Or(u.sequencer, u.version+"/"+u.etag)
	return name + "-" + hash(u.bucket, u.key, event)
}

func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00"))) // no key holds a NUL
	return hex.EncodeToString(sum[:hashBytes])
}
