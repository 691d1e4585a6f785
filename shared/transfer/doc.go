// Package transfer copies what a URL serves into an S3 bucket, as fast as the
// line allows, in bounded memory, and never a wrong object.
//
// [Copier.Copy] is the way in. [NewOrigin] makes its client for the server of the
// URL (the origin), [NewStoreClient] the one to give the S3 client as HTTPClient. The
// URL is signed: it stays a [redact.SignedURL] up to the request, and [redact.Error]
// takes it out of every error of net/http and the SDK.
//
// # How a copy goes
//
// Probe: one GET for the first part's range. A 206 tells the total and the ETag
// and is the first part already; a 200 means that there are no ranges; a 416, an
// empty file. HEAD is never used: a presigned GET answers it with 403.
//
// Copy: what fits into one part becomes one PutObject from that open answer. A
// longer file becomes a multipart upload, handed to save before its first part, of
// parts of 16 MiB, or more where 10,000 of them would not do. Each worker leads a
// ranged GET straight into UploadPart, with no buffer between: the length is known,
// the CRC32 is summed as the bytes pass and sent behind them. An origin that breaks
// off is opened again from the byte it had reached, unseen by S3; a request to S3
// that fails is made again from the part's start. Every answer of the origin is
// compared with the first: range, total, ETag (If-Match where it is strong, else
// Last-Modified), encoding.
//
// Complete: the parts' CRCs are combined into the whole's, which S3 checks, with
// the size, where it granted FULL_OBJECT. Where it did not, it checked each part's.
//
// An origin without ranges, or with nothing that ties a range to one content, is
// read in one stream through a few pooled buffers, and again from its start if it
// breaks off. So is one whose ranges turn out not to be usable: a 206 of another
// range, of an unknown total or without Content-Range, a range that is ignored
// later, or an ETag that changes from answer to answer, as where each node of a
// store has its own. What was uploaded of the ranges is aborted.
//
// # What is promised of an output that changes
//
// An object holds the bytes of one content: ranges are joined only under one
// strong ETag, or under one ETag and Last-Modified, and where they cannot be
// joined the object is one answer from its first byte to its last, of the length
// that was announced. OutputChanged says that the output was replaced while it was
// copied. That is seen by its length, its Content-Encoding or, at each of several
// answers, its Last-Modified. A replacement of the same length by an origin that
// tells no time of change cannot be told from a node with an ETag of its own: the
// newer content is stored then, whole. Between two calls the newer content always
// is.
//
// # What an origin's refusal is called
//
// 401, 403 and 404 are first taken for a URL that has run out: a fresh one is
// asked for, and if that fares no better the output is OutputExpired. So is any
// other 4xx, but in the end it is OutputUnavailable, with the status. 408, 421,
// 425, 429 and 5xx are tried again.
//
// # Over several calls
//
// After StopBefore no part is started; those under way end, and Copy returns
// without Done and without an error. When the context's deadline cuts off what is
// still under way, the same; [Result].Stored tells whether the next call has more
// to resume than this one had. The next Copy is given the checkpoint that save
// stored: it asks S3 which parts it has and fetches the rest. If the origin has
// another file by then it starts again. An object that is there already with the
// target's metadata and size is not copied again, and that is also how a second
// call, alive at the same time, ends: whichever completes first wins.
//
// # What is left behind
//
// Nothing runs on when Copy has returned. An error that no later call could resume
// from (the output changed, is refused, or ends at the same byte each time, short
// of what was announced) aborts its upload; after any other, a connection that
// broke or a bucket that takes no writes among them, the upload is there to be
// resumed, or for [Abort] when the run is closed. Idle connections belong to the
// two HTTP clients: close them there.
//
// # The files, from the top
//
// A file uses what stands below it, never what stands above:
//
//	the call      copier.go        Copier, Source, Target: Copy
//	              run.go           resumes, starts again, chooses the way
//	the ways      multipart.go     in parts, each from a range
//	              stream.go        from one answer, through buffers
//	              job.go           what both share: one output in one call
//	the origin    rangereader.go   the bytes of a range, as one stream
//	              origin.go        one GET, with a URL that is refreshed
//	              response.go      is it what was asked for, and of the same output
//	              filename.go      what the file is called
//	the store     object.go        PutObject, and the object that is there already
//	              upload.go        a multipart upload and its Checkpoint: UploadPart
//	              send.go          one request with a body, until it is stored
//	              chunkedbody.go   the body: framed, summed, with its trailer
//	              store.go         requests without a body; S3's errors
//	connections   client.go        NewOrigin, NewStoreClient
//	              policy.go        which servers may be reached
//	values        result.go, remote.go, ranges.go, url.go, budget.go, retry.go,
//	              errors.go, crc32.go
//
// Of the project the package imports leaves alone: shared/named, redact, retryafter,
// s3errors, media, and its own bulk, for the connections.
package transfer
