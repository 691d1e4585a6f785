// Package transfer copies what a URL serves into an S3 object, over many connections
// and in bounded memory. An object is stored whole, with the bytes of one content, or
// not at all.
//
// [Copier.Copy] copies one output. The server of its URL is called the origin here:
// [NewRestrictedClient] makes the HTTP client for it, and [NewS3Client] the HTTPClient of the
// S3 client. The URL is signed: it is a [redact.SignedURL] until the request is made,
// and [redact.Error] removes it from every error of net/http and the SDK.
//
// # How a copy goes
//
// Probe: one GET for the range of the first part. A 206 has the total and the ETag,
// and its body is the first part; a 200 says that the origin has no ranges; a 416, that
// the file is empty. The origin is never asked with HEAD: a URL that is presigned for
// GET answers it with 403.
//
// Copy: an output of at most one part is stored by one PutObject, whose body is that of
// the probe's answer. A longer output becomes a multipart upload of parts of 16 MiB, or
// larger ones where 10,000 parts, S3's limit, would not do. Its checkpoint is given to
// save before the first part. The body of each part's GET is passed on to
// UploadPart, with no buffer in between: the length is known before, and the CRC32,
// which is summed as the bytes pass, follows them. If the connection to the origin
// breaks, another GET continues at the byte that was reached, within the same request
// to S3. A request to S3 that fails is made again from the start of its part. Every
// answer of the origin is compared with the first: range, total, ETag (by If-Match if
// it is strong, else by Last-Modified), encoding.
//
// Complete: the CRC32 of the whole is combined from those of the parts. If S3 granted
// the checksum type FULL_OBJECT it checks that and the size; if not, it has checked the
// CRC32 of each part.
//
// An origin without ranges, or without an ETag or Last-Modified that ties a range to
// one content, is read in one stream through a few pooled buffers, and again from its
// start if it breaks off. So is one whose ranges turn out not to be usable: a 206 of
// another range, of an unknown total or without Content-Range, a range that is ignored
// later, or an ETag that changes from answer to answer, as with object storage each node of
// which has its own. The upload of the ranges is aborted then.
//
// # An output that changes
//
// An object has the bytes of one content. Ranges are joined only under one strong ETag,
// or under one ETag and Last-Modified; otherwise the object is one answer of the origin,
// from its first byte to its last, of the announced length. OutputChanged says that the
// output was replaced while it was copied, which its length, its Content-Encoding or, in
// several answers, its Last-Modified shows. Without a Last-Modified, a replacement of
// the same length looks like another node of the storage with an ETag of its own: the
// newer content is stored then, whole. If an output is replaced between two calls, the
// newer content is stored as well.
//
// # When the origin refuses
//
// 408, 421, 425, 429 and 5xx are tried again. A 412 or a 416 says that the output has
// changed or has no such range. After any other 4xx, which may mean that the URL has
// expired, up to two fresh URLs are asked for. If the origin refuses both, the error is
// OutputExpired after a 401, 403 or 404, and OutputUnavailable with the status after
// any other.
//
// # Over several calls
//
// From StopBefore on no part is started. Those that are being copied end, and Copy
// returns without Done and without an error. It returns the same if StopBefore is set
// and the context's deadline cuts parts off; [Result].Stored says how many bytes this
// call has stored that the next one need not fetch. The next Copy gets the checkpoint
// that save stored, asks S3 which parts it has, and copies the others. If the origin
// has another file by then it starts again. An object that is there already, with the
// target's metadata and size, is not copied again. That also ends one of two calls that
// copy the same output at the same time: the one that completes the object first wins.
//
// # What is left behind
//
// No goroutine is left when Copy returns, and no multipart upload after an error of the
// output itself, since no later call could resume it. After any other error, such as a
// broken connection or a bucket that takes no writes, the multipart upload stays, for a
// later Copy or for [Abort]. The idle connections of the two HTTP clients stay open until
// these are told to close them.
//
// # The files, from the top
//
// A file uses what stands below it, never what stands above:
//
//	the call      copier.go        Copier, Source, Target, Result: Copy
//	              copy.go          resumes, starts again, chooses the way
//	the ways      multipart.go     in parts, each from a range
//	              stream.go        from one answer, through buffers
//	              outputcopy.go    what both share: one output in one call
//	the origin    rangereader.go   the bytes of a range, as one io.Reader
//	              origin.go        one GET, with a URL that is refreshed
//	              response.go      OriginFile: is it what was asked for, and of the same output
//	              filename.go      what the file is called
//	the bucket    object.go        PutObject, and the object that is there already
//	              upload.go        a multipart upload and its Checkpoint: UploadPart
//	              send.go          one request with a body, until it is stored
//	              chunkedbody.go   the body: framed, summed, with its trailer
//	              bucket.go        requests without a body; S3's errors
//	connections   client.go        NewRestrictedClient, NewS3Client
//	              policy.go        which servers may be reached
//	values        ranges.go, url.go, pool.go, retry.go, crc32.go
//
// Of the project the package imports shared/named, redact, retryafter, s3errors and
// media, and its own bulk for the connections.
package transfer
