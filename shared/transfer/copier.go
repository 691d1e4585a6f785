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
	// DefaultPartSize is the size of a part in bytes, if 10,000 of them hold the
	// output. Larger ones brought no more speed, and a kill loses
	// what is under way. docs/copying.md and the bench's titles name it, and
	// copy-result's stopMargin is reckoned from it.
	DefaultPartSize = 16 << 20
	// DefaultConnections is how many parts are under way at once: with more,
	// neither a 2-core machine nor a function of 1769 MB was faster.
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
	storeStall     time.Duration // without S3 reading or answering
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
	defaultStoreStall     = 60 * time.Second // more than the origin's, for S3 answers when it has stored what it read
	// 10,000 parts of 8 MiB are 78 GiB, more than one call can stream.
	defaultStreamPart = 8 << 20
	// Four buffers fit beside the rest into the memory of the smallest function, 128 MB.
	streamBuffers = 4
)

// Copier copies outputs from their URLs into a bucket. Its zero value is ready
// once S3 and Origin are set. Make one for each invocation: all its copies, which
// may run at once, share its connections and buffers. Its fields must not change
// after the first [Copier.Copy].
type Copier struct {
	S3     S3
	Origin *http.Client // from NewOrigin

	// StopBefore is when no further part is started: those under way end, and Copy
	// returns without Done. It should precede the context's deadline by the time
	// that a part may take, for the deadline cuts off what is still under way. Zero:
	// nothing stops before that.
	StopBefore time.Time
	// Connections is how many parts are under way at once, over all the copies; 0:
	// DefaultConnections.
	Connections int

	tuning
	once   sync.Once
	budget *budget
}

// Source is where an output is fetched from.
type Source struct {
	URL redact.SignedURL
	// Refresh returns a fresh URL of the same output. It is called when the origin
	// refuses the old one, as it does once a signature has run out. An error of it
	// ends the copy. Nil: a refusal does.
	Refresh func(ctx context.Context) (redact.SignedURL, error)
}

// Target is where an output is stored.
type Target struct {
	Bucket string
	// Key returns the object's key, once the origin has told the file's name and type.
	Key func(Remote) string
	// Metadata is stored with the object; keys and values are ASCII. An object that
	// has all of it, and the size, is taken for this very output and not copied again;
	// without Metadata every call copies.
	Metadata map[string]string
}

// Copy copies one output. from is the checkpoint that an earlier call saved, or
// nil. save is called when a multipart upload has been created, before its first
// part, since nothing but the checkpoint finds the upload again; its error aborts
// the upload and ends the copy. Nil saves nothing.
//
// Without an error and without [Result].Done, time ran out: after StopBefore, or by
// the context's deadline if StopBefore is set. The error is a *named.Error, one of
// save's or Refresh's own, or the context's cause; it holds no URL. OutputChanged,
// OutputTruncated, OutputExpired and OutputUnavailable have aborted the upload;
// after any other error a call with the checkpoint resumes it.
func (c *Copier) Copy(ctx context.Context, src Source, dst Target, from *Checkpoint, save Save) (Result, error) {
	c.once.Do(c.setUp)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	retry := retryPolicy{attempts: c.attempts, backoff: c.backoff}
	j := &job{
		budget: c.budget, partSize: c.partSize, retry: retry, key: dst.Key, save: save,
		origin: &origin{
			client: c.Origin, now: c.now, url: refreshableURL{url: src.URL, refresh: src.Refresh},
			retry: retry, stall: c.originStall, maxTruncations: c.maxTruncations,
		},
		store: &store{s3: c.S3, bucket: dst.Bucket, metadata: dst.Metadata, retry: retry, stall: c.storeStall},
	}
	res, err := j.run(ctx, from)
	if c.outOfTime(ctx, err) {
		res, err = Result{}, nil
	}
	res.Copied, res.Stored = j.origin.fetched.Load(), j.stored.Load()
	return res, asNamed(ctx, err)
}

// outOfTime reports that only the context's deadline, after StopBefore, cut the
// copy off: the parts that S3 has are there for the next call.
func (c *Copier) outOfTime(ctx context.Context, err error) bool {
	if _, ok := named.As(err); ok {
		return false
	}
	return err != nil && !c.StopBefore.IsZero() && errors.Is(ctx.Err(), context.DeadlineExceeded)
}

func (c *Copier) setUp() {
	c.partSize = cmp.Or(c.partSize, DefaultPartSize)
	c.attempts = cmp.Or(c.attempts, defaultAttempts)
	c.maxTruncations = cmp.Or(c.maxTruncations, defaultMaxTruncations)
	c.backoff = cmp.Or(c.backoff, defaultBackoff)
	c.originStall = cmp.Or(c.originStall, defaultOriginStall)
	c.storeStall = cmp.Or(c.storeStall, defaultStoreStall)
	if c.now == nil {
		c.now = time.Now
	}
	c.budget = &budget{
		connections: make(chan struct{}, cmp.Or(c.Connections, DefaultConnections)), stopBefore: c.StopBefore, now: c.now,
		buffers: make(chan []byte, streamBuffers), bufferSize: cmp.Or(c.streamPart, defaultStreamPart),
	}
	for range streamBuffers {
		c.budget.free(nil)
	}
}
