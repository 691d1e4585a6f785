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

// payload is the body of one request to S3: length bytes of source, counted and
// summed as they pass, framed as aws-chunked with the CRC32 as its trailer.
//
// The SDK's own trailer would do over TLS, but it refuses a stream over plain
// HTTP ("unseekable stream is not supported without TLS and trailing
// checksum"), which is how local stores are reached, and it would sum every
// byte a second time: the manifest needs the sum as well.
type payload struct {
	length int64
	idle   *time.Timer // ends the request when S3 neither reads nor answers
	limit  time.Duration

	mu     sync.Mutex // the transport may still read while the request has been answered
	source io.Reader
	closed bool
	done   bool   // the tail has been read
	head   string // what goes before the next byte of source
	tail   string
	read   int64
	crc    uint32

	// err is the source's own failure, which S3's error would hide. It is read
	// while a Read may hold mu, waiting for the origin.
	err atomic.Pointer[error]
}

func newPayload(source io.Reader, length int64, limit time.Duration, giveUp func()) *payload {
	return &payload{
		source: source, length: length, limit: limit, idle: time.AfterFunc(limit, giveUp),
		head: strconv.FormatInt(length, 16) + "\r\n",
	}
}

// encodedLength is what Content-Length says: the frame around the bytes is known
// beforehand, the sum's value is not but its length is.
func (p *payload) encodedLength() int64 {
	frame := len(p.head) + len("\r\n0\r\n") + len(crcHeader+":") + crcTextLength + len("\r\n\r\n")
	return p.length + int64(frame)
}

func (p *payload) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.done:
		return 0, io.EOF
	case p.closed:
		return 0, io.ErrClosedPipe
	}
	p.idle.Stop() // from here on it is the origin that is waited for
	defer p.idle.Reset(p.limit)
	n := copy(b, p.head)
	p.head = p.head[n:]
	if p.read < p.length && n < len(b) {
		m, err := p.readSource(b[n:])
		if n += m; err != nil {
			return n, err
		}
	}
	if p.read < p.length || p.head != "" {
		return n, nil
	}
	if p.tail == "" {
		if err := p.atEnd(); err != nil {
			return n, err
		}
		p.tail = "\r\n0\r\n" + crcHeader + ":" + encodeCRC32(p.crc) + "\r\n\r\n"
	}
	m := copy(b[n:], p.tail)
	if p.tail = p.tail[m:]; p.tail == "" {
		p.done = true
		return n + m, io.EOF
	}
	return n + m, nil
}

func (p *payload) readSource(b []byte) (int, error) {
	b = b[:min(int64(len(b)), p.length-p.read)]
	n, err := 0, error(nil)
	// All of b: over TLS a Read gives one record of 16 KiB, and each trip through
	// the SDK and net/http for one more would cost 7 % of a copy's CPU time.
	for n < len(b) && err == nil {
		var m int
		m, err = p.source.Read(b[n:])
		n += m
	}
	p.crc = crc32.Update(p.crc, crc32.IEEETable, b[:n])
	p.read += int64(n)
	if err == io.EOF && p.read == p.length {
		err = nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // a short body must break the request, never end it
	}
	if err != nil {
		p.err.Store(&err)
	}
	return n, err
}

// atEnd demands the source's end before the frame's: an origin that has more to
// say than it announced is not to be believed.
func (p *payload) atEnd() error {
	var extra [1]byte
	n, err := p.source.Read(extra[:])
	if n > 0 {
		err = named.Errorf(named.OutputTruncated, "the origin sent more bytes than it announced")
	}
	if err == io.EOF {
		return nil
	}
	p.err.Store(&err)
	return err
}

// close waits for a Read under way, so that nobody touches the source afterwards.
func (p *payload) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.idle.Stop()
}

// sum is the CRC32 of what was sent, and whether all of it was.
func (p *payload) sum() (uint32, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.crc, p.read == p.length
}

func (p *payload) failure() error {
	if err := p.err.Load(); err != nil {
		return *err
	}
	return nil
}

// options makes one call of the SDK send this payload: once, since the SDK's
// retry would want to rewind it, and with our trailer in place of its own.
func (p *payload) options(o *s3.Options) {
	o.Retryer = aws.NopRetryer{}
	o.APIOptions = append(o.APIOptions[:len(o.APIOptions):len(o.APIOptions)], func(stack *middleware.Stack) error {
		for _, own := range []string{"AWSChecksum:ComputeInputPayloadChecksum", "addInputChecksumTrailer"} {
			if _, err := stack.Finalize.Remove(own); err != nil {
				return err
			}
		}
		return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("transfer:trailer", p.frame), "ResolveEndpointV2", middleware.After)
	})
}

func (p *payload) frame(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
	out middleware.FinalizeOutput, md middleware.Metadata, err error,
) {
	req, ok := in.Request.(*smithyhttp.Request)
	if !ok {
		return out, md, fmt.Errorf("unknown request type %T", in.Request)
	}
	if req, err = req.SetStream(io.Reader(p)); err != nil {
		return out, md, err
	}
	req.ContentLength = p.encodedLength()
	// A second line of it, as the SDK does: some stores keep the first as it is.
	req.Header.Add("Content-Encoding", "aws-chunked")
	req.Header.Set("X-Amz-Decoded-Content-Length", strconv.FormatInt(p.length, 10))
	req.Header.Set("X-Amz-Trailer", crcHeader)
	in.Request = req
	return next.HandleFinalize(v4.SetPayloadHash(ctx, unsignedTrailer), in)
}
