package main

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// sink is as much of S3 as the contestants call. It throws bodies away, and
// keeps each part's length and CRC32, so that every object can be checked.
type sink struct {
	buffers sync.Pool
	mu      sync.Mutex
	objects map[string]stored
	uploads map[string]map[int]stored
	serial  int
}

type stored struct {
	Bytes int64  `json:"bytes"`
	CRC32 uint32 `json:"crc32"`
}

func (s stored) etag() string { return fmt.Sprintf(`"%08x-%x"`, s.CRC32, s.Bytes) }

func (s stored) sum() string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, s.CRC32))
}

func newSink() *sink {
	return &sink{
		buffers: sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }},
		objects: map[string]stored{}, uploads: map[string]map[int]stored{},
	}
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key, q := strings.TrimPrefix(r.URL.Path, "/"), r.URL.Query()
	switch {
	case r.URL.Path == "/_check":
		s.check(w, q.Get("key"))
	case r.Method == http.MethodPut && strings.Contains(key, "/"):
		s.put(w, r, key)
	case r.Method == http.MethodPost && q.Has("uploads"):
		s.create(w, key)
	case r.Method == http.MethodPost && q.Has("uploadId"):
		s.complete(w, r, key, q.Get("uploadId"))
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPut || r.Method == http.MethodHead && !strings.Contains(key, "/"):
		w.WriteHeader(http.StatusOK) // the bucket
	default:
		s.head(w, key)
	}
}

func (s *sink) check(w http.ResponseWriter, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	object, ok := s.objects[key]
	delete(s.objects, key)
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_ = json.NewEncoder(w).Encode(object)
}

func (s *sink) head(w http.ResponseWriter, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	object, ok := s.objects[key]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("ETag", object.etag())
	w.Header().Set("Last-Modified", "Mon, 23 Nov 2026 10:00:00 GMT")
	w.Header().Set("Content-Length", strconv.FormatInt(object.Bytes, 10))
}

func (s *sink) create(w http.ResponseWriter, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	id := fmt.Sprintf("upload-%d", s.serial)
	s.uploads[id] = map[int]stored{}
	w.Header().Set("X-Amz-Checksum-Type", "FULL_OBJECT")
	w.Header().Set("X-Amz-Checksum-Algorithm", "CRC32")
	bucket, name, _ := strings.Cut(key, "/")
	fmt.Fprintf(w, "<InitiateMultipartUploadResult><Bucket>%s</Bucket><Key>%s</Key><UploadId>%s</UploadId></InitiateMultipartUploadResult>", bucket, name, id)
}

func (s *sink) put(w http.ResponseWriter, r *http.Request, key string) {
	body, err := s.receive(r)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, "<Error><Code>IncompleteBody</Code></Error>")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if upload := s.uploads[r.URL.Query().Get("uploadId")]; upload != nil {
		number, _ := strconv.Atoi(r.URL.Query().Get("partNumber"))
		upload[number] = body
	} else {
		s.objects[key] = body
	}
	w.Header().Set("ETag", body.etag())
	w.Header().Set("X-Amz-Checksum-Crc32", body.sum())
}

func (s *sink) complete(w http.ResponseWriter, r *http.Request, key, id string) {
	var input struct{ Part []struct{ PartNumber int } }
	if err := xml.NewDecoder(r.Body).Decode(&input); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var object stored
	for _, p := range input.Part {
		part := s.uploads[id][p.PartNumber]
		object = stored{Bytes: object.Bytes + part.Bytes, CRC32: joinCRC(object.CRC32, part.CRC32, part.Bytes)}
	}
	s.objects[key] = object
	delete(s.uploads, id)
	bucket, name, _ := strings.Cut(key, "/")
	fmt.Fprintf(w, "<CompleteMultipartUploadResult><Bucket>%s</Bucket><Key>%s</Key><ETag>%s</ETag></CompleteMultipartUploadResult>", bucket, name, object.etag())
}

// receive reads and sums a body, out of its aws-chunked frame where it has one.
func (s *sink) receive(r *http.Request) (stored, error) {
	buffer := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(buffer)
	var got stored
	take := func(in io.Reader) error {
		for {
			n, err := in.Read(*buffer)
			got.CRC32 = crc32.Update(got.CRC32, crc32.IEEETable, (*buffer)[:n])
			got.Bytes += int64(n)
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
	if !strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		err := take(r.Body)
		return got, err
	}
	in := bufio.NewReaderSize(r.Body, 4<<10) // small: long reads go past it
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return got, err
		}
		text, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		size, err := strconv.ParseInt(text, 16, 64)
		if err != nil {
			return got, err
		}
		if size == 0 {
			_, err := io.Copy(io.Discard, in)
			return got, err
		}
		before := got.Bytes
		if err := take(io.LimitReader(in, size)); err != nil {
			return got, err
		}
		if got.Bytes-before != size {
			return got, io.ErrUnexpectedEOF
		}
		if _, err := in.Discard(2); err != nil {
			return got, err
		}
	}
}

// joinCRC gives the CRC32 of A followed by B by running A's over len(B) zeros'
// worth of the matrix that one zero bit is: apart from the product's own, so
// that a mistake there would show here.
func joinCRC(a, b uint32, lenB int64) uint32 {
	var zero [32]uint32
	zero[0] = crc32.IEEE
	for i := 1; i < 32; i++ {
		zero[i] = 1 << (i - 1)
	}
	for n := lenB * 8; n > 0; n >>= 1 {
		if n&1 == 1 {
			a = times(&zero, a)
		}
		var square [32]uint32
		for i := range zero {
			square[i] = times(&zero, zero[i])
		}
		zero = square
	}
	return a ^ b
}

func times(matrix *[32]uint32, vector uint32) (sum uint32) {
	for i := 0; vector != 0; i, vector = i+1, vector>>1 {
		if vector&1 == 1 {
			sum ^= matrix[i]
		}
	}
	return sum
}
