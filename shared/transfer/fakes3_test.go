package transfer

import (
	"bufio"
	"cmp"
	"crypto/md5"
	"encoding/binary"
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// fakeS3 is S3 over HTTP that holds bodies to their lengths and checksums
// as S3 does, and fails where a test says so.
type fakeS3 struct {
	composite bool // grants no FULL_OBJECT
	noSums    bool // keeps no checksums at all
	pageSize  int  // of ListParts
	// fault is asked before each call, n counting from 1 for each operation; true
	// means that it has answered.
	fault func(op string, n int, w http.ResponseWriter, r *http.Request) bool
	// after is asked when a call's work is done and its answer not yet sent.
	after func(op string, n int, w http.ResponseWriter, r *http.Request) bool

	mu      sync.Mutex
	objects map[string]*fakeObject
	uploads map[string]*fakeUpload
	calls   map[string]int
	serial  int
}

type fakeObject struct {
	data      []byte
	header    http.Header
	etag      string
	crc       string
	composite bool
}

type fakeUpload struct {
	key    string
	header http.Header
	parts  map[int]*fakeObject
}

func newFakeS3() *fakeS3 {
	return &fakeS3{pageSize: 1000, objects: map[string]*fakeObject{}, uploads: map[string]*fakeUpload{}, calls: map[string]int{}}
}

// client serves the fake and gives the SDK's client of it.
func (f *fakeS3) client(t testing.TB) *s3.Client {
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return clientOf(t, server.URL)
}

func clientOf(t testing.TB, endpoint string) *s3.Client {
	store := NewS3Client()
	t.Cleanup(store.CloseIdleConnections)
	return s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: &endpoint, UsePathStyle: true, HTTPClient: store,
		Credentials:                credentials.NewStaticCredentialsProvider("local", "locallocal", ""),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
		RetryMaxAttempts:           1,
	})
}

func operation(r *http.Request) string {
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodPost && q.Has("uploads"):
		return "CreateMultipartUpload"
	case r.Method == http.MethodPost && q.Has("uploadId"):
		return "CompleteMultipartUpload"
	case r.Method == http.MethodPut && q.Has("uploadId"):
		return "UploadPart"
	case r.Method == http.MethodGet && q.Has("uploadId"):
		return "ListParts"
	case r.Method == http.MethodDelete && q.Has("uploadId"):
		return "AbortMultipartUpload"
	case r.Method == http.MethodPut:
		return "PutObject"
	case r.Method == http.MethodDelete:
		return "DeleteObject"
	case r.Method == http.MethodHead:
		return "HeadObject"
	case q.Has("list-type"):
		return "ListObjectsV2"
	}
	return "GetObject"
}

