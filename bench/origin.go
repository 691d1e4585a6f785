package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// originChunk is one write of the origin: with dynamic record sizing off, 16
// records of TLS.
const originChunk = 256 << 10

// origin serves /SIZE from memory as S3 serves a presigned GET: ranges, a strong
// ETag, no HEAD. ?rate=N limits each connection to N MB/s.
type origin struct{ block []byte }

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if text, ok := strings.CutPrefix(r.URL.Path, "/_crc/"); ok { // what an object must come to
		size, _ := strconv.ParseInt(text, 10, 64)
		fmt.Fprint(w, crcOf(o.block, size))
		return
	}
	size, err := strconv.ParseInt(r.URL.Path[1:], 10, 64)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	from, to, status := int64(0), size, http.StatusOK
	if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); n >= 1 {
		if to++; n == 1 || to > size {
			to = size
		}
		if from >= size {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, size))
		status = http.StatusPartialContent
	}
	h := w.Header()
	h.Set("ETag", fmt.Sprintf(`"pattern-%d"`, size))
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.FormatInt(to-from, 10))
	w.WriteHeader(status)
	rate, _ := strconv.ParseInt(r.URL.Query().Get("rate"), 10, 64)
	o.send(w, from, to, rate*1e6)
}

func (o *origin) send(w http.ResponseWriter, from, to, rate int64) {
	begun, sent := time.Now(), int64(0)
	for from < to {
		n, err := w.Write(at(o.block, from, min(originChunk, to-from)))
		if err != nil {
			return
		}
		from, sent = from+int64(n), sent+int64(n)
		if rate > 0 {
			time.Sleep(time.Until(begun.Add(time.Duration(sent) * time.Second / time.Duration(rate))))
		}
	}
}
