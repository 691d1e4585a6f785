package handler

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// upload is one object that an event tells of.
type upload struct {
	bucket    string
	key       string
	etag      string // without quotes
	sequencer string
	event     string // a classic notification's eventName
}

// created: a bucket that is wired by hand may tell of removals, tags and restores as
// well, and of those no run was meant to start. EventBridge's rule lets none through.
func (u upload) created() bool {
	return u.event == "" || strings.HasPrefix(strings.TrimPrefix(u.event, "s3:"), "ObjectCreated:")
}

// event is both shapes that S3 tells of uploads in: EventBridge's, with one
// object, and the classic notification's, with several and with encoded keys.
type event struct {
	Detail *struct {
		Bucket struct {
			Name string `json:"name"`
		} `json:"bucket"`
		Object struct {
			Key       string `json:"key"`
			ETag      string `json:"etag"`
			Sequencer string `json:"sequencer"`
		} `json:"object"`
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
			ETag      string `json:"eTag"`
			Sequencer string `json:"sequencer"`
		} `json:"object"`
	} `json:"s3"`
}

// uploads reads either shape. What it cannot read is an error that no retry
// mends: it goes to the dead-letter queue, after the event's other objects have
// become runs.
func uploads(raw json.RawMessage) ([]upload, error) {
	var e event
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, named.Errorf(named.InvalidRequest, "the event is neither EventBridge's nor a classic S3 notification: %w", err)
	}
	var found []upload
	var bad []error
	add := func(u upload) {
		if u.bucket == "" || u.key == "" {
			bad = append(bad, named.Errorf(named.InvalidRequest, "an object of the event has no bucket or no key"))
			return
		}
		found = append(found, u)
	}
	switch {
	case e.Event == "s3:TestEvent":
	case e.Detail != nil:
		add(upload{bucket: e.Detail.Bucket.Name, key: e.Detail.Object.Key, etag: e.Detail.Object.ETag, sequencer: e.Detail.Object.Sequencer})
	case len(e.Records) > 0:
		for _, r := range e.Records {
			u := upload{r.S3.Bucket.Name, r.S3.Object.Key, r.S3.Object.ETag, r.S3.Object.Sequencer, r.EventName}
			if !u.created() {
				found = append(found, u) // told, and passed over, whatever else it says
				continue
			}
			var err error
			u.key, err = url.QueryUnescape(r.S3.Object.Key) // blanks come as plus signs
			if err != nil {
				bad = append(bad, named.Errorf(named.InvalidRequest, "the event's key %q is not URL-encoded: %w", r.S3.Object.Key, err))
				continue
			}
			add(u)
		}
	default:
		bad = append(bad, named.Errorf(named.InvalidRequest, "the event tells of no upload"))
	}
	return found, errors.Join(bad...)
}

func (u upload) String() string { return fmt.Sprintf("s3://%s/%s", u.bucket, u.key) }
