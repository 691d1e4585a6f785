package transfer

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/s3errors"
)

// Getter is the one call of *s3.Client that Open makes.
type Getter interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// Object is an object of S3 being read, once and in order, with nothing of it
// held in memory. A connection that breaks is opened again from the byte it had
// reached, and only for the same content.
type Object struct {
	Size        int64
	ETag        string
	ContentType string

	ctx         context.Context
	client      Getter
	bucket, key string
	next        int64
	body        io.ReadCloser
	retries     *Copier // for its bounds
	tries       *tries
	mark        int64
}

// Open begins to read an object; etag, if not empty, is the content it must
// have. The context ends the reading, too.
func Open(ctx context.Context, client Getter, bucket, key, etag string) (*Object, error) {
	bounds := &Copier{}
	bounds.init()
	return bounds.openObject(ctx, client, bucket, key, etag)
}

func (c *Copier) openObject(ctx context.Context, client Getter, bucket, key, etag string) (*Object, error) {
	o := &Object{ETag: etag, ctx: ctx, client: client, bucket: bucket, key: key, retries: c, Size: -1}
	for tries := c.newTries(); ; {
		err := o.get()
		if err == nil {
			return o, nil
		}
		if err = tries.again(ctx, err); err != nil {
			return nil, asNamed(ctx, err)
		}
	}
}

// get asks for the rest of the object from the byte that was reached.
func (o *Object) get() error {
	input := &s3.GetObjectInput{Bucket: &o.bucket, Key: &o.key, IfMatch: orNil(o.ETag)}
	if o.next > 0 {
		input.Range = aws.String(fmt.Sprintf("bytes=%d-", o.next))
	}
	out, err := o.client.GetObject(o.ctx, input)
	if code, status := s3errors.Code(err); err != nil {
		if code == "PreconditionFailed" || status == 412 {
			return named.Errorf(named.OutputChanged, "the object s3://%s/%s is no longer the one that was begun", o.bucket, o.key)
		}
		return storeError(o.bucket, "GetObject", err)
	}
	if o.Size < 0 {
		o.Size, o.ETag, o.ContentType = aws.ToInt64(out.ContentLength), aws.ToString(out.ETag), aws.ToString(out.ContentType)
		o.body = out.Body
		return nil
	}
	part := contentRange{total: aws.ToInt64(out.ContentLength)}
	if o.next > 0 {
		part, err = parseContentRange(aws.ToString(out.ContentRange))
	}
	if err != nil || part.from != o.next || part.total != o.Size || aws.ToString(out.ETag) != o.ETag {
		_ = out.Body.Close()
		return &passing{err: named.Errorf(named.Unavailable, "S3 GetObject answered with another range than asked")}
	}
	o.body = out.Body
	return nil
}

func (o *Object) Read(p []byte) (int, error) {
	for {
		if o.next == o.Size {
			return 0, o.finish()
		}
		n, err := o.readOnce(p)
		o.next += int64(n)
		if n > 0 {
			return n, nil
		}
		if err == nil {
			continue
		}
		if err = o.failed(err); err != nil {
			return 0, asNamed(o.ctx, err)
		}
	}
}

func (o *Object) readOnce(p []byte) (int, error) {
	if o.body == nil {
		if err := o.get(); err != nil {
			return 0, err
		}
	}
	n, err := o.body.Read(p[:min(int64(len(p)), o.Size-o.next)])
	if n == 0 && err != nil {
		_ = o.Close()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, &passing{err: named.Errorf(named.Unavailable, "reading s3://%s/%s: %w", o.bucket, o.key, withoutURL(err))}
	}
	return n, nil
}

// finish reads the end itself: there the SDK holds the bytes against the
// object's checksum, where it has one.
func (o *Object) finish() error {
	if o.body == nil {
		return io.EOF
	}
	_, err := o.body.Read(make([]byte, 1))
	_ = o.Close()
	if err == nil || err == io.EOF {
		return io.EOF
	}
	return asNamed(o.ctx, named.Errorf(named.Unavailable, "the end of s3://%s/%s: %w", o.bucket, o.key, withoutURL(err)))
}

func (o *Object) failed(err error) error {
	if o.tries == nil || o.next-o.mark >= freshAfter {
		o.tries = o.retries.newTries()
	}
	o.mark = o.next
	return o.tries.again(o.ctx, err)
}

// Close frees the connection.
func (o *Object) Close() error {
	if o.body == nil {
		return nil
	}
	err := o.body.Close()
	o.body = nil
	return err
}

// readBack sums an object that is there already and whose store cannot tell the
// CRC32 of the whole.
func (j *job) readBack(ctx context.Context, res Result) (uint32, error) {
	object, err := j.openObject(ctx, j.S3, j.dst.Bucket, res.Key, res.ETag)
	if err != nil {
		return 0, err
	}
	sum := crc32.NewIEEE()
	n, err := io.Copy(sum, object)
	if err := errors.Join(err, object.Close()); err != nil {
		return 0, err
	}
	if n != res.Bytes {
		return 0, &passing{err: io.ErrUnexpectedEOF}
	}
	return sum.Sum32(), nil
}