func (f *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	op := operation(r)
	f.mu.Lock()
	f.calls[op]++
	n, fault := f.calls[op], f.fault
	f.mu.Unlock()
	if fault != nil && fault(op, n, w, r) {
		return
	}
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	var body []byte
	var crc string
	if r.Method == http.MethodPut {
		var err error
		if body, crc, err = readBody(r); err != nil {
			fail(w, http.StatusBadRequest, "IncompleteBody")
			return
		}
		if sum := encodeCRC32(crc32.ChecksumIEEE(body)); crc != "" && crc != sum {
			fail(w, http.StatusBadRequest, "BadDigest")
			return
		}
	} else {
		body, _ = io.ReadAll(r.Body)
	}
	answer := httptest.NewRecorder()
	f.mu.Lock()
	f.do(op, key, body, crc, answer, r)
	f.mu.Unlock()
	if f.after != nil && f.after(op, n, w, r) {
		return
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

func (f *fakeS3) do(op, key string, body []byte, crc string, w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	upload := f.uploads[q.Get("uploadId")]
	if q.Has("uploadId") && (upload == nil || upload.key != key) {
		fail(w, http.StatusNotFound, "NoSuchUpload")
		return
	}
	switch op {
	case "PutObject":
		object := newObject(body, r.Header)
		object.crc = crc
		f.objects[key] = object
		w.Header().Set("ETag", object.etag)
		w.Header().Set("X-Amz-Checksum-Crc32", crc)
	case "CreateMultipartUpload":
		f.serial++
		id := fmt.Sprintf("upload-%d", f.serial)
		f.uploads[id] = &fakeUpload{key: key, header: r.Header.Clone(), parts: map[int]*fakeObject{}}
		if !f.noSums {
			w.Header().Set("X-Amz-Checksum-Algorithm", "CRC32")
			w.Header().Set("X-Amz-Checksum-Type", f.checksumType())
		}
		fmt.Fprintf(w, "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>", id)
	case "UploadPart":
		number, _ := strconv.Atoi(q.Get("partNumber"))
		object := newObject(body, r.Header)
		object.crc = crc
		upload.parts[number] = object
		w.Header().Set("ETag", object.etag)
		if !f.noSums {
			w.Header().Set("X-Amz-Checksum-Crc32", crc)
		}
	case "ListParts":
		f.listParts(upload, q.Get("part-number-marker"), w)
	case "AbortMultipartUpload":
		delete(f.uploads, q.Get("uploadId"))
		w.WriteHeader(http.StatusNoContent)
	case "DeleteObject":
		delete(f.objects, key)
		w.WriteHeader(http.StatusNoContent)
	case "ListObjectsV2":
		fmt.Fprint(w, "<ListBucketResult></ListBucketResult>") // whom the keys matter has storetest
	case "CompleteMultipartUpload":
		f.completeUpload(key, q.Get("uploadId"), upload, body, w, r)
	default:
		f.get(key, w, r)
	}
}

func (f *fakeS3) checksumType() string {
	if f.composite {
		return "COMPOSITE"
	}
	return "FULL_OBJECT"
}

func (f *fakeS3) listParts(upload *fakeUpload, marker string, w io.Writer) {
	after, _ := strconv.Atoi(marker)
	fmt.Fprint(w, "<ListPartsResult>")
	count, last, more := 0, 0, false
	for _, number := range slices.Sorted(maps.Keys(upload.parts)) {
		if number <= after {
			continue
		}
		if count == f.pageSize {
			more = true
			break
		}
		p := upload.parts[number]
		fmt.Fprintf(w, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag><Size>%d</Size>", number, p.etag, len(p.data))
		if !f.noSums {
			fmt.Fprintf(w, "<ChecksumCRC32>%s</ChecksumCRC32>", p.crc)
		}
		fmt.Fprint(w, "</Part>")
		count, last = count+1, number
	}
	fmt.Fprintf(w, "<IsTruncated>%t</IsTruncated><NextPartNumberMarker>%d</NextPartNumberMarker></ListPartsResult>", more, last)
}

func (f *fakeS3) completeUpload(key, id string, upload *fakeUpload, body []byte, w http.ResponseWriter, r *http.Request) {
	var input struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := xml.Unmarshal(body, &input); err != nil {
		fail(w, http.StatusBadRequest, "MalformedXML")
		return
	}
	var all, sums []byte
	for _, p := range input.Part {
		stored := upload.parts[p.PartNumber]
		if stored == nil || stored.etag != p.ETag {
			fail(w, http.StatusBadRequest, "InvalidPart")
			return
		}
		all = append(all, stored.data...)
		sums = binary.BigEndian.AppendUint32(sums, crc32.ChecksumIEEE(stored.data))
	}
	object := newObject(all, upload.header)
	object.crc = encodeCRC32(crc32.ChecksumIEEE(all))
	if f.composite {
		object.crc, object.composite = fmt.Sprintf("%s-%d", encodeCRC32(crc32.ChecksumIEEE(sums)), len(input.Part)), true
	} else if want := r.Header.Get("X-Amz-Checksum-Crc32"); !f.noSums && (want != object.crc || r.Header.Get("X-Amz-Mp-Object-Size") != strconv.Itoa(len(all))) {
		fail(w, http.StatusBadRequest, "BadDigest")
		return
	}
	if f.noSums {
		object.crc = ""
	}
	f.objects[key] = object
	delete(f.uploads, id)
	fmt.Fprintf(w, "<CompleteMultipartUploadResult><ETag>%s</ETag></CompleteMultipartUploadResult>", object.etag)
}

func (f *fakeS3) get(key string, w http.ResponseWriter, r *http.Request) {
	object := f.objects[key]
	if object == nil {
		fail(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	if want := r.Header.Get("If-Match"); want != "" && want != object.etag {
		fail(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	for name, values := range object.header {
		if strings.HasPrefix(name, "X-Amz-Meta-") || name == "Content-Type" || name == "Content-Encoding" && len(values) > 0 {
			w.Header()[name] = values
		}
	}
	w.Header().Set("ETag", object.etag)
	data, status := object.data, http.StatusOK
	var from int
	if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); n == 1 {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
		data, status = data[from:], http.StatusPartialContent
	} else if object.crc != "" {
		w.Header().Set("X-Amz-Checksum-Crc32", object.crc)
		w.Header().Set("X-Amz-Checksum-Type", map[bool]string{true: "COMPOSITE", false: "FULL_OBJECT"}[object.composite])
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	if r.Method == http.MethodGet {
		_, _ = w.Write(data)
	}
}

func newObject(data []byte, header http.Header) *fakeObject {
	header = header.Clone()
	header["Content-Encoding"] = slices.DeleteFunc(header["Content-Encoding"], func(v string) bool { return v == "aws-chunked" })
	return &fakeObject{data: data, header: header, etag: fmt.Sprintf(`"%x"`, md5.Sum(data))}
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>as the test says</Message></Error>", code)
}

// readBody takes an aws-chunked body apart; a body that ends too early is an error.
func readBody(r *http.Request) (body []byte, crc string, err error) {
	if r.Header.Get("X-Amz-Content-Sha256") != unsignedTrailer {
		body, err = io.ReadAll(r.Body)
		return body, r.Header.Get("X-Amz-Checksum-Crc32"), err
	}
	in := bufio.NewReader(r.Body)
	for {
		var size int
		if _, err := fmt.Fscanf(in, "%x\r\n", &size); err != nil {
			return nil, "", err
		}
		if size == 0 {
			break
		}
		chunk := make([]byte, size+2)
		if _, err := io.ReadFull(in, chunk); err != nil {
			return nil, "", err
		}
		body = append(body, chunk[:size]...)
	}
	rest, err := io.ReadAll(in)
	if err != nil {
		return nil, "", err
	}
	if declared := r.Header.Get("X-Amz-Decoded-Content-Length"); declared != strconv.Itoa(len(body)) {
		return nil, "", fmt.Errorf("decoded length %s, %d bytes", declared, len(body))
	}
	_, crc, _ = strings.Cut(strings.TrimSpace(string(rest)), ":")
	return body, crc, nil
}

func (f *fakeS3) setFault(fault func(op string, n int, w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// put stores an object as an earlier call would have.
func (f *fakeS3) put(key string, body []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.objects[key] = newObject(body, http.Header{})
}

// object is what is stored under a key, and nil when nothing is.
func (f *fakeS3) object(key string) *fakeObject {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.objects[key]
}

func (f *fakeS3) openUploads() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.uploads)
}

func (f *fakeS3) count(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return cmp.Or(f.calls[op], 0)
}
