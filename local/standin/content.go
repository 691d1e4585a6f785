package main

import (
	"bytes"
	"compress/gzip"
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"golang.org/x/sync/singleflight"
)

// content is a file that can be read from any offset, over and over the same.
type content struct {
	size int64
	etag string
	open func() io.ReadSeeker
}

func blob(b []byte) content {
	sum := md5.Sum(b) // as S3's ETag of a plain PUT
	return content{size: int64(len(b)), etag: `"` + hex.EncodeToString(sum[:]) + `"`, open: func() io.ReadSeeker { return bytes.NewReader(b) }}
}

// noise is size bytes that AES in counter mode makes of zeros: the same for the
// same seed, nowhere repeating, made at any offset without what is before it.
func noise(seed uint64, size int64) content {
	key := make([]byte, 16)
	binary.BigEndian.PutUint64(key, seed)
	sum := md5.Sum(fmt.Appendf(nil, "%d/%d", seed, size))
	return content{size: size, etag: fmt.Sprintf(`"%x-%d"`, sum, size>>24+1), // as S3's ETag of a multipart upload
		open: func() io.ReadSeeker { return &noiseReader{key: key, size: size} }}
}

type noiseReader struct {
	key       []byte
	size, off int64
	stream    cipher.Stream // nil: to be made for off
}

func (n *noiseReader) Read(p []byte) (int, error) {
	if n.off >= n.size {
		return 0, io.EOF
	}
	if n.stream == nil {
		block, err := aes.NewCipher(n.key)
		if err != nil {
			return 0, err
		}
		iv := make([]byte, aes.BlockSize)
		binary.BigEndian.PutUint64(iv[8:], uint64(n.off/aes.BlockSize))
		n.stream = cipher.NewCTR(block, iv)
		skip := make([]byte, n.off%aes.BlockSize)
		n.stream.XORKeyStream(skip, skip)
	}
	p = p[:min(int64(len(p)), n.size-n.off)]
	clear(p)
	n.stream.XORKeyStream(p, p)
	n.off += int64(len(p))
	return len(p), nil
}

func (n *noiseReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += n.off
	case io.SeekEnd:
		offset += n.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	if offset != n.off {
		n.off, n.stream = offset, nil
	}
	return offset, nil
}

// changed is a file of the same size that came in this one's place: other bytes, another ETag.
func (c content) changed() content {
	sum := md5.Sum([]byte(c.etag))
	return content{size: c.size, etag: `"` + hex.EncodeToString(sum[:]) + `"`,
		open: func() io.ReadSeeker { return inverted{c.open()} }}
}

type inverted struct{ io.ReadSeeker }

func (i inverted) Read(p []byte) (int, error) {
	n, err := i.ReadSeeker.Read(p)
	for k := range p[:n] {
		p[k] ^= 0xff
	}
	return n, err
}

// maxGzip bounds what the fault gzip compresses in memory.
const maxGzip = 64 << 20

func (c content) gzipped() (content, error) {
	if c.size > maxGzip {
		return content{}, fmt.Errorf("the fault gzip takes at most %d bytes", maxGzip)
	}
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	if _, err := io.Copy(zip, c.open()); err != nil {
		return content{}, err
	}
	if err := zip.Close(); err != nil {
		return content{}, err
	}
	return blob(out.Bytes()), nil
}

// wide sends in writes of 256 KiB where net/http would use 32: the origin must not be
// what limits a copy that is being measured.
type wide struct{ http.ResponseWriter }

func (w wide) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w wide) ReadFrom(r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{w.ResponseWriter}, r, make([]byte, 256<<10))
}

// blobCache keeps what was last rendered: the bytes of a task's output are always
// the same, so that what is dropped can be made again, with the same ETag.
type blobCache struct {
	renders singleflight.Group // ranges of one picture asked for at once render it once

	mu   sync.Mutex
	kept []cached
	size int
}

type cached struct {
	name string
	data []byte
}

// maxCache is some two hundred pictures of the usual size.
const maxCache = 128 << 20

func (c *blobCache) get(name string, render func() ([]byte, error)) ([]byte, error) {
	data, err, _ := c.renders.Do(name, func() (any, error) {
		if data, ok := c.find(name); ok {
			return data, nil
		}
		data, err := render()
		if err == nil {
			c.keep(name, data)
		}
		return data, err
	})
	if err != nil {
		return nil, err
	}
	return data.([]byte), nil
}

func (c *blobCache) find(name string) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.kept {
		if one.name == name {
			return one.data, true
		}
	}
	return nil, false
}

func (c *blobCache) keep(name string, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept = append(c.kept, cached{name, data})
	c.size += len(data)
	for c.size > maxCache && len(c.kept) > 1 {
		c.size -= len(c.kept[0].data)
		c.kept = c.kept[1:]
	}
}

func (c *blobCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept, c.size = nil, 0
}
