package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// urlLifetime is the documented hour.
const urlLifetime = time.Hour

// taskOutput is what a completed task says of its outputs.
func (s *standin) taskOutput(t *task) map[string]any {
	list := s.outputs(t)
	said := map[string]any{}
	lone := 0
	for _, o := range list {
		if o.lone {
			lone++
			said["storage_key"] = o.storageKey(t)
		}
		if o.id != "" {
			said[o.id] = map[string]any{"s3_key": o.storageKey(t)}
		}
	}
	if lone > 0 {
		said["image_count"] = lone
	}
	return said
}

func (s *standin) getResult(w http.ResponseWriter, r *http.Request) {
	t := s.lookup(w, r)
	if t == nil {
		return
	}
	s.mu.Lock()
	_, here := t.at(s.now())
	s.mu.Unlock()
	if !terminal(here.status) {
		fail(w, http.StatusConflict, "task_not_finished", "the task is "+here.status+": its result comes when it has ended")
		return
	}
	result := map[string]any{"id": t.id, "task_status": here.status, "task_output": nil, "download_url": nil, "download_urls": nil,
		"expires_at": nil, "task_error": nil, "completed_at": stamp(t.created.Add(here.at))}
	switch here.status {
	case "failed":
		result["task_error"] = here.message
	case "completed":
		life := urlLifetime
		if a, ok := faultsOf(r).find("url_lifetime"); ok {
			life = a.wait()
		}
		result["task_output"] = s.taskOutput(t)
		s.addURLs(result, r, t, life)
	}
	reply(w, http.StatusOK, result)
}

func (s *standin) addURLs(result map[string]any, r *http.Request, t *task, life time.Duration) {
	if _, none := t.fault("no_outputs"); none {
		return
	}
	many := map[string]string{}
	for _, o := range s.outputs(t) {
		minted := s.mint(http.MethodGet, r.Host, "/bucket/"+o.storageKey(t), life)
		if o.id != "" {
			many[o.id] = minted
		}
		if o.lone {
			result["download_url"] = minted
			if o.id != "" { // the same file need not be the same text
				result["download_url"] = minted + "&x-id=GetObject"
			}
		}
	}
	if len(many) > 0 {
		result["download_urls"] = many
	}
	result["expires_at"] = stamp(s.now().Add(life))
}

const amzTime = "20060102T150405Z"

// mint makes a URL that lets its bearer do one thing for a while, shaped as S3's are.
func (s *standin) mint(method, host, path string, life time.Duration) string {
	s.mu.Lock()
	epoch := strconv.Itoa(s.epoch)
	s.mu.Unlock()
	at := s.now().UTC().Format(amzTime)
	query := url.Values{"X-Amz-Algorithm": {"AWS4-HMAC-SHA256"}, "X-Amz-Credential": {"standin/" + at[:8] + "/local/s3/aws4_request"},
		"X-Amz-Date": {at}, "X-Amz-Expires": {strconv.Itoa(int(life.Seconds()))}, "X-Amz-SignedHeaders": {signedHeaders(method)}, "X-Amz-Security-Token": {epoch}}
	query.Set("X-Amz-Signature", s.sign(method, path, query))
	return (&url.URL{Scheme: "http", Host: host, Path: path, RawQuery: query.Encode()}).String()
}

func signedHeaders(method string) string {
	if method == http.MethodPut {
		return "content-length;content-type;host;if-none-match;x-amz-server-side-encryption"
	}
	return "host"
}

func (s *standin) sign(method, path string, query url.Values) string {
	mac := hmac.New(sha256.New, s.secret)
	for _, part := range []string{method, path, query.Get("X-Amz-Date"), query.Get("X-Amz-Expires"), query.Get("X-Amz-Security-Token"), query.Get("X-Amz-SignedHeaders")} {
		fmt.Fprintf(mac, "%q\n", part)
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// admits checks a presigned URL and answers as S3 where it is not good.
func (s *standin) admits(w http.ResponseWriter, r *http.Request) bool {
	query := r.URL.Query()
	if query.Get("X-Amz-Signature") == "" {
		refuse(w, http.StatusForbidden, "AccessDenied", "Access Denied")
		return false
	}
	// HEAD fails here: the method is part of what was signed.
	if !hmac.Equal([]byte(query.Get("X-Amz-Signature")), []byte(s.sign(r.Method, r.URL.Path, query))) {
		refuse(w, http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
		return false
	}
	s.mu.Lock()
	current := query.Get("X-Amz-Security-Token") == strconv.Itoa(s.epoch)
	s.mu.Unlock()
	at, errAt := time.Parse(amzTime, query.Get("X-Amz-Date"))
	life, errLife := strconv.Atoi(query.Get("X-Amz-Expires"))
	if !current || errAt != nil || errLife != nil || s.now().After(at.Add(time.Duration(life)*time.Second)) {
		refuse(w, http.StatusForbidden, "AccessDenied", "Request has expired")
		return false
	}
	return true
}

// refuse answers with S3's XML.
func refuse(w http.ResponseWriter, status int, code, message string) {
	body, _ := xml.Marshal(struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		RequestID string `xml:"RequestId"`
	}{Code: code, Message: message, RequestID: "STANDIN"}) // strings alone: cannot fail
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	w.Write(append([]byte(xml.Header), body...))
}

// download serves one output to whoever holds its URL.
func (s *standin) download(w http.ResponseWriter, r *http.Request) {
	if !s.admits(w, r) {
		return
	}
	s.mu.Lock()
	t := s.tasks[r.PathValue("task")]
	s.mu.Unlock()
	if t == nil {
		refuse(w, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
		return
	}
	if a, old := t.fault("old_output"); old {
		code := map[int]string{http.StatusNotFound: "NoSuchKey", http.StatusForbidden: "AccessDenied"}[a.Status]
		refuse(w, a.Status, code, "The object is no longer kept.")
		return
	}
	for _, o := range s.outputs(t) {
		if o.path == r.PathValue("path") {
			s.send(w, r, t, o)
			return
		}
	}
	refuse(w, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
}

func (s *standin) send(w http.ResponseWriter, r *http.Request, t *task, o output) {
	content, err := s.content(t, o)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "InternalError", err.Error())
		return
	}
	if _, ok := faultsOf(r).find("change_etag"); ok {
		content = content.changed()
	}
	if _, ok := faultsOf(r).find("gzip"); ok {
		if content, err = content.gzipped(); err != nil {
			refuse(w, http.StatusInternalServerError, "InternalError", err.Error())
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
	}
	head := w.Header()
	head.Set("ETag", content.etag)
	head.Set("Content-Type", o.contentType)
	head.Set("Server", "AmazonS3")
	head.Set("X-Amz-Request-Id", "STANDIN")
	asked := r.Header.Get("Range")
	if content.size == 0 && asked != "" { // where net/http answers 200, S3 does not
		head.Set("Content-Range", "bytes */0")
		refuse(w, http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The requested range is not satisfiable")
		return
	}
	if strings.Contains(asked, ",") {
		r.Header.Del("Range") // S3 knows no several ranges: it sends the whole
	}
	if _, ok := faultsOf(r).find("ignore_range"); !ok {
		head.Set("Accept-Ranges", "bytes")
	}
	if match := r.Header.Get("If-Match"); match != "" && match != "*" && match != content.etag {
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
		return
	}
	s.mu.Lock()
	_, end := t.at(s.now())
	s.mu.Unlock()
	http.ServeContent(wide{w}, r, "", t.created.Add(end.at), content.open())
}
