package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/cyberun-cloud/cyberun-relay/shared/api"
)

const (
	// stallTimeout gives up a download from which nothing more comes.
	stallTimeout = time.Minute
	// maxTries bounds the tries in a row that fetch not one byte.
	maxTries = 5
)

// filesHTTP has no time-out over all, since an output can take hours; its parts
// have theirs, and a stall is seen by fetcher.
func filesHTTP() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = (&net.Dialer{Timeout: 15 * time.Second}).DialContext
	transport.ResponseHeaderTimeout = stallTimeout
	transport.DisableCompression = true // the bytes as they are stored: the CRC is theirs
	return &http.Client{Transport: transport}
}

// fetcher downloads one output, and goes on where a broken download ended.
type fetcher struct {
	app     *app
	address func(ctx context.Context, id string) (string, error) // a fresh one
	into    io.WriterAt
	output  api.Output
	fetched func(n int64) // reports how many bytes there are

	at  int64 // bytes written
	sum uint32
}

// errExpired reports a signed address that no longer serves.
var errExpired = errors.New("the address has run out")

func (f *fetcher) fetch(ctx context.Context) error {
	address, wait := f.output.URL, f.app.backoff()
	for tries := 1; ; tries++ {
		before := f.at
		err := f.once(ctx, address)
		_, isFinal := errors.AsType[*backoff.PermanentError](err)
		switch {
		case err == nil, isFinal:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case f.at > before:
			tries = 1
			wait.Reset()
		case tries >= maxTries:
			return fmt.Errorf("could not be fetched: %s", withoutURL(err))
		}
		if err := f.app.sleep(ctx, wait.NextBackOff()); err != nil {
			return err
		}
		if errors.Is(err, errExpired) {
			if address, err = f.address(ctx, f.output.ID); err != nil {
				return err
			}
		}
	}
}

// final returns an error that ends the tries: no further one would help.
func final(format string, args ...any) error { return backoff.Permanent(fmt.Errorf(format, args...)) }

// once asks for what is missing and writes what comes.
func (f *fetcher) once(ctx context.Context, address string) error {
	if f.at == f.output.Bytes && f.at > 0 {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil || request.URL.Scheme != "https" && request.URL.Scheme != "http" {
		return final("the API gave no web address to fetch it from")
	}
	if f.at > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", f.at))
		// Another version's bytes must not be joined to this one's.
		request.Header.Set("If-Match", f.output.ETag)
	}
	response, err := f.app.files.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := f.accept(response); err != nil {
		return err
	}
	stall := time.AfterFunc(stallTimeout, func() { cancel(errors.New("nothing came for " + stallTimeout.String())) })
	defer stall.Stop()
	if err := f.copy(response.Body, stall); err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	return nil
}

// accept checks that the answer goes on where the file ends; a whole one starts anew.
func (f *fetcher) accept(response *http.Response) error {
	switch response.StatusCode {
	case http.StatusOK:
		f.at, f.sum = 0, 0
		return nil
	case http.StatusPartialContent:
		var first, last, total int64
		_, err := fmt.Sscanf(response.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &total)
		if err != nil || first != f.at || total != f.output.Bytes {
			return final("the origin answered with another part than it was asked for")
		}
		return nil
	case http.StatusForbidden, http.StatusUnauthorized:
		return errExpired
	case http.StatusPreconditionFailed:
		return final("has changed in S3 since the run ended")
	case http.StatusNotFound, http.StatusGone:
		return final("is not in S3 any more")
	}
	return fmt.Errorf("S3 answered %s", response.Status)
}

// copy never writes more than the manifest says there is: a disk could fill.
func (f *fetcher) copy(body io.Reader, stall *time.Timer) error {
	buffer := make([]byte, 128<<10)
	for {
		n, err := body.Read(buffer)
		stall.Reset(stallTimeout)
		if f.at+int64(n) > f.output.Bytes {
			return final("is larger in S3 than the %d bytes of the manifest", f.output.Bytes)
		}
		if _, err := f.into.WriteAt(buffer[:n], f.at); err != nil {
			return final("%v", err)
		}
		f.sum = crc32.Update(f.sum, crc32.IEEETable, buffer[:n])
		f.at += int64(n)
		f.fetched(f.at)
		switch {
		case errors.Is(err, io.EOF) && f.at < f.output.Bytes:
			return io.ErrUnexpectedEOF
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}
