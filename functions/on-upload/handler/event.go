package handler

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// upload is one object that an event reports as written.
type upload struct {
	bucket    string
	key       string
	version   string // the id of the version that was written; empty where none are kept
	etag      string // without quotes
	sequencer string
	event     string // what happened: a classic notification's eventName, EventBridge's detail-type
	size      *int64 // in bytes; nil if the event does not say

	// copied says that S3 made the object from another one, or from itself.
	copied bool
	// encoded says that the key may be URL-encoded as well as raw: AWS does not
	// document which of the two EventBridge gets. A classic key is decoded already.
	encoded bool
}

// created reports whether the event is about an upload. A bucket whose events
// were set up by hand may report removals, tags and restores as well, which start
// no run.
func (u upload) created() bool {
	return u.event == "" || u.event == "Object Created" || strings.HasPrefix(strings.TrimPrefix(u.event, "s3:"), "ObjectCreated:")
}

// event is an event in either of S3's shapes: EventBridge's, with one object, or
// the classic notification's, with several and with URL-encoded keys.
type event struct {
	DetailType string `json:"detail-type"`
	Detail     *struct {
		Bucket struct {
			Name string `json:"name"`
		} `json:"bucket"`
		Object struct {
			Key       string `json:"key"`
			Size      *int64 `json:"size"`
			ETag      string `json:"etag"`
			VersionID string `json:"version-id"`
			Sequencer string `json:"sequencer"`
		} `json:"object"`
		Reason string `json:"reason"`
	} `json:"detail"`
	Records []record `json:"Records"`
	Event   string   `json:"Event"` // "s3:TestEvent", when a notification is set up
}

type record struct {
	EventName string `json:"eventName"`
	S3        struct {
		Bucket struct {
			Name string `json:"name"`
		} `json:"bucket"`
		Object struct {
			Key       string `json:"key"`
			Size      *int64 `json:"size"`
			ETag      string `json:"eTag"`
			VersionID string `json:"versionId"`
			Sequencer string `json:"sequencer"`
		} `json:"object"`
	} `json:"s3"`
}

// uploads returns the objects that an event reports. Its error, beside those that
// could be read, is of a kind that no retry mends: the event goes to the
// dead-letter queue after its other objects have become runs.
func uploads(raw json.RawMessage) ([]upload, error) {
	var e event
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, named.Errorf(named.InvalidRequest, "the event is neither EventBridge's nor a classic S3 notification: %w", err)
	}
	var found []upload
	var bad []error
	add := func(u upload) {
		switch {
		case !u.created(): // passed over with a line in the log, whatever else it says
		case u.bucket == "" || u.key == "":
			bad = append(bad, named.Errorf(named.InvalidRequest, "an object of the event has no bucket or no key"))
			return
		case !utf8.ValidString(u.key):
			bad = append(bad, named.Errorf(named.InvalidRequest, "the event's key %q is not UTF-8", u.key))
			return
		}
		if u.version == unversioned {
			u.version = ""
		}
		u.etag = strings.Trim(u.etag, `"`)
		found = append(found, u)
	}
	switch {
	case e.Event == "s3:TestEvent":
	case e.Detail != nil:
		o := e.Detail.Object
		add(upload{
			bucket: e.Detail.Bucket.Name, key: o.Key, version: o.VersionID, etag: o.ETag, sequencer: o.Sequencer, size: o.Size,
			event: e.DetailType, copied: e.Detail.Reason == "CopyObject", encoded: strings.ContainsAny(o.Key, "%+"),
		})
	case len(e.Records) > 0:
		for _, r := range e.Records {
			o := r.S3.Object
			u := upload{
				bucket: r.S3.Bucket.Name, key: o.Key, version: o.VersionID, etag: o.ETag, sequencer: o.Sequencer, size: o.Size,
				event: r.EventName, copied: strings.HasSuffix(r.EventName, "ObjectCreated:Copy"),
			}
			if u.created() {
				var err error
				if u.key, err = url.QueryUnescape(o.Key); err != nil { // blanks come as plus signs
					bad = append(bad, named.Errorf(named.InvalidRequest, "the event's key %q is not URL-encoded: %w", o.Key, err))
					continue
				}
			}
			add(u)
		}
	default:
		bad = append(bad, named.Errorf(named.InvalidRequest, "the event reports no upload"))
	}
	return found, errors.Join(bad...)
}

// unversioned is the version id of an object that was written while its bucket
// kept no versions. It can be written over, so it names nothing for long.
const unversioned = "null"

func (u upload) String() string { return "s3://" + u.bucket + "/" + u.key }
