package handler

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// TestKeysRawAndEncoded: whichever EventBridge sends, the object is found, as one
// and the same upload; a classic key is always encoded.
func TestKeysRawAndEncoded(t *testing.T) {
	for _, name := range []string{
		"my photo+1 ä.png", "a+b.png", "100%.png", "100%25.png", "%2B+.png", "a&b=c?d#e.png", "café.png", "cafe\u0301.png", "山.png", " x .png", "line\nend.png", "plain.png",
		"a//b/./c", "..", strings.Repeat("n", 900) + ".png",
	} {
		for _, keeps := range []bool{true, false} {
			key := "files/upscale/image/" + name
			ids := map[string]bool{}
			for kind, e := range map[string]notification{
				"raw": {key: key}, "encoded": {key: strings.ReplaceAll(url.QueryEscape(key), "%2F", "/")},
				"encoded with %20": {key: strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(key), "%2F", "/"), "+", "%20")},
				"classic":          {key: strings.ReplaceAll(url.QueryEscape(key), "%2F", "/"), classic: true, reason: "Put"},
			} {
				w := newWorld()
				if keeps {
					w = versioned()
				}
				o := w.set(key, object{body: "photo"})
				e.version, e.etag, e.sequencer = o.VersionID, etagOf(o), "A"
				out := w.handle(t, e)
				if len(out.Started) != 1 || w.request(t).Parameters["image"] != "s3://inbox/"+key {
					t.Fatalf("%s, %s (%q): %+v, %v\n%s", name, kind, e.key, out, w.started, w.log.String())
				}
				ids[out.Started[0]] = true
			}
			if len(ids) != 1 {
				t.Errorf("%s: the run ids are %v", name, ids)
			}
		}
	}
}

// TestDecodedKeyNeedsItsETag: another object at the decoded key is not the upload.
func TestDecodedKeyNeedsItsETag(t *testing.T) {
	for name, e := range map[string]notification{
		"another ETag":                           {key: "files/upscale/image/a+b.png", etag: "of a+b.png"},
		"no ETag":                                {key: "files/upscale/image/a+b.png"},
		"another ETag, a classic key's raw form": {key: "files/upscale/image/a%2Bb.png", classic: true, reason: "Put", etag: "of a+b.png"},
	} {
		w := newWorld()
		w.set("files/upscale/image/a b.png", object{body: "another photo"})
		e.sequencer = "A"
		if out := w.handle(t, e); out.Ignored != 1 || len(w.started) > 0 {
			t.Errorf("%s: %+v, %v", name, out, w.started)
		}
	}
	// The raw key wins where both are there.
	w := newWorld()
	w.set("files/upscale/image/a b.png", object{body: "photo"})
	o := w.set("files/upscale/image/a+b.png", object{body: "photo"})
	w.handle(t, notification{key: "files/upscale/image/a+b.png", etag: etagOf(o), sequencer: "A"})
	if r := w.request(t); r.Parameters["image"] != "s3://inbox/files/upscale/image/a+b.png" {
		t.Errorf("%+v", r)
	}
	// What lies at the raw key is another upload, so the decoded one is meant.
	w = newWorld()
	w.set("files/upscale/image/a+b.png", object{body: "another photo"})
	o = w.set("files/upscale/image/a b.png", object{body: "photo"})
	w.handle(t, notification{key: "files/upscale/image/a+b.png", etag: etagOf(o), sequencer: "A"})
	if r := w.request(t); r.Parameters["image"] != "s3://inbox/files/upscale/image/a b.png" {
		t.Errorf("%+v", r)
	}
	// S3 away at the second look is no answer.
	w = newWorld()
	w.away["files/upscale/image/a b.png"] = answered(http.StatusServiceUnavailable)
	if _, err := w.Handle(t.Context(), notification{key: "files/upscale/image/a+b.png", etag: "e", sequencer: "A"}.input()); !named.Is(err, named.Unavailable) {
		t.Errorf("%v", err)
	}
}

// TestKeysThatAreNoText end in the dead-letter queue: no S3 key is like that.
func TestKeysThatAreNoText(t *testing.T) {
	w := newWorld()
	out, err := w.Handle(t.Context(), notification{classic: true, key: "jobs/caf%E9.json", reason: "Put", etag: "e", sequencer: "A"}.input())
	if !named.Is(err, named.InvalidRequest) || len(out.Started)+out.Ignored > 0 {
		t.Errorf("%+v, %v", out, err)
	}
}
