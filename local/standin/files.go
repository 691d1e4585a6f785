package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
)

const (
	// maxFile is the documented default limit of an input file.
	maxFile = 500 << 20
	// maxKept is how much of one file is kept, to be decoded as a picture; of larger ones only the sum.
	maxKept = 16 << 20
	// maxHeld bounds what is kept of all files together; the oldest are let go.
	maxHeld = 256 << 20
	// maxPresigns bounds the uploads that are promised or came.
	maxPresigns = 20000
)

// upload is an input file: promised by presign, there once its PUT has come.
type upload struct {
	Key         string `json:"file_key"`
	Name        string `json:"file_name"`
	ContentType string `json:"content_type"`
	Size        int64  `json:"bytes"`
	SHA256      string `json:"sha256"`
	At          string `json:"at"`

	arrived bool
	data    []byte
}

// is says whether accept's entry, a MIME type or an extension, fits the file.
func (u *upload) is(accepted string) bool {
	if strings.HasPrefix(accepted, ".") {
		return strings.EqualFold(path.Ext(u.Name), accepted)
	}
	kind, _, err := mime.ParseMediaType(u.ContentType)
	major, rest, _ := strings.Cut(accepted, "/")
	return err == nil && (kind == accepted || rest == "*" && strings.HasPrefix(kind, major+"/"))
}

// file is an uploaded file; nil when it was never uploaded.
func (s *standin) file(key string) *upload {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.files[key]; f != nil && f.arrived {
		seen := *f // the bytes may be let go while the caller reads them
		return &seen
	}
	return nil
}

func (s *standin) presign(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Name        string `json:"file_name"`
		Size        int64  `json:"file_size"`
		ContentType string `json:"content_type"`
	}
	if err := decode(r, &asked); err != nil {
		fail(w, http.StatusBadRequest, "invalid_json", err.Error())
		return
	}
	var faults []paramFault
	if asked.Name == "" {
		faults = append(faults, paramFault{"file_name", "is required"})
	}
	if asked.Size < 1 || asked.Size > maxFile {
		faults = append(faults, paramFault{"file_size", fmt.Sprintf("must be from 1 to %d", maxFile)})
	}
	if _, _, err := mime.ParseMediaType(asked.ContentType); err != nil {
		faults = append(faults, paramFault{"content_type", "must be a MIME type"})
	}
	if len(faults) > 0 {
		fail(w, http.StatusUnprocessableEntity, "invalid_file", "the file cannot be taken", faults...)
		return
	}
	u := &upload{Key: "inputs/" + uuid() + path.Ext(path.Base(asked.Name)), Name: asked.Name, ContentType: asked.ContentType, Size: asked.Size}
	s.mu.Lock()
	s.files[u.Key] = u
	s.presigns = append(s.presigns, u)
	if len(s.presigns) > maxPresigns {
		delete(s.files, s.presigns[0].Key)
		s.presigns = s.presigns[1:]
	}
	s.mu.Unlock()
	reply(w, http.StatusOK, map[string]any{"file_key": u.Key, "upload_url": s.mint(http.MethodPut, r.Host, "/bucket/"+u.Key, urlLifetime), "upload_headers": u.headers()})
}

// headers are those that the URL was signed with. The last one no page names: all must be sent as they came.
func (u *upload) headers() map[string]string {
	return map[string]string{"Content-Length": strconv.FormatInt(u.Size, 10), "Content-Type": u.ContentType, "If-None-Match": "*",
		"x-amz-server-side-encryption": "AES256"}
}

// receive takes the PUT of a presigned file as S3 does.
func (s *standin) receive(w http.ResponseWriter, r *http.Request) {
	if !s.admits(w, r) {
		return
	}
	s.mu.Lock()
	u := s.files["inputs/"+r.PathValue("path")]
	there := u != nil && u.arrived
	s.mu.Unlock()
	if u == nil {
		refuse(w, http.StatusForbidden, "AccessDenied", "Access Denied")
		return
	}
	if r.ContentLength < 0 {
		refuse(w, http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header.")
		return
	}
	for name, value := range u.headers() {
		got := r.Header.Get(name)
		if name == "Content-Length" { // net/http keeps it apart
			got = strconv.FormatInt(r.ContentLength, 10)
		}
		if got != value {
			refuse(w, http.StatusForbidden, "SignatureDoesNotMatch", "The signed header "+name+" is missing or not as it was signed.")
			return
		}
	}
	if there {
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
		return
	}
	sum := sha256.New()
	var data bytes.Buffer
	into := io.Writer(sum)
	if u.Size <= maxKept {
		into = io.MultiWriter(sum, &data)
	}
	if n, err := io.Copy(into, r.Body); err != nil || n != u.Size {
		refuse(w, http.StatusBadRequest, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header")
		return
	}
	if !s.arrive(u, hex.EncodeToString(sum.Sum(nil)), data.Bytes()) {
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
		return
	}
	w.Header().Set("ETag", `"`+u.SHA256[:32]+`"`)
	w.WriteHeader(http.StatusOK)
}

// arrive keeps a file that came whole. False: another PUT of it was first.
func (s *standin) arrive(u *upload, sum string, data []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.arrived {
		return false
	}
	u.arrived, u.SHA256, u.data, u.At = true, sum, data, s.now().UTC().Format(time.RFC3339Nano)
	s.uploaded = append(s.uploaded, u)
	if len(s.uploaded) > maxPresigns {
		s.uploaded = s.uploaded[1:]
	}
	s.totals.Uploads++
	held := 0
	for i := len(s.uploaded) - 1; i >= 0; i-- {
		if held += len(s.uploaded[i].data); held > maxHeld {
			s.uploaded[i].data = nil
		}
	}
	s.line(map[string]any{"event": "uploaded", "at": u.At, "upload": u})
	return true
}
