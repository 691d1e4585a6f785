package explore

import (
	"encoding/json"
	"fmt"
	"slices"

	upload "github.com/cyberun-cloud/cyberun-relay/functions/on-upload/handler"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// photoKey is where the uploads of the scenarios lie, one over the other.
const photoKey = "files/" + workflowRef + "/" + image + "/photo.png"

// photo is an upload: its bytes, the event that S3 tells of it, and the run that is
// to follow.
type photo struct {
	bytes string
	event upload.Input
	run   string
}

// upload is the n-th upload to the key, counted from 1. It does not lie there yet.
func (s *scene) upload(bytes string, n int) photo {
	p := photo{bytes: bytes}
	scratch := s.world.clone()
	for i := 1; i < n; i++ {
		scratch.set(inboxBucket, photoKey, storetest.Object{Body: []byte(fmt.Sprint(i))})
	}
	p.arrive(scratch)
	o, _ := scratch.object(inboxBucket, photoKey)
	event := fmt.Sprintf(`{"detail-type":"Object Created","detail":{"bucket":{"name":%q},"object":{"key":%q,"etag":%q,"version-id":"version-%d","sequencer":"%d"}}}`,
		inboxBucket, photoKey, o.ETag, n, n)
	if err := json.Unmarshal([]byte(event), &p.event); err != nil {
		panic(err)
	}
	started := alone(scratch, "").uploaded(p.event)
	if len(started) != 1 {
		panic(fmt.Sprintf("the upload %d starts %v", n, started))
	}
	p.run = started[0]
	return p
}

func (p photo) arrive(w *world) {
	w.set(inboxBucket, photoKey, storetest.Object{Body: []byte(p.bytes), ContentType: "image/png"})
}

// arrives lets an upload lie there from the beginning.
func (s *scene) arrives(p photo) { p.arrive(s.world) }

// told is S3's event of an upload.
func (s *scene) told(p photo) *actor {
	return s.add(fmt.Sprintf("event:%d", len(s.actors)), p.run, func(u *universe) { u.uploaded(p.event) })
}

// uploader uploads: whether it gets to know of that makes no difference.
func (s *scene) uploader(p photo) *actor {
	return s.add("uploader", p.run, func(u *universe) {
		u.call(op{name: "PUT " + photoKey, touch: touch{key: "s3/" + inboxBucket + "/" + photoKey, kind: writes}, do: func(w *world, _ bool) answer {
			p.arrive(w)
			return answer{}
		}})
	}).spared()
}

// there reports whether an upload has come.
func (p photo) there(w *world) bool {
	i, found := w.find(inboxBucket + "/" + photoKey)
	return found && slices.ContainsFunc(w.objects[i].versions, func(o storetest.Object) bool { return string(o.Body) == p.bytes })
}

// eachUploadIsARun: each upload has become one run, which was given its own bytes.
func eachUploadIsARun(j *judge) {
	uploads := 0
	for _, o := range j.objects {
		if o.place == inboxBucket+"/"+photoKey {
			uploads = len(o.versions)
		}
	}
	if len(j.execs) != uploads {
		j.note("%d uploads have started the runs %v", uploads, j.ids())
	}
	of := map[string]string{} // what was given to Cyberun, by run
	for _, t := range j.tasks {
		if t.input == "" {
			j.note("%s was given no file", t.owner)
		}
		for id, given := range of {
			if given == t.input && id != t.owner {
				j.note("%s and %s were both given %q", id, t.owner, given)
			}
		}
		of[t.owner] = t.input
	}
}
