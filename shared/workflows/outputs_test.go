package workflows

import (
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/google/go-cmp/cmp"
)

func TestRemoteOutputs(t *testing.T) {
	type urls = map[string]cyberun.SignedURL
	const (
		a  = "https://bucket.s3.amazonaws.com/out/a.png?X-Amz-Signature=1"
		a2 = "https://bucket.s3.amazonaws.com/out/a.png?X-Amz-Signature=2"
		a3 = "https://bucket.s3.amazonaws.com/out/%61.png?X-Amz-Signature=3"
		b  = "https://bucket.s3.amazonaws.com/out/b.png?X-Amz-Signature=1"
		c  = "https://other.s3.amazonaws.com/out/a.png?X-Amz-Signature=1"
	)
	tests := []struct {
		name string
		lone cyberun.SignedURL
		many urls
		want []RemoteOutput
	}{
		{"nothing", "", nil, nil},
		{"an empty map", "", urls{}, nil},
		{"a lone one", a, nil, []RemoteOutput{{"output", a}}},
		{"a map, by id", "", urls{"9.images.1": b, "9.images.0": a}, []RemoteOutput{{"9.images.0", a}, {"9.images.1", b}}},
		{"both, and the same file", a2, urls{"x": a, "y": b}, []RemoteOutput{{"x", a}, {"y", b}}},
		{"both, and the same file under another escape", a3, urls{"x": a}, []RemoteOutput{{"x", a}}},
		{"both, and another file", b, urls{"x": a}, []RemoteOutput{{"x", a}, {"output", b}}},
		{"both, and the same path on another host", c, urls{"x": a}, []RemoteOutput{{"x", a}, {"output", c}}},
		{"both, and the lone one's id is taken", b, urls{"output": a, "output_": c}, []RemoteOutput{{"output", a}, {"output_", c}, {"output__", b}}},
		{"an address that is none stays: leaving it out would lose a file", "::", urls{"x": a}, []RemoteOutput{{"x", a}, {"output", "::"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := RemoteOutputs(cyberun.Result{DownloadURL: test.lone, DownloadURLs: test.many})
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("outputs (-want +got):\n%s", diff)
			}
		})
	}
}
