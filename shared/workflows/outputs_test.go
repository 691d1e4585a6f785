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
		{"both on one path, told apart by the query", "https://h.test/view?filename=b.png", urls{"x": "https://h.test/view?filename=a.png"}, []RemoteOutput{{"x", "https://h.test/view?filename=a.png"}, {"output", "https://h.test/view?filename=b.png"}}},
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

// TestSameFile: only what belongs to a signature is left out of the comparison.
func TestSameFile(t *testing.T) {
	tests := []struct {
		name string
		a, b cyberun.SignedURL
		want bool
	}{
		{"the same", "https://h/a", "https://h/a", true},
		{"the host in capitals", "https://H/a", "https://h/a", true},
		{"S3's signature", "https://h/a?X-Amz-Algorithm=A&X-Amz-Credential=1&X-Amz-Date=1&X-Amz-Expires=1&X-Amz-SignedHeaders=host&X-Amz-Security-Token=1&X-Amz-Signature=1&x-id=GetObject", "https://h/a?X-Amz-Signature=2", true},
		{"S3's old signature", "https://h/a?AWSAccessKeyId=K&Expires=1&Signature=1", "https://h/a?AWSAccessKeyId=K&Expires=2&Signature=2", true},
		{"CloudFront's", "https://h/a?Expires=1&Policy=1&Signature=1&Key-Pair-Id=K", "https://h/a?Expires=2&Policy=2&Signature=2&Key-Pair-Id=K", true},
		{"Azure's", "https://h/a?sv=1&se=1&sp=r&sr=b&sig=1", "https://h/a?sv=2&se=2&sp=r&sr=b&sig=2", true},
		{"Google's", "https://h/a?X-Goog-Signature=1&X-Goog-Date=1", "https://h/a?X-Goog-Signature=2&X-Goog-Date=2", true},
		{"S3's answer headers", "https://h/a?response-content-disposition=x&X-Amz-Signature=1", "https://h/a?X-Amz-Signature=2", true},
		{"the order", "https://h/a?x=1&y=2&X-Amz-Signature=1", "https://h/a?y=2&X-Amz-Signature=2&x=1", true},
		{"the name in the query", "https://h/view?filename=a.png&type=output", "https://h/view?filename=b.png&type=output", false},
		{"the name in the query, signed", "https://h/view?filename=a.png&X-Amz-Signature=1", "https://h/view?filename=b.png&X-Amz-Signature=2", false},
		{"one has a query", "https://h/view", "https://h/view?filename=b.png", false},
		{"a version", "https://h/a?versionId=1&X-Amz-Signature=1", "https://h/a?versionId=2&X-Amz-Signature=1", false},
		{"a token that may name it", "https://h/get?token=1", "https://h/get?token=2", false},
		{"a short name without a signature", "https://h/get?sp=1", "https://h/get?sp=2", false},
		{"an answer header without a signature", "https://h/get?response-content-type=a/b", "https://h/get?response-content-type=a/c", false},
		{"twice the parameter", "https://h/get?id=1&id=2", "https://h/get?id=1", false},
		{"a query that cannot be parsed", "https://h/get?a=%zz", "https://h/get?a=%yy", false},
		{"the same that cannot be parsed", "https://h/get?a=%zz", "https://h/get?a=%zz", true},
		{"another path", "https://h/a", "https://h/b", false},
		{"an escaped slash", "https://h/a%2Fb.png", "https://h/a/b.png", false},
		{"a raw blank", "https://h/a b.png", "https://h/a%20b.png", true},
		{"another user", "https://a@h/a", "https://b@h/a", false},
	}
	for _, test := range tests {
		if got := sameFile(test.a, test.b); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
		if got := sameFile(test.b, test.a); got != test.want {
			t.Errorf("%s, the other way: %t", test.name, got)
		}
	}
}
