package transfer

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// The defaults. Each is a field of Copier, for tests and for measuring.
const (
	DefaultPartSize    = 16 << 20 // larger parts no longer gained speed, and a kill loses more
	DefaultConnections = 8        // where a 2-core machine and a 1769 MB function are full
	DefaultAttempts    = 8        // with the waits between them some 6 s of trouble, then the state machine's retry takes over
	DefaultCuts        = 20       // at the very same byte, over a minute: then the output ends there
	DefaultBackoff     = 200 * time.Millisecond
	DefaultStall       = 30 * time.Second // without a byte from the origin
	DefaultStoreStall  = 60 * time.Second // without S3 reading or answering

	maxBackoff  = 5 * time.Second
	maxParts    = 10_000           // S3's own limit
	maxPart     = 5 << 30          // S3's own limit
	maxRestarts = 3                // of an output that is another at each call
	partStep    = 1 << 20          // part sizes grow in whole MiB
	cleanUp     = 15 * time.Second // for what must be done after the context's end
)

// Copier copies what a URL serves into a bucket. The zero value plus S3 and
// Origin is useful. Make one for each invocation: all its copies share the
// bounded number of connections and buffers.
type Copier struct {
	S3     S3
	Origin *http.Client // from NewOrigin

	// StopBefore is when no new part is started: those under way end, and Copy
	// returns with Done false. Zero: never. The context's own end is later than
	// that by what a part may take, and cuts off whatever is still under way.
	StopBefore time.Time

	Connections int
	PartSize    int64
	Attempts    int
	Cuts        int
	Backoff     time.Duration
	Stall       time.Duration
	StoreStall  time.Duration
	StreamPart  int64 // the buffer of a stream that has no ranges
	Streams     int   // how many such buffers there are at most
	Now         func() time.Time

	once    sync.Once
	slots   chan struct{}
	buffers chan []byte
}

// Source is where an output is fetched from.
type Source struct {
	URL string // signed: it is in no error, log or checkpoint
	// Refresh mints a fresh URL of the same output, when the origin's answer is
	// that the old one no longer holds.
	Refresh func(ctx context.Context) (string, error)
}

// Target is where it goes.
type Target struct {
	Bucket string
	// Key chooses the object's key once the origin has told the file's name and type.
	Key func(Remote) string
	// Metadata goes to the object, ASCII already. An object that has all of it,
	// and the size, is taken for this very output and not copied again.
	Metadata map[string]string
}

// Result is what a Copy came to.
type Result struct {
	Done            bool // false: out of time; call again with the checkpoint
	Skipped         bool // the object was there already
	Key             string
	Bytes           int64
	CRC32           uint32 // of the whole object
	ETag            string // S3's
	ContentType     string
	ContentEncoding string
	Copied          int64 // bytes fetched from the origin by this call
	Stored          int64 // bytes that this call gave to S3 as whole parts: what the next one can build on
}

// Copy copies one output. from is the checkpoint of an earlier call, or nil.
// save is called once a multipart upload exists and before its first part: what
// it stores is what finds the upload again. An error of save ends the copy.
//
// The error is a *named.Error, one of save's or Refresh's own, or the context's.
func (c *Copier) Copy(ctx context.Context, src Source, dst Target, from *Checkpoint, save func(context.Context, Checkpoint) error) (Result, error) {
	c.init()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	j := &job{
		Copier: c, dst: dst, save: save,
		address: &address{url: src.URL, refresh: src.Refresh},
	}
	res, err := j.run(ctx, from)
	if c.outOfTime(ctx, err) {
		res, err = Result{}, nil
	}
	res.Copied, res.Stored = j.copied.Load(), j.stored.Load()
	return res, asNamed(ctx, err)
}

// outOfTime holds when only the deadline, after StopBefore, cut the copy off:
// the parts that S3 has are there for the next call.
func (c *Copier) outOfTime(ctx context.Context, err error) bool {
	if _, told := named.As(err); told {
		return false
	}
	return err != nil && !c.StopBefore.IsZero() && errors.Is(ctx.Err(), context.DeadlineExceeded)
}

func (c *Copier) init() {
	c.once.Do(func() {
		setDefault(&c.Connections, DefaultConnections)
		setDefault(&c.PartSize, DefaultPartSize)
		setDefault(&c.Attempts, DefaultAttempts)
		setDefault(&c.Cuts, DefaultCuts)
		setDefault(&c.Backoff, DefaultBackoff)
		setDefault(&c.Stall, DefaultStall)
		setDefault(&c.StoreStall, DefaultStoreStall)
		setDefault(&c.StreamPart, DefaultStreamPart)
		setDefault(&c.Streams, DefaultStreams)
		if c.Now == nil {
			c.Now = time.Now
		}
		c.slots = make(chan struct{}, c.Connections)
		c.buffers = make(chan []byte, c.Streams)
		for range c.Streams {
			c.buffers <- nil // allocated when first used
		}
	})
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c *Copier) acquire(ctx context.Context) error {
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *Copier) release() { <-c.slots }

