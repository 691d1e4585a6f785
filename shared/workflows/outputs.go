package workflows

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// RemoteOutput is one file of a task, as Cyberun hands it out.
type RemoteOutput struct {
	ID  string // as in download_urls, or [run.LoneOutputID]
	URL cyberun.SignedURL
}

// RemoteOutputs returns the files of a result, sorted by id: those of download_urls,
// and that of download_url unless download_urls has the same file. Two addresses are of
// the same file only if they differ in nothing but their signatures: to store a file
// twice costs little, to leave one out loses it.
func RemoteOutputs(r cyberun.Result) []RemoteOutput {
	var outputs []RemoteOutput
	for _, id := range slices.Sorted(maps.Keys(r.DownloadURLs)) {
		outputs = append(outputs, RemoteOutput{ID: id, URL: r.DownloadURLs[id]})
	}
	isLone := func(o RemoteOutput) bool { return sameFile(o.URL, r.DownloadURL) }
	if r.DownloadURL != "" && !slices.ContainsFunc(outputs, isLone) {
		outputs = append(outputs, RemoteOutput{ID: loneID(r), URL: r.DownloadURL})
	}
	return outputs
}

// loneID returns an id for the lone output that no output in the map has.
func loneID(r cyberun.Result) string {
	for id := run.LoneOutputID; ; id += "_" {
		if _, taken := r.DownloadURLs[id]; !taken {
			return id
		}
	}
}

func sameFile(a, b cyberun.SignedURL) bool {
	x, errX := url.Parse(string(a))
	y, errY := url.Parse(string(b))
	return errX == nil && errY == nil && strings.EqualFold(x.Host, y.Host) && x.User.String() == y.User.String() &&
		samePath(x, y) && unsignedQuery(x) == unsignedQuery(y)
}

// samePath compares decoded paths, element by element: the one element a%2Fb is not
// the two of a/b.
func samePath(a, b *url.URL) bool {
	return a.Path == b.Path && slices.EqualFunc(strings.Split(a.EscapedPath(), "/"), strings.Split(b.EscapedPath(), "/"), func(x, y string) bool {
		x, _ = url.PathUnescape(x)
		y, _ = url.PathUnescape(y)
		return x == y
	})
}

// unsignedQuery is an address's query without the parameters that belong to its
// signature, in one order. What cannot be parsed is compared as it is.
func unsignedQuery(u *url.URL) string {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return u.RawQuery
	}
	has := map[string]bool{}
	for name := range query {
		has[strings.ToLower(name)] = true
	}
	maps.DeleteFunc(query, func(name string, _ []string) bool { return ofSignature(strings.ToLower(name), has) })
	return query.Encode()
}

// ofSignature reports whether a parameter belongs to a signature: those of S3 and
// the stores that copy it, of CloudFront, Google and Azure. Short and common names
// do only beside the parameter that makes the query a signed one: a "policy" or an
// "se" may be all in which two addresses of two files differ. A token counts as part of the
// address, since some services have no other name for a file.
func ofSignature(name string, has map[string]bool) bool {
	prefixes := []string{"x-amz-", "x-goog-", "x-oss-", "x-cos-", "x-tos-"}
	if slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
		return true
	}
	switch name {
	case "signature", "sig", "expires", "awsaccesskeyid", "googleaccessid", "ossaccesskeyid", "key-pair-id":
		return true
	case "policy":
		return has["signature"] && has["key-pair-id"]
	case "se", "sp", "sv", "sr", "st", "spr", "sip", "ss", "srt", "ske", "skt", "sks", "skv", "skoid", "sktid", "saoid", "suoid", "scid", "sdd", "ses":
		return has["sig"]
	case "x-id", "response-content-disposition", "response-content-type", "response-cache-control", "response-expires":
		return has["x-amz-signature"] || has["signature"] && has["awsaccesskeyid"] // S3's own: they change headers, not the object
	}
	return false
}
