package explore

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// buckets is S3. What it answers is storetest's: each request is done to a store
// that holds no more than what the request is about.
type buckets struct{ *universe }

// holding is a store with what a world holds of one object.
func (w *world) holding(bucket, key string) *storetest.S3 {
	fake := w.empty()
	if i, found := w.find(bucket + "/" + key); found {
		for _, o := range w.objects[i].versions {
			fake.Set(bucket, key, o)
		}
	}
	return fake
}

func (w *world) empty() *storetest.S3 {
	return &storetest.S3{Now: func() time.Time { return w.now }, Versioned: []string{inboxBucket}}
}

// request is one request to S3 about one object.
func (b buckets) request(verb, bucket, key string, kind kind, do func(fake *storetest.S3) (value any, exact string, err error)) (any, error) {
	o := op{name: verb + " " + bucket + "/" + key, touch: touch{key: "s3/" + bucket + "/" + key, kind: kind}}
	if verb == "GetObject" && strings.HasPrefix(key, "submitting/"+workflowID+"/"+b.owner+"/") {
		o.key = "" // nobody else writes it
	}
	// Ownerships are read anew before each write, others are not written on condition.
	held := bucket == stateBucket && strings.HasPrefix(key, "runs/")
	o.do = func(w *world, _ bool) answer {
		if w.refuses && bucket == outputBucket && kind == writes {
			return failed(storetest.Error(http.StatusForbidden, "AccessDenied"))
		}
		fake := w.holding(bucket, key)
		value, exact, err := do(fake)
		now, there := fake.Object(bucket, key)
		var a answer
		switch {
		case err != nil:
			a = failed(err)
		case kind == reads:
			a = answer{value: value, exact: exact, meaning: exact}
			if i, found := w.find(bucket + "/" + key); found && bucket != inboxBucket {
				a.meaning = strconv.FormatUint(w.objects[i].hash, 36)
			}
		default:
			a = answer{value: value, exact: exact}
		}
		switch {
		case err != nil || kind == reads:
		case there:
			if held {
				w.turns(key, now)
			}
			w.put(bucket, key, now)
		default:
			w.remove(bucket, key)
		}
		if held && err == nil && kind != removes {
			a.holds = version{bucket + "/" + key, now.ETag}
		}
		return a
	}
	a := b.call(o)
	return a.value, a.err
}

// fixed is a copy of what a request names: its maker may change the variable that it
// points at, while the request is yet to be done to other worlds.
func fixed(name *string) *string {
	if name == nil {
		return nil
	}
	return aws.String(*name)
}

// PutObject is S3's.
func (b buckets) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	var body []byte
	if in.Body != nil {
		var err error
		if body, err = io.ReadAll(in.Body); err != nil {
			return nil, err
		}
	}
	put := s3.PutObjectInput{
		Bucket: fixed(in.Bucket), Key: fixed(in.Key), IfMatch: fixed(in.IfMatch), IfNoneMatch: fixed(in.IfNoneMatch),
		ContentType: fixed(in.ContentType), Metadata: maps.Clone(in.Metadata),
	}
	value, err := b.request("PutObject", *put.Bucket, *put.Key, writes, func(fake *storetest.S3) (any, string, error) {
		again := put
		again.Body = bytes.NewReader(body)
		out, err := fake.PutObject(context.Background(), &again)
		if err != nil {
			return nil, "", err
		}
		return out, aws.ToString(out.ETag), nil
	})
	out, _ := value.(*s3.PutObjectOutput)
	return out, err
}

// GetObject is S3's.
func (b buckets) GetObject(_ context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	type got struct {
		s3.GetObjectOutput
		body []byte
	}
	get := &s3.GetObjectInput{Bucket: fixed(in.Bucket), Key: fixed(in.Key), IfMatch: fixed(in.IfMatch), VersionId: fixed(in.VersionId)}
	value, err := b.request("GetObject", *get.Bucket, *get.Key, reads, func(fake *storetest.S3) (any, string, error) {
		out, err := fake.GetObject(context.Background(), get)
		if err != nil {
			return nil, "", err
		}
		body, err := io.ReadAll(out.Body)
		return got{*out, body}, aws.ToString(out.ETag) + aws.ToString(out.VersionId), err
	})
	if err != nil {
		return nil, err
	}
	g := value.(got)
	g.Body = io.NopCloser(bytes.NewReader(g.body)) // each who reads it anew reads it from its beginning
	return &g.GetObjectOutput, nil
}

