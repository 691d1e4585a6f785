package handler

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/eventstest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
	"github.com/google/go-cmp/cmp"
)

// The objects that the samples tell of.
const (
	sampleInbox   = "cyberun-relay-inboxbucket-example"
	sampleETag    = `"b1946ac92492d2347c6235b4d2611184"`
	samplePhoto   = "files/upscale/image/my photo+1 ä.png"
	sampleVersion = "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e"
	sampleLarge   = "KM2hT9fXAz0Q1Vd.lVd8bq3t7oJrs5Wc"
)

// sampled is a world with what the samples tell of; storetest gives versions ids of
// its own, which stand in for the samples'.
func sampled(raw []byte) (*world, Input) {
	w := newWorld()
	w.s3.Versioned = []string{sampleInbox}
	put := func(key string, o storetest.Object) string {
		w.s3.Set(sampleInbox, key, o)
		stored, _ := w.s3.Object(sampleInbox, key)
		return stored.VersionID
	}
	put("jobs/sunset.json", storetest.Object{Body: []byte(job)})
	put(samplePhoto, storetest.Object{Body: []byte("the photo before it")})
	photo := put(samplePhoto, storetest.Object{Body: []byte("photo"), ETag: sampleETag})
	large := put("files/upscale/image/large.png", storetest.Object{Body: []byte("large"), ETag: `"6e5a5ae1d2b0f4a4d2a1c8b3a6b6d1f0-2"`})
	raw = []byte(strings.NewReplacer(sampleVersion, photo, sampleLarge, large).Replace(string(raw)))
	return w, Input{raw}
}

func TestSamples(t *testing.T) {
	photo := func(pin run.InputVersion) []run.Request {
		return []run.Request{{
			Workflow: "upscale", Parameters: map[string]any{"image": "s3://" + sampleInbox + "/" + samplePhoto}, ParametersAsText: true,
			InputVersions: map[string]run.InputVersion{"image": pin},
		}}
	}
	asked := []run.Request{{Workflow: "text-to-image", Parameters: map[string]any{"prompt": "a fir", "seed": json.Number("9007199254740993")}}}
	pinned := photo(run.InputVersion{VersionID: "version-3"})
	byETag := photo(run.InputVersion{ETag: strings.Trim(sampleETag, `"`)})
	large := photo(run.InputVersion{VersionID: "version-4"})
	large[0].Parameters = map[string]any{"image": "s3://" + sampleInbox + "/files/upscale/image/large.png"}
	want := map[string][]run.Request{
		"on-upload-job.json": asked, "on-upload-file.json": byETag, "on-upload-classic.json": append(asked, byETag...), "on-upload-test-event.json": nil,
		"on-upload-version.json": pinned, "on-upload-encoded.json": pinned, "on-upload-classic-version.json": pinned,
		"on-upload-multipart.json": large, "on-upload-copy.json": pinned, "on-upload-empty.json": nil,
	}
	eventstest.Each(t, "on-upload*.json", want, func(t *testing.T, want []run.Request, raw []byte) {
		w, in := sampled(raw)
		out, err := w.Handle(t.Context(), in)
		if err != nil || len(out.Started) != len(want) || len(out.Rejected) > 0 {
			t.Fatalf("%+v, %v\n%s", out, err, w.log.String())
		}
		for i, id := range out.Started {
			got, violations := run.ParseRequest([]byte(w.started[id]))
			got.MaxSeconds, got.Destination, got.Hash = 0, run.Destination{}, "" // the defaults, and what follows from the rest
			if diff := cmp.Diff(want[i], got); diff != "" || len(violations) > 0 {
				t.Errorf("%v\n%s", violations, diff)
			}
		}
		if len(want) == 0 && !strings.Contains(w.log.String(), "msg=ignored") {
			t.Errorf("logged %s", w.log.String())
		}
	})
}
