package workflows

import (
	"maps"
	"net/url"
	"slices"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// RemoteOutput is one file that a task left, where it still is.
type RemoteOutput struct {
	ID  string
	URL cyberun.SignedURL
}

// RemoteOutputs are the files behind a result, sorted by id. The lone
// download_url is one of them only if the map has not the same file: the
// signatures of two URLs differ, their paths do not.
func RemoteOutputs(r cyberun.Result) []RemoteOutput {
	var outputs []RemoteOutput
	same := false
	for _, id := range slices.Sorted(maps.Keys(r.DownloadURLs)) {
		outputs = append(outputs, RemoteOutput{ID: id, URL: r.DownloadURLs[id]})
		same = same || sameFile(r.DownloadURLs[id], r.DownloadURL)
	}
	if r.DownloadURL != "" && !same {
		outputs = append(outputs, RemoteOutput{ID: loneID(r), URL: r.DownloadURL})
	}
	return outputs
}

// loneID avoids the id of an output in the map.
func loneID(r cyberun.Result) string {
	id := run.LoneOutputID
	for {
		if _, taken := r.DownloadURLs[id]; !taken {
			return id
		}
		id += "_"
	}
}

func sameFile(a, b cyberun.SignedURL) bool {
	x, errX := url.Parse(string(a))
	y, errY := url.Parse(string(b))
	return errX == nil && errY == nil && x.Host == y.Host && x.Path == y.Path
}