// HeadObject is S3's.
func (b buckets) HeadObject(_ context.Context, in *s3.HeadObjectInput, _ ...func(*s3.Options)) (*s3.HeadObjectOutput, error) {
	head := &s3.HeadObjectInput{Bucket: fixed(in.Bucket), Key: fixed(in.Key), IfMatch: fixed(in.IfMatch), VersionId: fixed(in.VersionId)}
	value, err := b.request("HeadObject", *head.Bucket, *head.Key, reads, func(fake *storetest.S3) (any, string, error) {
		out, err := fake.HeadObject(context.Background(), head)
		if err != nil {
			return nil, "", err
		}
		return out, aws.ToString(out.ETag) + aws.ToString(out.VersionId), nil
	})
	out, _ := value.(*s3.HeadObjectOutput)
	return out, err
}

// DeleteObject is S3's.
func (b buckets) DeleteObject(_ context.Context, in *s3.DeleteObjectInput, _ ...func(*s3.Options)) (*s3.DeleteObjectOutput, error) {
	remove := &s3.DeleteObjectInput{Bucket: fixed(in.Bucket), Key: fixed(in.Key)}
	_, err := b.request("DeleteObject", *remove.Bucket, *remove.Key, removes, func(fake *storetest.S3) (any, string, error) {
		_, err := fake.DeleteObject(context.Background(), remove)
		return nil, "", err
	})
	return &s3.DeleteObjectOutput{}, err
}

// ListObjectsV2 is S3's.
func (b buckets) ListObjectsV2(_ context.Context, in *s3.ListObjectsV2Input, _ ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	bucket, prefix := *in.Bucket, aws.ToString(in.Prefix)
	list := &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix, StartAfter: fixed(in.StartAfter), ContinuationToken: fixed(in.ContinuationToken)}
	o := op{name: "ListObjectsV2 " + bucket + "/" + prefix, touch: touch{key: "s3/" + bucket + "/" + prefix, prefix: true}}
	own := ""
	// A run's own doubt and markers are passed over by who asks for others'.
	if prefix == "doubt/"+workflowID+"/" || prefix == "submitting/"+workflowID+"/" {
		own = prefix + b.owner
		o.except = o.key + b.owner
	}
	o.do = func(w *world, _ bool) answer {
		fake := w.empty()
		var exact, meaning strings.Builder
		for _, key := range w.keys(bucket, prefix) {
			o, _ := w.object(bucket, key)
			fake.Set(bucket, key, o)
			line := key + ","
			if agesCount(key) {
				line = key + o.Modified.Format(time.RFC3339) + ","
			}
			exact.WriteString(line)
			if own == "" || !strings.HasPrefix(key, own) {
				meaning.WriteString(line)
			}
		}
		out, err := fake.ListObjectsV2(context.Background(), list)
		if err != nil {
			return failed(err)
		}
		return answer{value: out, exact: exact.String(), meaning: meaning.String()}
	}
	a := b.call(o)
	out, _ := a.value.(*s3.ListObjectsV2Output)
	return out, a.err
}

// ListObjectVersions is S3's.
func (b buckets) ListObjectVersions(_ context.Context, in *s3.ListObjectVersionsInput, _ ...func(*s3.Options)) (*s3.ListObjectVersionsOutput, error) {
	list := &s3.ListObjectVersionsInput{
		Bucket: fixed(in.Bucket), Prefix: fixed(in.Prefix), KeyMarker: fixed(in.KeyMarker), VersionIdMarker: fixed(in.VersionIdMarker), MaxKeys: in.MaxKeys,
	}
	value, err := b.request("ListObjectVersions", *list.Bucket, *list.Prefix, reads, func(fake *storetest.S3) (any, string, error) {
		out, err := fake.ListObjectVersions(context.Background(), list)
		if err != nil {
			return nil, "", err
		}
		text := ""
		for _, v := range out.Versions {
			text += aws.ToString(v.VersionId) + aws.ToString(v.ETag) + ","
		}
		return out, text, nil
	})
	out, _ := value.(*s3.ListObjectVersionsOutput)
	return out, err
}

// CreateMultipartUpload is S3's. Nobody else takes notice of an upload.
func (b buckets) CreateMultipartUpload(_ context.Context, in *s3.CreateMultipartUploadInput, _ ...func(*s3.Options)) (*s3.CreateMultipartUploadOutput, error) {
	a := b.call(op{name: "CreateMultipartUpload " + *in.Bucket + "/" + *in.Key, do: func(*world, bool) answer { return said(nil, "") }})
	return &s3.CreateMultipartUploadOutput{UploadId: aws.String("upload")}, a.err
}

// AbortMultipartUpload is S3's.
func (b buckets) AbortMultipartUpload(_ context.Context, in *s3.AbortMultipartUploadInput, _ ...func(*s3.Options)) (*s3.AbortMultipartUploadOutput, error) {
	a := b.call(op{name: "AbortMultipartUpload " + *in.Bucket + "/" + *in.Key, do: func(*world, bool) answer { return said(nil, "") }})
	return &s3.AbortMultipartUploadOutput{}, a.err
}
