package transfer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// origin is one output at the server that holds it.
type origin struct {
	client         *http.Client
	now            func() time.Time
	url            refreshableURL
	retry          retryPolicy
	stall          time.Duration // without a byte, after which a connection is given up
	maxTruncations int           // at one byte, after which the output is taken to end there
	truncations    truncations
	fetched        atomic.Int64 // bytes, for Result.Fetched
}

// refreshableURL is a signed URL that runs out and is then asked for again: once,
// for all the parts that are refused at the same time.
type refreshableURL struct {
	refresh func(context.Context) (redact.SignedURL, error) // nil: there is no other

	mu         sync.Mutex
	url        redact.SignedURL
	generation int // how often it was refreshed
}

func (u *refreshableURL) current() (redact.SignedURL, int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.url, u.generation
}

// renew asks for a fresh URL unless the one of that generation has been replaced
// already. It must not be called without refresh.
func (u *refreshableURL) renew(ctx context.Context, generation int) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.generation != generation {
		return nil
	}
	fresh, err := u.refresh(ctx)
	if err != nil {
		return err
	}
	u.url = fresh
	u.generation++
	return nil
}

// open sends one GET, and further ones with a fresh URL while the origin refuses
// the old one. The answer has been compared with known, unless that is nil.
func (o *origin) open(ctx context.Context, want byteRange, known *OriginFile) (*http.Response, OriginFile, error) {
	_, first := o.url.current()
	for {
		url, generation := o.url.current()
		resp, err := o.get(ctx, url, want, known)
		if err != nil {
			return nil, OriginFile{}, err
		}
		file, err := checkResponse(resp, o.now(), want, known)
		if err == nil {
			return resp, file, nil
		}
		_ = resp.Body.Close() // unread: a rest may be long, or never come
		refused, ok := errors.AsType[*refusedError](err)
		if !ok {
			return nil, OriginFile{}, err
		}
		if generation > first+1 || o.url.refresh == nil { // even a fresh one is refused
			return nil, OriginFile{}, refused.named()
		}
		if err := o.url.renew(ctx, generation); err != nil {
			return nil, OriginFile{}, err
		}
	}
}

func (o *origin) get(ctx context.Context, url redact.SignedURL, want byteRange, known *OriginFile) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, browserURL(string(url)), nil)
	if err != nil { // it quotes the URL
		return nil, named.Errorf(named.OriginRefused, "the download address is not a valid URL")
	}
	req.Header.Set("Accept-Encoding", "identity")
	if !want.whole {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", want.from, want.to-1))
	}
	if known != nil && !want.whole && strongETag(known.ETag) != "" {
		req.Header.Set("If-Match", known.ETag)
	}
	resp, err := o.client.Do(req)
	if err != nil {
		if refused, ok := named.As(err); ok { // by the Policy
			return nil, refused
		}
		return nil, &transientError{err: fmt.Errorf("the origin %s: %w", req.URL.Host, redact.Error(err))}
	}
	return resp, nil
}

// truncations counts, over all the parts of an output, how often it ended early at
// the same byte. That tells a file that is shorter than announced, which ends
// there each time, from an origin that breaks off here and there.
type truncations struct {
	mu sync.Mutex
	at map[int64]int
}

// record counts one more at that byte and returns how many there are.
func (t *truncations) record(at int64) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at == nil {
		t.at = map[int64]int{}
	}
	t.at[at]++
	return t.at[at]
}

// clear forgets those at a byte that came after all.
func (t *truncations) clear(at int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.at, at)
}
