package explore

import (
	"encoding/binary"
	"encoding/json"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

var seed = maphash.MakeSeed()

func mix(h uint64, parts ...string) uint64 {
	var m maphash.Hash
	m.SetSeed(seed)
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], h)
	_, _ = m.Write(b[:])
	for _, p := range parts {
		_ = m.WriteByte(0)
		_, _ = m.WriteString(p)
	}
	return m.Sum64()
}

// meanings remembers what documents mean, by key, ETag, and age where that counts.
var meanings sync.Map

// agesCount reports whether somebody looks at when an object was written.
func agesCount(key string) bool {
	return strings.HasPrefix(key, "doubt/") || strings.HasPrefix(key, "submitting/")
}

// meaning is a hash of what an object can make a difference by: not its write id,
// nor moments of which no code asks more than whether they have come. Where the
// age of an object is looked at, that belongs to it.
func meaning(key string, o storetest.Object) uint64 {
	at := ""
	if agesCount(key) {
		at = o.Modified.Format(time.RFC3339)
	}
	name := key + o.ETag + at
	if h, ok := meanings.Load(name); ok {
		return h.(uint64)
	}
	body := o.Body
	var document map[string]any
	if strings.HasSuffix(key, ".json") && json.Unmarshal(o.Body, &document) == nil {
		forgetMoments(document)
		body, _ = json.Marshal(document)
	}
	h := mix(0, key, string(body), at)
	meanings.Store(name, h)
	return h
}

// moments are the fields that code asks of whether they are there, and no more
// within the hours that a scenario takes.
var moments = []string{
	"stop_requested_at", "ended_at", "accepted_at", "copy_started_at", "candidates_at", "completed_at", "asked_at", "decided_at", "updated_at",
}

func forgetMoments(document map[string]any) {
	delete(document, "write_id")
	for _, name := range moments {
		if document[name] != nil {
			document[name] = true
		}
	}
	for _, v := range document {
		if inner, ok := v.(map[string]any); ok {
			forgetMoments(inner)
		}
	}
}

// hash tells states apart: what the buckets, Cyberun and Step Functions hold, the
// clock, the faults left, and of each actor that is not done where in the code it is,
// what it was answered, and whether the objects that it knows are still the same.
func (now *state) hash() uint64 {
	w := now.world
	b := make([]byte, 0, 1024)
	b = binary.LittleEndian.AppendUint64(b, w.sum)
	for _, t := range w.tasks {
		b = append(append(b, t.id...), w.status(t)...)
		b = append(b, t.input...)
		b = binary.LittleEndian.AppendUint64(b, uint64(t.created.Unix()))
	}
	for _, f := range w.files {
		b = append(append(b, f.key...), f.content...)
	}
	for i := range w.execs {
		x := &w.execs[i]
		b = append(append(append(append(b, x.id...), x.at...), x.error.Name...), byte(x.redrives))
		b = append(b, x.state...)
		if x.before != nil {
			b = append(append(b, x.before.Status...), byte(x.before.Redrives))
		}
		if slices.Contains(w.told, x.id) {
			b = append(b, 1)
		}
	}
	for _, id := range w.receipts {
		b = append(b, id...)
	}
	for _, e := range w.events {
		b = append(append(append(b, e.id...), e.error...), byte(e.redrives))
		if e.handled {
			b = append(b, 1)
		}
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(w.now.UnixMilli()))
	b = append(b, byte(w.faults), byte(len(w.tokens)), byte(len(w.wrong)))
	var tokens uint64
	for _, token := range w.tokens {
		tokens ^= maphash.String(seed, token)
	}
	b = binary.LittleEndian.AppendUint64(b, tokens)
	for _, m := range now.actors {
		b = append(b, 0)
		switch {
		case m == nil:
			continue
		case m.done:
			b = append(b, 1)
			continue
		}
		b = binary.LittleEndian.AppendUint64(b, m.hash)
		for _, v := range m.holds {
			i, found := w.find(v.place)
			if found && w.objects[i].versions[len(w.objects[i].versions)-1].ETag == v.etag {
				b = append(b, 3)
			} else {
				b = append(b, 4)
			}
		}
	}
	return maphash.Bytes(seed, b)
}
