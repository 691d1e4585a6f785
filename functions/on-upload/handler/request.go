package handler

import (
	"context"
	"encoding/json"
	"maps"
	"mime"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// jobRequest reads the request that a job file is, as it was when the event was sent.
func (h *Handler) jobRequest(ctx context.Context, u upload, head *s3.HeadObjectOutput) ([]byte, error) {
	if !strings.EqualFold(path.Ext(u.key), ".json") {
		return nil, rejected("a job is a file jobs/NAME.json; for an input file use files/{workflow}/{parameter}/{file}")
	}
	in := &s3.GetObjectInput{Bucket: &u.bucket, Key: &u.key, IfMatch: head.ETag}
	if u.version != "" {
		in.VersionId = &u.version
	}
	var raw []byte
	object, err := h.Inbox.GetObject(ctx, in)
	if err == nil {
		defer object.Body.Close()
		raw, err = run.ReadText(object.Body)
	}
	switch {
	case missing(err):
		return nil, skipWithWarning("it was taken away or replaced while it was read")
	case err != nil:
		return nil, named.Errorf(named.Unavailable, "S3 could not read %s: %w", u, err)
	}
	return raw, nil
}

// fileRequest makes the request for files/{workflow}/{parameter}/{file}, pinned to
// what was uploaded. The other parameters come from the object's metadata, as
// text: Submit converts them to the types that the workflow declares.
func fileRequest(u upload, head *s3.HeadObjectOutput) ([]byte, error) {
	parts := strings.SplitN(strings.TrimPrefix(u.key, filesPrefix), "/", 3)
	if len(parts) < 3 || slices.Contains(parts, "") {
		return nil, rejected("an input file lies at files/{workflow}/{parameter}/{file}")
	}
	var violations named.Violations
	if u.size != nil && *u.size > run.MaxInputFile {
		violations.Add("key", "is a file of %d bytes; Cyberun takes at most %d", *u.size, run.MaxInputFile)
	}
	parameters := map[string]any{}
	given := parametersOf(head)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		switch value := decodeMetadata(given[name]); {
		case !utf8.ValidString(name) || !utf8.ValidString(value):
			violations.Add("x-amz-meta-"+paramMetadata+strings.ToValidUTF8(name, "?"), "is not UTF-8")
		case name == strings.ToLower(parts[1]):
			violations.Add("x-amz-meta-"+paramMetadata+name, "names the parameter that the file itself is, by its key: which value is meant?")
		default:
			parameters[name] = value
		}
	}
	if err := violations.Err(); err != nil {
		return nil, err
	}
	parameters[parts[1]] = u.String()
	pin := run.InputVersion{VersionID: u.version}
	if u.version == "" {
		pin.ETag = strings.Trim(aws.ToString(head.ETag), `"`)
	}
	return json.Marshal(run.Request{
		Workflow: parts[0], Parameters: parameters, ParametersAsText: true, InputVersions: map[string]run.InputVersion{parts[1]: pin},
	})
}

// parametersOf returns the parameters in an object's metadata, by name in lower
// case, with values as S3 returns them.
func parametersOf(head *s3.HeadObjectOutput) map[string]string {
	parameters := map[string]string{}
	for name, value := range head.Metadata {
		if key, ok := strings.CutPrefix(strings.ToLower(name), paramMetadata); ok && key != "" {
			parameters[key] = value
		}
	}
	return parameters
}

// decodeMetadata returns a metadata value as it was uploaded: S3 returns what is not
// ASCII encoded by RFC 2047, and a prompt must not reach a model as =?UTF-8?Q?…?=.
func decodeMetadata(value string) string {
	decoded, err := new(mime.WordDecoder).DecodeHeader(value)
	// Bytes that US-ASCII does not have would come back as U+FFFD. S3 itself writes UTF-8.
	if err != nil || strings.Contains(strings.ToLower(value), "=?us-ascii?") && strings.ContainsRune(decoded, utf8.RuneError) {
		return value
	}
	return decoded
}

// rejected returns the InvalidRequest of an object whose key or state is wrong.
func rejected(why string) error { return named.Violations{{Parameter: "key", Message: why}}.Err() }
