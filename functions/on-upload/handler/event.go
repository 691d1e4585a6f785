package handler

import (
	"cmp"
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

// created reports whether the event is about an upload. A bucket whose events were set
// up by hand may report removals, tags and restores as well, which start no run.
func (u upload) created() bool {
	return u.event == "" || u.event == "Object Created" || strings.HasPrefix(strings.TrimPrefix(u.event, "s3:"), "ObjectCreated:")
}

// event is an event in either of S3's shapes: EventBridge's, with one object, or
// the classic notification's, with several and with URL-encoded keys.
type event struct {
	DetailType string `json:"detail-type"`
	Detail     *struct {
		reported
		Reason string `json:"reason"`
	} `json:"detail"`
	Records []struct {
		EventName string   `json:"eventName"`
		S3        reported `json:"s3"`
	} `json:"Records"`
	Event string `json:"Event"` // "s3:TestEvent", when a notification is set up
}

// reported is what an event says of one object, in either shape. The shapes write the
// ETag in different cases, which encoding/json does not mind, and name the version's id
// differently.
type reported struct {
	Bucket struct {
		Name string `json:"name"`
	} `json:"bucket"`
	Object struct {
		Key              string `json:"key"`
		Size             *int64 `json:"size"`
		ETag             string `json:"etag"`
		VersionID        string `json:"version-id"`
		ClassicVersionID string `json:"versionId"`
		Sequencer        string `json:"sequencer"`
	} `json:"object"`
}

func (r reported) upload(event string, copied bool) upload {
	o := r.Object
	u := upload{
		bucket: r.Bucket.Name, key: o.Key, version: cmp.Or(o.VersionID, o.ClassicVersionID), etag: strings.Trim(o.ETag, `"`),
		sequencer: o.Sequencer, size: o.Size, event: event, copied: copied,
	}
	if u.version == "null" { // of an object in a bucket that kept no versions: it can be written over
		u.version = ""
	}
	return u
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
		found = append(found, u)
	}
	switch {
	case e.Event == "s3:TestEvent":
	case e.Detail != nil:
		u := e.Detail.upload(e.DetailType, e.Detail.Reason == "CopyObject")
		u.encoded = true
		add(u)
	case len(e.Records) > 0:
		for _, r := range e.Records {
			u := r.S3.upload(r.EventName, strings.HasSuffix(r.EventName, "ObjectCreated:Copy"))
			if u.created() {
				key, err := url.QueryUnescape(u.key) // blanks come as plus signs
				if err != nil {
					bad = append(bad, named.Errorf(named.InvalidRequest, "the event's key %q is not URL-encoded: %w", u.key, err))
					continue
				}
				u.key = key
			}
			add(u)
		}
	default:
		bad = append(bad, named.Errorf(named.InvalidRequest, "the event reports no upload"))
	}
	return found, errors.Join(bad...)
}

func (u upload) String() string { return "s3://" + u.bucket + "/" + u.key }