func (c *Copier) stopped() bool {
	return !c.StopBefore.IsZero() && !c.Now().Before(c.StopBefore)
}

// job is one output's copy.
type job struct {
	*Copier
	dst     Target
	save    func(context.Context, Checkpoint) error
	address *address
	copied  atomic.Int64
	stored  atomic.Int64
	cuts    cuts

	restarts int
	// whole: the origin's ranges cannot be joined, and the output is copied from
	// one answer. seen is what the probe before that decision said of it.
	whole bool
	seen  *Remote
}

// run resumes where there is something to resume, and begins anew where that has
// become impossible: at most once because the upload was aborted or the origin
// has another file now, and once because its ranges cannot be joined.
func (j *job) run(ctx context.Context, from *Checkpoint) (Result, error) {
	if j.stopped() {
		return Result{}, nil
	}
	if from != nil {
		res, err := j.resume(ctx, *from)
		if !errors.Is(err, errBeginAnew) {
			return res, err
		}
	}
	for again := false; ; {
		res, err := j.begin(ctx)
		var split *oneStreamError
		switch {
		case errors.As(err, &split) && !j.whole:
			j.inOneStream()
		case errors.Is(err, errBeginAnew) && !again:
			again = true
		case errors.Is(err, errBeginAnew):
			return res, named.Errorf(named.Unavailable, "the multipart upload was aborted twice by somebody else")
		default:
			return res, err
		}
	}
}

// inOneStream gives up ranges. The parts that were stored were aborted: no later
// call can build on them.
func (j *job) inOneStream() {
	j.whole = true
	j.stored.Store(0)
}

// begin asks the origin for the first part and goes on as its answer allows.
func (j *job) begin(ctx context.Context) (Result, error) {
	if err := j.acquire(ctx); err != nil {
		return Result{}, err
	}
	if j.stopped() { // while it waited for a connection
		j.release()
		return Result{}, nil
	}
	first, err := j.probe(ctx)
	if err != nil {
		j.release()
		return Result{}, err
	}
	remote := first.known
	if !j.whole {
		j.seen = &remote
	}
	key := j.dst.Key(remote)
	if res, there, err := j.alreadyThere(ctx, key, remote.Total); err != nil || there {
		first.close()
		j.release()
		return res, err
	}
	if remote.Ranges && remote.Total > j.PartSize {
		return j.multipart(ctx, key, first) // releases the slot with the first part
	}
	defer j.release()
	defer first.close()
	if remote.Total >= 0 && remote.Total <= j.PartSize {
		return j.single(ctx, key, first)
	}
	return j.stream(ctx, key, first)
}

// probe is the first GET: its answer tells all there is to know of the file and
// is its first part already. A presigned GET would answer HEAD with 403. After
// ranges that could not be joined it asks for the whole, and holds the answer
// against what the first probe was told.
func (j *job) probe(ctx context.Context) (*span, error) {
	want, known := byteRange{to: j.PartSize, whole: j.whole}, (*Remote)(nil)
	if j.whole {
		known = j.seen
	}
	for tries := j.newTries(); ; {
		open, cancel := context.WithCancelCause(ctx)
		resp, remote, err := j.open(open, j.address, want, known)
		if err == nil && resp.StatusCode == http.StatusPartialContent && !remote.Ranges && remote.Total > j.PartSize && !want.whole {
			// Nothing ties a range to the content: the whole, in one stream.
			_ = resp.Body.Close()
			err = errNoRange
		}
		if err == nil {
			if known != nil && remote.Total < 0 {
				remote.Total = known.Total // which its ranges told
			}
			s := j.newSpan(ctx, remote, 0, remote.Total)
			s.attach(resp, cancel)
			return s, nil
		}
		cancel(nil)
		if errors.Is(err, errNoRange) && !want.whole {
			want = byteRange{whole: true}
			continue
		}
		if err = tries.again(ctx, err); err != nil {
			return nil, err
		}
	}
}

func (j *job) newSpan(ctx context.Context, remote Remote, from, to int64) *span {
	return &span{
		c: j.Copier, ctx: ctx, from: j.address, known: remote, next: from, end: to, mark: from, cuts: &j.cuts,
		count: func(n int) { j.copied.Add(int64(n)) },
	}
}

func (j *job) result(key string, remote Remote) Result {
	return Result{
		Done: true, Key: key, Bytes: remote.Total,
		ContentType: contentType(remote.ContentType), ContentEncoding: remote.ContentEncoding,
	}
}

// contentType is what the object is stored as. A header that is not printable
// ASCII (a name among its parameters, mostly) would break the signature of the
// request to S3: its parameters are left out, or all of it.
func contentType(told string) string {
	printable := func(s string) bool {
		return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
	}
	base, _, _ := strings.Cut(told, ";")
	for _, usable := range []string{told, strings.TrimSpace(base)} {
		if printable(usable) {
			return usable
		}
	}
	return "application/octet-stream"
}
