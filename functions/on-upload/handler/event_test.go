package handler

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestOtherEvents of a classic notification start nothing, and are told.
func TestOtherEvents(t *testing.T) {
	tests := map[string]bool{
		"ObjectCreated:Put": true, "s3:ObjectCreated:CompleteMultipartUpload": true, "": true,
		"ObjectRemoved:Delete": false, "s3:ObjectTagging:Put": false, "ObjectRestore:Completed": false, "LifecycleTransition": false, "ObjectCreated": false,
	}
	for event, starts := range tests {
		w := newWorld()
		w.set("jobs/x.json", object{body: job, etag: "e1"})
		raw := strings.Replace(classic("jobs/x.json"), "{", `{"eventName":"`+event+`",`, 1)
		out, err := w.Handle(t.Context(), Input{json.RawMessage(`{"Records":[` + raw + `]}`)})
		if err != nil || (len(out.Started) == 1) != starts || (out.Ignored == 1) == starts || len(w.rejected(t)) > 0 {
			t.Errorf("%q: %+v, %v", event, out, err)
		}
		if told := strings.Contains(w.log.String(), "ignored"); told == starts {
			t.Errorf("%q: logged %s", event, w.log.String())
		}
	}
	// Its key is nobody's business.
	out, err := newWorld().Handle(t.Context(), Input{json.RawMessage(`{"Records":[{"eventName":"ObjectRemoved:Delete","s3":{"object":{"key":"%"}}}]}`)})
	if err != nil || out.Ignored != 1 {
		t.Errorf("%+v, %v", out, err)
	}
}
