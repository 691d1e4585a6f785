package transfer

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

const (
	// DefaultPartSize is the size of a part in bytes, for outputs of at most 10,000 such
	// parts. Larger parts were no faster when measured, and more is lost of them if the
	// process is killed. docs/copying.md and the bench's titles name the size, and
	// copy-result's stopMargin is reckoned from it.
	DefaultPartSize = 16 << 20
	// DefaultConnections is how many parts are copied at once. More were no faster when
	// measured, neither on a machine of 2 cores nor in a function of 1769 MB.
	DefaultConnections = 8
)

// tuning has what nobody but tests and measurements sets. Zero values become the
// defaults that setUp names.
type tuning struct {
	partSize       int64
	attempts       int           // of any operation, before its trouble ends the call
	maxTruncations int           // of an output at one byte, before it is taken to end there
	backoff        time.Duration // before the second attempt
	originStall    time.Duration // without a byte from the origin
	s3Stall        time.Duration // without S3 reading or answering
	streamPart     int64         // the size of a stream's parts, and of its buffers
	now            func() time.Time
}

const (
	// 8 attempts with their waits are some 6 s of trouble; after that the retry of
	// the state machine takes over.
	defaultAttempts = 8
	// An output that ends at the very same byte 20 times, over a minute, ends there.
	defaultMaxTruncations = 20
	defaultBackoff        = 200 * time.Millisecond
	defaultOriginStall    = 30 * time.Second // as headerTimeout: a connection that is silent so long is opened again
	defaultS3Stall        = 60 * time.Second // more than the origin's, for S3 answers when it has stored what it read
	// 10,000 parts of 8 MiB are 78 GiB, more than one call can stream.
	defaultStreamPart = 8 << 20
	// Four buffers fit beside the rest into the memory of the smallest function, 128 MB.
	streamBuffers = 4
)

// Copier copies outputs from their URLs into a bucket. It is ready for use once S3 and
// Origin are set. Make one for each invocation: its copies, of which several may run at
// once, share its connections and buffers. Its fields must not change after the first
// [Copier.Copy].
type Copier struct {
	S3     S3
	Origin *http.Client // see NewRestrictedClient

	// StopBefore is when no further part is started: those that are being copied end, and
	// Copy returns without Done. It should precede the context's deadline, which cuts off
	// what has not ended, by the time that a part may take. Zero: parts are started until
	// the deadline, which is an error then.
	StopBefore time.Time
	// Connections is how many parts are copied at once, over all copies of this Copier; 0:
	// DefaultConnections.
	Connections int

	tuning
	once sync.Once
	pool *pool
}

// Source is where an output is fetched from.
type Source struct {
	URL redact.SignedURL
	// Refresh returns a fresh URL of the same output. It is called when the origin refuses
	// the URL, as it does once the signature has expired. An error of Refresh ends the
	// copy. Without Refresh a refusal ends it.
	Refresh func(ctx context.Context) (redact.SignedURL, error)
}

// Target is where an output is stored.
type Target struct {
	Bucket string
	// Key returns the object's key, from the file's name and type at the origin.
	Key func(OriginFile) string
	// Metadata is stored with the object; its keys and values are ASCII. An object at the
	// key with all of it, and with the output's size, is taken for this output, and not
	// copied again. Without Metadata every call copies.
	Metadata map[string]string
}

// Result is the result of a [Copier.Copy].
type Result struct {
	// Done reports that the object is stored. Without Done and without an error time ran
	// out: call Copy again with the checkpoint that save got. Only Fetched and Stored are
	// set then.
	Done            bool
	Skipped         bool   // the object was stored already, by an earlier call or by another one at the same time
	Key             string // of the object
	Bytes           int64
	CRC32           uint32 // IEEE, of the whole object
	ETag            string // as S3 gave it
	ContentType     string // as stored
	ContentEncoding string // as stored; empty: none

	Fetched int64 // bytes that this call fetched from the origin, repeated ones included
	Stored  int64 // bytes that this call stored as whole parts, which the next call need not fetch
}

// Copy copies one output. from is the checkpoint that save got in an earlier call, or
// nil. save is called once a multipart upload has been created, before its first part,
// since only the checkpoint finds the upload again. An error of save aborts the upload
// and ends the copy. save may be nil.
//
// The error is a *named.Error, one of save or Refresh, or the context's cause; it has
// no URL in it. After OutputChanged, OutputTruncated, OutputExpired, OutputUnavailable
// and an error of save the upload has been aborted; so it has after any error of an
// output that is read in one stream. After any other error a call with the checkpoint
// resumes it. Without an error [Result].Done may be false: see there.
func (c *Copier) Copy(ctx context.Context, src Source, dst Target, from *Checkpoint, save Save) (Result, error) {
	c.once.Do(c.setUp)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	retry := retryPolicy{attempts: c.attempts, backoff: c.backoff}
	j := &outputCopy{
		pool: c.pool, partSize: c.partSize, retry: retry, key: dst.Key, save: save,
		origin: &origin{
			client: c.Origin, now: c.now, url: refreshableURL{url: src.URL, refresh: src.Refresh},
			retry: retry, stall: c.originStall, maxTruncations: c.maxTruncations,
		},
		bucket: &bucketClient{s3: c.S3, bucket: dst.Bucket, metadata: dst.Metadata, retry: retry, stall: c.s3Stall},
	}
	res, err := j.copyFrom(ctx, from)
	if err != nil {
		res, err = Result{}, c.callError(ctx, err)
	}
	res.Fetched, res.Stored = j.origin.fetched.Load(), j.stored.Load()
	return res, err
}

// callError returns what a failed copy ends with: a *named.Error as it is; nil if only the
// context's deadline, after StopBefore, cut the copy off, since the parts that S3 has are
// there for the next call; the context's cause if the context has ended; else Unavailable.
func (c *Copier) callError(ctx context.Context, err error) error {
	_, isNamed := named.As(err)
	switch {
	case isNamed:
		return err
	case !c.StopBefore.IsZero() && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return named.Errorf(named.Unavailable, "copying the output: %w", redact.Error(err))
}

func (c *Copier) setUp() {
	c.partSize = cmp.Or(c.partSize, DefaultPartSize)
	c.attempts = cmp.Or(c.attempts, defaultAttempts)
	c.maxTruncations = cmp.Or(c.maxTruncations, defaultMaxTruncations)
	c.backoff = cmp.Or(c.backoff, defaultBackoff)
	c.originStall = cmp.Or(c.originStall, defaultOriginStall)
	c.s3Stall = cmp.Or(c.s3Stall, defaultS3Stall)
	if c.now == nil {
		c.now = time.Now
	}
	c.pool = &pool{
		connections: make(chan struct{}, cmp.Or(c.Connections, DefaultConnections)), stopBefore: c.StopBefore, now: c.now,
		buffers: make(chan []byte, streamBuffers), bufferSize: cmp.Or(c.streamPart, defaultStreamPart),
	}
	for range streamBuffers {
		c.pool.free(nil)
	}
}
