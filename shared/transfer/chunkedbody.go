package transfer

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

const (
	unsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	crcHeader       = "x-amz-checksum-crc32"
	crcTextLength   = 8 // base64 of four bytes
)

// chunkedBody is the body of one request to S3: length bytes of source, counted
// and summed as they pass, framed as one chunk of aws-chunked with the CRC32 as its
// trailer. What S3 demands of that frame is in its developer guide, "Checking object
// integrity": trailing checksums.
//
// The SDK's own trailer would do over TLS, but it refuses a stream over plain
// HTTP ("unseekable stream is not supported without TLS and trailing
// checksum"), which is how local stores are reached, and it would sum every
// byte a second time: the manifest needs the sum as well.
type chunkedBody struct {
	length int64
	idle   *time.Timer // ends the request when S3 neither reads nor answers
	stall  time.Duration

	mu     sync.Mutex // the transport may still read while the request has been answered
	source io.Reader
	closed bool
	done   bool   // the tail has been read
	head   string // the rest of what goes before the source's bytes
	tail   string // the rest of what goes behind them
	read   int64  // bytes of source
	crc    uint32

	// err is the source's own failure, which S3's error would hide. It is not guarded
	// by mu, which a Read may hold while it waits for the origin.
	err atomic.Pointer[error]
}

func newChunkedBody(source io.Reader, length int64, stall time.Duration, stalled func()) *chunkedBody {
	return &chunkedBody{
		source: source, length: length, stall: stall, idle: time.AfterFunc(stall, stalled),
		head: strconv.FormatInt(length, 16) + "\r\n",
	}
}

// encodedLength returns the Content-Length: of the frame all is known beforehand
// but the sum's value, whose length is.
func (b *chunkedBody) encodedLength() int64 {
	frame := len(b.head) + len("\r\n0\r\n") + len(crcHeader+":") + crcTextLength + len("\r\n\r\n")
	return b.length + int64(frame)
}

func (b *chunkedBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.done:
		return 0, io.EOF
	case b.closed:
		return 0, io.ErrClosedPipe
	}
	b.idle.Stop() // from here on it is the origin that is waited for
	defer b.idle.Reset(b.stall)
	n := copy(p, b.head)
	b.head = b.head[n:]
	if b.read < b.length && n < len(p) {
		m, err := b.readSource(p[n:])
		if n += m; err != nil {
			return n, err
		}
	}
	if b.read < b.length || b.head != "" {
		return n, nil
	}
	if b.tail == "" {
		if err := b.demandEnd(); err != nil {
			return n, err
		}
		b.tail = "\r\n0\r\n" + crcHeader + ":" + encodeCRC32(b.crc) + "\r\n\r\n"
	}
	m := copy(p[n:], b.tail)
	if b.tail = b.tail[m:]; b.tail == "" {
		b.done = true
		return n + m, io.EOF
	}
	return n + m, nil
}

func (b *chunkedBody) readSource(p []byte) (int, error) {
	p = p[:min(int64(len(p)), b.length-b.read)]
	n, err := 0, error(nil)
	// All of p: over TLS a Read gives one record of 16 KiB, and each trip through
	// the SDK and net/http for one more would cost 7 % of a copy's CPU time.
	for n < len(p) && err == nil {
		var m int
		m, err = b.source.Read(p[n:])
		n += m
	}
	b.crc = crc32.Update(b.crc, crc32.IEEETable, p[:n])
	b.read += int64(n)
	if err == io.EOF && b.read == b.length {
		err = nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // a short body must break the request, never end it
	}
	if err != nil {
		b.err.Store(&err)
	}
	return n, err
}

// demandEnd demands the source's end before it gives the frame's: of an origin that
// sends more than it announced nothing is to be stored.
func (b *chunkedBody) demandEnd() error {
	n, err := b.source.Read(make([]byte, 1))
	if n > 0 {
		err = named.Errorf(named.OutputTruncated, "the origin sent more bytes than it announced")
	}
	if err == io.EOF {
		return nil
	}
	b.err.Store(&err)
	return err
}

// close waits for a Read under way and makes later ones fail, so that nobody
// touches the source afterwards.
func (b *chunkedBody) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.idle.Stop()
}

// sum returns the CRC32 of what was read, and whether that is all of the source.
func (b *chunkedBody) sum() (uint32, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.crc, b.read == b.length
}

func (b *chunkedBody) sourceError() error {
	if err := b.err.Load(); err != nil {
		return *err
	}
	return nil
}

// options makes one call of the SDK send this body: once, since the SDK's retry
// would want to rewind it, and with our trailer in place of its own. The names are
// those of the SDK's own middlewares; TestS3OnTheWire fails if they change.
func (b *chunkedBody) options(o *s3.Options) {
	o.Retryer = aws.NopRetryer{}
	o.APIOptions = append(o.APIOptions[:len(o.APIOptions):len(o.APIOptions)], func(stack *middleware.Stack) error {
		for _, own := range []string{"AWSChecksum:ComputeInputPayloadChecksum", "addInputChecksumTrailer"} {
			if _, err := stack.Finalize.Remove(own); err != nil {
				return err
			}
		}
		return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("transfer:trailer", b.frame), "ResolveEndpointV2", middleware.After)
	})
}

func (b *chunkedBody) frame(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
	out middleware.FinalizeOutput, md middleware.Metadata, err error,
) {
	req, ok := in.Request.(*smithyhttp.Request)
	if !ok {
		return out, md, fmt.Errorf("unknown request type %T", in.Request)
	}
	if req, err = req.SetStream(io.Reader(b)); err != nil {
		return out, md, err
	}
	req.ContentLength = b.encodedLength()
	// A second line of it, as the SDK does: some stores keep the first as it is.
	req.Header.Add("Content-Encoding", "aws-chunked")
	req.Header.Set("X-Amz-Decoded-Content-Length", strconv.FormatInt(b.length, 10))
	req.Header.Set("X-Amz-Trailer", crcHeader)
	in.Request = req
	return next.HandleFinalize(v4.SetPayloadHash(ctx, unsignedTrailer), in)
}
