package transfer

import (
	"context"
	"errors"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"golang.org/x/sync/errgroup"
)

const (
	// DefaultStreamPart times maxParts is the longest stream: 78 GiB, more than
	// one invocation can copy.
	DefaultStreamPart = 8 << 20
	// DefaultStreams buffers of that size fit beside the rest in 128 MB.
	DefaultStreams = 4
)

// memory is a part's bytes, which unlike a span can be read again for nothing.
type memory struct {
	data []byte
	next int
}

func (m *memory) Read(p []byte) (int, error) {
	n := copy(p, m.data[m.next:])
	if m.next += n; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (m *memory) close() {}

func inMemory(data []byte) func(context.Context) origin {
	return func(context.Context) origin { return &memory{data: data} }
}

// stream copies a file that can only be had in one go: the origin has no ranges,
// or nothing that ties them to one content. A stream that breaks is begun again
// from its start, and there is no stopping and going on later.
func (j *job) stream(ctx context.Context, key string, first *span) (Result, error) {
	remote := first.known
	remote.Ranges = false
	if remote.Total > j.StreamPart*maxParts {
		return Result{}, named.Errorf(named.Unavailable, "the output has %d bytes, more than can be copied from an origin without ranges", remote.Total)
	}
	s := &streaming{job: j, key: key, remote: remote}
	open := j.firstThenAnew(first, remote, 0, remote.Total)
	for tries := j.newTries(); ; {
		res, err := s.once(ctx, open)
		if err == nil {
			return res, nil
		}
		if err = tries.again(ctx, err); err != nil {
			return s.giveUp(ctx, err)
		}
	}
}

// streaming is a stream's state over its attempts; up is made when a second
// part is needed.
type streaming struct {
	*job
	key    string
	remote Remote
	up     *upload
}

func (s *streaming) giveUp(ctx context.Context, err error) (Result, error) {
	if s.up == nil {
		return Result{}, err
	}
	if !errors.Is(err, errUploadGone) {
		s.abort(ctx, s.up) // nothing could go on with it
	}
	return s.job.giveUp(ctx, s.up, err)
}

// once reads the origin from its first byte to its end.
func (s *streaming) once(ctx context.Context, open func(context.Context) origin) (Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	source := open(ctx)
	defer source.close()
	group, groupCtx := errgroup.WithContext(ctx)
	var total int64
	var err error
	var res Result
	for i, ended := 0, false; !ended && err == nil; i++ {
		var n int
		n, ended, err = s.part(groupCtx, group, source, i, &res)
		total += int64(n)
	}
	if err != nil {
		cancel()
		// A part that failed cancels the reading; its error is the one that tells.
		if failed := group.Wait(); failed != nil && !errors.Is(failed, context.Canceled) {
			err = failed
		}
		return Result{}, err
	}
	if err := group.Wait(); err != nil {
		return Result{}, err
	}
	if s.remote.Total >= 0 && total != s.remote.Total {
		return Result{}, &passing{err: io.ErrUnexpectedEOF}
	}
	if res.Done { // it fitted into one part
		if s.up != nil { // an earlier attempt was given more
			s.abort(ctx, s.up)
			s.up = nil
		}
		return res, nil
	}
	s.up.Total = total
	return s.complete(ctx, s.up)
}

// part fills one buffer and has it uploaded while the next is filled.
func (s *streaming) part(ctx context.Context, group *errgroup.Group, source io.Reader, i int, res *Result) (n int, ended bool, err error) {
	buffer, err := s.buffer(ctx)
	if err != nil {
		return 0, false, err
	}
	free := func() { s.buffers <- buffer }
	n, err = io.ReadFull(source, buffer)
	// ReadFull's own two ways to say that the source ended; a source that broke
	// off is a passing failure, never bare.
	ended = err == io.EOF || err == io.ErrUnexpectedEOF && n > 0
	if err != nil && !ended {
		free()
		return n, false, err
	}
	switch {
	case i == 0 && ended:
		defer free()
		*res, err = s.put(ctx, buffer[:n])
		return n, true, err
	case n == 0:
		free()
		return 0, true, nil
	case i == maxParts:
		free()
		return n, false, named.Errorf(named.Unavailable, "the output is longer than %d bytes, more than can be copied from an origin without ranges", s.StreamPart*maxParts)
	}
	if err := s.prepare(ctx, i, n); err != nil {
		free()
		return n, false, err
	}
	group.Go(func() error {
		defer free()
		return s.uploadPart(ctx, s.up, i, inMemory(buffer[:n]))
	})
	return n, ended, nil
}

// buffer waits for one of the few there are, over all the streams of a Copier.
func (c *Copier) buffer(ctx context.Context) ([]byte, error) {
	select {
	case b := <-c.buffers:
		if b == nil {
			b = make([]byte, c.StreamPart)
		}
		return b, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// prepare makes the upload at the first attempt's first part and the room for
// part i at each.
func (s *streaming) prepare(ctx context.Context, i, size int) (err error) {
	if s.up == nil {
		if s.up, err = s.create(ctx, s.key, s.remote, s.StreamPart); err != nil {
			return err
		}
	}
	s.up.mu.Lock()
	defer s.up.mu.Unlock()
	s.up.parts = append(s.up.parts[:i], part{size: int64(size)})
	return nil
}

func (s *streaming) put(ctx context.Context, data []byte) (Result, error) {
	res := s.result(s.key, s.remote)
	res.Bytes = int64(len(data))
	if s.remote.Total >= 0 && res.Bytes != s.remote.Total {
		return Result{}, &passing{err: io.ErrUnexpectedEOF}
	}
	if len(data) == 0 {
		return s.putEmpty(ctx, res)
	}
	crc, err := s.send(ctx, "PutObject", res.Bytes, inMemory(data), s.putObject(&res))
	res.CRC32 = crc
	return res, err
}

// putObject is the call that makes res's object of one body.
func (j *job) putObject(res *Result) func(context.Context, io.Reader, func(*s3.Options)) (*string, error) {
	return func(ctx context.Context, body io.Reader, opt func(*s3.Options)) (*string, error) {
		input := &s3.PutObjectInput{
			Bucket: &j.dst.Bucket, Key: &res.Key, Body: body, ContentLength: &res.Bytes,
			ContentType: &res.ContentType, ContentEncoding: orNil(res.ContentEncoding), Metadata: j.dst.Metadata,
			ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, // a bucket with Object Lock demands the header
		}
		if res.Bytes == 0 {
			input.ChecksumCRC32 = aws.String(encodeCRC32(0)) // no body, no trailer
		}
		out, err := j.S3.PutObject(ctx, input, opt)
		if err != nil {
			return nil, err
		}
		res.ETag = aws.ToString(out.ETag)
		return out.ChecksumCRC32, nil
	}
}

func (j *job) putEmpty(ctx context.Context, res Result) (Result, error) {
	put := j.putObject(&res)
	err := j.retry(ctx, "PutObject", func() error {
		_, err := put(ctx, nil, func(*s3.Options) {})
		return err
	})
	return res, err
}
