package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

// The report gives the transfer manager's defaults, which it doesn't export.
func TestTransferManagerDefaults(t *testing.T) {
	options := reflect.ValueOf(transfermanager.New(nil)).Elem().FieldByName("options")
	part, atOnce := options.FieldByName("PartSizeBytes").Int(), options.FieldByName("Concurrency").Int()
	if part != transferManagerPart || atOnce != transferManagerAtOnce {
		t.Errorf("the transfer manager's defaults are %d bytes, %d at once: the report says %d, %d", part, atOnce, transferManagerPart, transferManagerAtOnce)
	}
}

// The titles say 16 MiB × 8, in the report and in the plot.
func TestTunedTitles(t *testing.T) {
	want := fmt.Sprintf(", %s × %d", sizeName(transfer.DefaultPartSize), transfer.DefaultConnections)
	for _, name := range everyoneTuned {
		if strings.HasSuffix(name, "-tuned") && !strings.HasSuffix(titles[name], want) {
			t.Errorf("%s is called %q", name, titles[name])
		}
		if titles[name] == "" {
			t.Errorf("%s has no title", name)
		}
	}
}

// gate is a sink that takes no part before so many are sent at once.
type gate struct {
	*sink
	mu     sync.Mutex
	parts  map[string]bool
	atOnce int
	open   chan struct{}
	ended  <-chan struct{}
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if number := r.URL.Query().Get("partNumber"); number != "" {
		g.mu.Lock()
		g.parts[number] = true
		if len(g.parts) == g.atOnce {
			close(g.open)
		}
		g.mu.Unlock()
		select {
		case <-g.open:
		case <-g.ended: // the request's context ends only once its body is read
			return
		}
	}
	g.sink.ServeHTTP(w, r)
}

// Each contestant in Go sends as many parts, and as many at once, as the report says.
func TestPartsAtOnce(t *testing.T) {
	block := makeBlock()
	from := httptest.NewServer(&origin{block: block})
	defer from.Close()
	const size = 130 * mib
	for _, test := range []struct {
		name          string
		atOnce, parts int
	}{
		{"ours", 1, 9}, // its first part is the probe's answer, which must flow before the others
		{"manager", managerAtOnce, 26},
		{"manager-tuned", 8, 9},
		{"transfermanager", transferManagerAtOnce, 17},
		{"transfermanager-tuned", 8, 9},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // fewer at once wait for ever
			defer cancel()
			g := &gate{sink: newSink(), parts: map[string]bool{}, atOnce: test.atOnce, open: make(chan struct{}), ended: ctx.Done()}
			to := httptest.NewServer(g)
			defer to.Close()
			warm, managerClient = clientPair{}, nil // another sink than the last one's
			if err := contestants()[test.name](ctx, fmt.Sprintf("%s/%d", from.URL, size), to.URL, "object", size); err != nil {
				t.Fatal(err)
			}
			to.Close() // waits for what is still being answered
			if len(g.parts) != test.parts {
				t.Errorf("%d parts, want %d", len(g.parts), test.parts)
			}
			want := stored{Bytes: size, CRC32: crcOf(block, size)}
			if got := g.objects[bucket+"/object"]; got != want {
				t.Errorf("stored %+v, want %+v", got, want)
			}
		})
	}
}
