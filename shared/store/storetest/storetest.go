// Package storetest has S3 in memory, for the tests of code that keeps objects there:
// with conditional writes and versions as S3 has them. A test can make its calls fail,
// lose replies, and run other code in between.
//
// It imports the S3 client's types only.
package storetest

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Call is one request to S3.
type Call struct {
	Op     string // the SDK's name, such as PutObject
	Bucket string
	Key    string // of a list: the prefix
}

func (c Call) String() string { return c.Op + " " + c.Bucket + "/" + c.Key }

// Object is one object of a bucket.
type Object struct {
	Body        []byte
	ETag        string // with its quotes
	ContentType string
	Metadata    map[string]string
	Modified    time.Time // when it was last written, by the clock [S3].Now
	VersionID   string    // set by S3 in a bucket that keeps versions, else empty
	Archived    bool      // in a storage class from which it has to be restored
}

// version is one version of a key that its bucket keeps.
type version struct {
	Object
	deleteMarker bool
}

// S3 has methods of an S3 client. The zero value is ready for use. A bucket exists as
// soon as something is written to it; in one that nothing was written to, no object is
// found.
type S3 struct {
	// Around is called in place of each call; do does it, and nil for Around does every
	// call. Around may refuse a call (return an error without do), lose its reply (do,
	// then return an error), send it twice, as the SDK does after a lost reply, or run
	// other code before it.
	Around func(c Call, do func() error) error
	// PageSize is how many keys a page of a list has; 0: S3's 1,000.
	PageSize int
	// Now is the clock by which objects have a LastModified in lists; nil: they have none.
	Now func() time.Time
	// Versioned names the buckets that keep versions. Set it before anything is written.
	Versioned []string

	mu       sync.Mutex
	buckets  map[string]map[string]Object
	versions map[string]map[string][]version // by bucket and key, the oldest first
	made     int                             // how many versions there were
	calls    []Call
	aborted  []string
	uploads  int // multipart uploads that were begun
}

// Error makes the SDK's error of an answer of S3 with this HTTP status and code, such
// as 412 and PreconditionFailed.
func Error(status int, code string) error {
	return &awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status, Header: http.Header{}}},
		Err:      &smithy.GenericAPIError{Code: code, Message: code},
	}}
}

// Set puts an object at a key. Like every method that is not one of a client's, it does
// not count as a call and does not call Around.
func (s *S3) Set(bucket, key string, o Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(bucket, key, o)
}

func (s *S3) set(bucket, key string, o Object) Object {
	if s.buckets == nil {
		s.buckets = map[string]map[string]Object{}
	}
	if s.buckets[bucket] == nil {
		s.buckets[bucket] = map[string]Object{}
	}
	if o.ETag == "" {
		sum := md5.Sum(o.Body)
		o.ETag = `"` + hex.EncodeToString(sum[:]) + `"`
	}
	if o.Modified.IsZero() && s.Now != nil {
		o.Modified = s.Now()
	}
	if slices.Contains(s.Versioned, bucket) {
		o.VersionID = s.keep(bucket, key, version{Object: o})
	}
	s.buckets[bucket][key] = o
	return o
}

// keep adds a version of a key and returns its id.
func (s *S3) keep(bucket, key string, v version) string {
	if s.versions == nil {
		s.versions = map[string]map[string][]version{}
	}
	if s.versions[bucket] == nil {
		s.versions[bucket] = map[string][]version{}
	}
	s.made++
	v.VersionID = fmt.Sprintf("version-%d", s.made)
	s.versions[bucket][key] = append(s.versions[bucket][key], v)
	return v.VersionID
}

// remove deletes an object; in a bucket that keeps versions a delete marker hides them.
func (s *S3) remove(bucket, key string) {
	if slices.Contains(s.Versioned, bucket) {
		s.keep(bucket, key, version{deleteMarker: true})
	}
	delete(s.buckets[bucket], key)
}

// RemoveVersion deletes one version for good, as its expiry does. If it is the newest,
// the object is gone. It does not count as a call.
func (s *S3) RemoveVersion(bucket, key, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.versions[bucket][key] = slices.DeleteFunc(s.versions[bucket][key], func(v version) bool { return v.VersionID == id })
	if s.buckets[bucket][key].VersionID == id {
		delete(s.buckets[bucket], key)
	}
}

// Object returns the object at a key; false if there is none. It does not count as a
// call.
func (s *S3) Object(bucket, key string) (Object, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.buckets[bucket][key]
	return o, ok
}

// Remove deletes the object at a key. It does not count as a call.
func (s *S3) Remove(bucket, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(bucket, key)
}

// Keys returns the keys in a bucket that begin with a prefix, sorted. It does not count
// as a call.
func (s *S3) Keys(bucket, prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return under(s.buckets[bucket], prefix)
}

// under returns the keys that begin with a prefix, sorted.
func under[V any](bucket map[string]V, prefix string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(bucket)), func(key string) bool { return !strings.HasPrefix(key, prefix) })
}

// Calls returns the calls of these operations, such as PutObject, that were done, in
// their order; without an operation it returns all. A call that Around refused is not
// among them.
func (s *S3) Calls(ops ...string) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.calls), func(c Call) bool { return len(ops) > 0 && !slices.Contains(ops, c.Op) })
}

// Aborted returns the ids of the multipart uploads that were aborted, in order.
func (s *S3) Aborted() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.aborted)
}
