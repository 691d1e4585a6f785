// Package transfer copies what a URL serves into an S3 bucket, as fast as the
// line allows, in bounded memory, and never a wrong object.
//
//	copier := &transfer.Copier{S3: client, Origin: transfer.NewOrigin(policy), StopBefore: deadline}
//	result, err := copier.Copy(ctx, source, target, checkpoint, save)
//
// # How a copy goes
//
// Probe: one GET for the first part's range. A 206 tells the total and the ETag
// and is the first part already; a 200 means that there are no ranges; a 416,
// an empty file. HEAD is never used: a presigned GET answers it with 403.
//
// Plan: what fits into one part becomes one PutObject from that open answer. A
// longer file becomes a multipart upload, created, and handed to save, before
// its first part. Parts are of 16 MiB, more where 10,000 of them would not do.
//
// Copy: each worker leads a ranged GET straight into UploadPart. No buffer lies
// between: the length is known, the CRC32 is summed as the bytes pass and sent
// behind them. An origin that breaks off is opened again from the byte it had
// reached, unseen by S3; a request to S3 that fails is made again from the
// part's start. Every answer of the origin is held against the first: range,
// total, ETag (If-Match where it is strong, else Last-Modified), encoding.
//
// Complete: the parts' CRCs are combined into the whole's, which S3 checks, with
// the size, where it granted FULL_OBJECT. Where it did not, each part's CRC was.
//
// An origin without ranges, or with nothing that ties a range to one content, is
// read in one go through a few pooled buffers. Breaking off means beginning anew.
// So is one whose ranges turn out not to be usable: a 206 of another range, of an
// unknown total or without Content-Range, a range that is ignored later, or an
// ETag that changes from answer to answer, as where each node of a store has its
// own. What was uploaded of the ranges is aborted.
//
// # What is promised of an output that changes
//
// An object holds the bytes of one content: ranges are joined only under one
// strong ETag, or under one ETag and Last-Modified, and what they cannot be joined
// for is one answer from its first byte to its last, of the length that was
// announced. That the output was replaced while it was copied is told
// (OutputChanged) where its length, its Content-Encoding or, at each of several
// looks, its Last-Modified is another. A replacement of the same length by an
// origin that tells no time of change cannot be told from a node with ETags of its
// own: the newer content is stored then, whole. Between two calls the newer
// content always is.
//
// # What an origin's refusal is called
//
// 401, 403 and 404 are first taken for an address that has run out: a fresh one is
// asked for, and if it fares no better the output is OutputExpired. So is any
// other 4xx, but in the end it is OutputUnavailable, with the status. 408, 421,
// 425, 429 and 5xx are tried again.
//
// # Over several invocations
//
// After StopBefore no part is started; those under way end, and Copy returns
// Done false with no error. When the context's deadline cuts off what is still
// under way, the same; Stored tells whether the next call has more to build on
// than this one had. The next Copy is given the checkpoint that save stored: it
// asks S3 which parts it has and fetches the rest. An origin that has another
// file by then makes it begin anew. An object that is there already with the
// target's metadata and size is not copied again, and that is also how a second
// invocation, alive at the same time, ends: whichever completes first wins.
//
// # What is left behind
//
// Nothing runs on when Copy has returned. An error that no later call could go
// on from (the output changed, is refused, or ends at the same byte each time,
// short of what was announced) aborts its upload; after any other, a connection
// that broke or a bucket that takes no writes among them, the upload is there to
// be resumed, or for Abort when the run is closed. Idle connections belong to the
// two HTTP clients: close them there.
//
// # Clients
//
// NewOrigin makes the client for the origin, with the policy on where it may
// lead. Give the S3 client NewStoreClient as its HTTPClient: a transport with
// large writes. The S3 client's own checksum and retry settings do not matter to
// bodies, which carry their own trailer over TLS and plain HTTP alike.
//
// The package imports shared/named, shared/s3errors and shared/media, all leaves,
// and bulk, for the connections, and nothing else of the project.
package transfer
