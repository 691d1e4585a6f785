package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/pprof"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
	"golang.org/x/sync/errgroup"
)

// contestant copies origin's file into the sink. Those in Go run inside this
// program, started anew for each measurement; it copies the file repeat times
// and prints how long each took.
type contestant func(ctx context.Context, from, sink, key string, size int64) error

func contestants() map[string]contestant {
	return map[string]contestant{
		"ours": ours, "manager": sdkManager(0, 0), "transfermanager": sdkTransferManager(0, 0),
		"manager-tuned": sdkManager(limitPart, limitConn), "transfermanager-tuned": sdkTransferManager(limitPart, limitConn),
		"get": limitGet(limitConn), "put": limitPut(limitConn), "get1": limitGet(1), "put1": limitPut(1), "both": bothAtOnce,
	}
}

func runContestant(args []string) error {
	if len(args) != 6 {
		return errors.New("usage: run NAME URL SINK KEY SIZE REPEAT")
	}
	size, err := strconv.ParseInt(args[4], 10, 64)
	if err != nil {
		return err
	}
	repeat, err := strconv.Atoi(args[5])
	if err != nil {
		return err
	}
	if file := os.Getenv("BENCH_PROFILE"); file != "" {
		out, err := os.Create(file)
		if err != nil {
			return err
		}
		defer out.Close()
		if err := pprof.StartCPUProfile(out); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	if args[0] == "put" || args[0] == "put1" || args[0] == "both" {
		memory = makeBlock() // before the clock starts
	}
	for i := range repeat {
		begun := time.Now()
		if err := contestants()[args[0]](context.Background(), args[1], args[2], args[3]+suffix(i), size); err != nil {
			return err
		}
		fmt.Println(time.Since(begun).Seconds())
	}
	return nil
}

func suffix(i int) string {
	if i == 0 {
		return ""
	}
	return "-" + strconv.Itoa(i)
}

const bucket = "bench"

func client(sink string, httpClient s3.HTTPClient) *s3.Client {
	return s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: &sink, UsePathStyle: true, HTTPClient: httpClient,
		Credentials:                credentials.NewStaticCredentialsProvider("local", "locallocal", ""),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
	})
}

// clientPair has what a warm function keeps between calls.
type clientPair struct {
	origin *http.Client
	store  *s3.Client
}

var (
	warm          clientPair
	managerClient *s3.Client
	memory        []byte
)

func warmClients(sink string) clientPair {
	if warm.store == nil {
		warm = clientPair{
			origin: transfer.NewRestrictedClient(transfer.Policy{AllowInsecure: true}),
			store:  client(sink, transfer.NewS3Client()),
		}
	}
	return warm
}

func ours(ctx context.Context, from, sink, key string, size int64) error {
	w := warmClients(sink)
	copier := &transfer.Copier{S3: w.store, Origin: w.origin}
	target := transfer.Target{
		Bucket: bucket, Key: func(transfer.OriginFile) string { return key },
		Metadata: map[string]string{"cyberun-run-id": "bench", "cyberun-output-id": key},
	}
	res, err := copier.Copy(ctx, transfer.Source{URL: redact.SignedURL(from)}, target, nil, nil)
	if err == nil && (!res.Done || res.Bytes != size) {
		err = fmt.Errorf("copied %d of %d bytes", res.Bytes, size)
	}
	return err
}

// open is how the SDK's managers are usually fed: one GET, its body the upload's.
func open(ctx context.Context, from string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(req)
}

func plainClient(sink string) *s3.Client {
	if managerClient == nil {
		managerClient = client(sink, nil)
	}
	return managerClient
}

// sdkManager is the SDK's upload manager; 0 and 0 are its defaults.
func sdkManager(partSize int64, atOnce int) contestant {
	return func(ctx context.Context, from, sink, key string, _ int64) error {
		resp, err := open(ctx, from)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		//lint:ignore SA1019 what the world still runs, superseded or not
		uploader := manager.NewUploader(plainClient(sink), func(u *manager.Uploader) {
			if partSize > 0 {
				u.PartSize, u.Concurrency = partSize, atOnce
			}
		})
		//lint:ignore SA1019 as above
		_, err = uploader.Upload(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: resp.Body})
		return err
	}
}

// sdkTransferManager is what supersedes it; 0 and 0 are its defaults.
func sdkTransferManager(partSize int64, atOnce int) contestant {
	return func(ctx context.Context, from, sink, key string, _ int64) error {
		resp, err := open(ctx, from)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		client := transfermanager.New(plainClient(sink), func(o *transfermanager.Options) {
			o.PartSizeBytes, o.Concurrency = partSize, atOnce
		})
		_, err = client.UploadObject(ctx, &transfermanager.UploadObjectInput{Bucket: aws.String(bucket), Key: &key, Body: resp.Body})
		return err
	}
}

// The SDK's defaults, for the report. The transfer manager's are not exported: a
// test holds them against it.
const (
	managerPart           = manager.DefaultUploadPartSize
	managerAtOnce         = manager.DefaultUploadConcurrency
	transferManagerPart   = 8 << 20
	transferManagerAtOnce = 5
)

const (
	limitPart = transfer.DefaultPartSize // as ours, so that the limit is the machine's and not the parts'
	limitConn = transfer.DefaultConnections
)

// limitGet reads the file's ranges to nowhere: what the origin and this machine
// can give.
func limitGet(connections int) contestant {
	return func(ctx context.Context, from, _, _ string, size int64) error {
		return getAll(ctx, connections, from, size)
	}
}

func getAll(ctx context.Context, connections int, from string, size int64) error {
	httpClient := transfer.NewRestrictedClient(transfer.Policy{AllowInsecure: true})
	return inParts(ctx, connections, size, func(ctx context.Context, start, length int64) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", start, start+length-1))
		resp, err := httpClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, make([]byte, 128<<10))
		if err == nil && n != length {
			err = io.ErrUnexpectedEOF
		}
		return err
	})
}

// limitPut writes parts from memory, unsigned and unsummed: what the sink and
// this machine can take.
func limitPut(connections int) contestant {
	return func(ctx context.Context, _, sink, key string, size int64) error {
		return putAll(ctx, connections, sink, key, size)
	}
}

func putAll(ctx context.Context, connections int, sink, key string, size int64) error {
	httpClient := transfer.NewS3Client()
	return inParts(ctx, connections, size, func(ctx context.Context, start, length int64) error {
		body := &patternReader{block: memory, start: start, size: length}
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, fmt.Sprintf("%s/%s/%s-%d", sink, bucket, key, start), io.NopCloser(body))
		if err != nil {
			return err
		}
		req.ContentLength = length
		resp, err := httpClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("PUT: HTTP %d", resp.StatusCode)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	})
}

// bothAtOnce does the two at once, with nothing between them: what the machine
// does for the same traffic when nothing is passed on. A reference and no
// limit: copies have been faster.
func bothAtOnce(ctx context.Context, from, sink, key string, size int64) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return getAll(ctx, limitConn, from, size) })
	group.Go(func() error { return putAll(ctx, limitConn, sink, key, size) })
	return group.Wait()
}

func inParts(ctx context.Context, connections int, size int64, do func(ctx context.Context, start, length int64) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(connections)
	for start := int64(0); start < size; start += limitPart {
		group.Go(func() error { return do(ctx, start, min(limitPart, size-start)) })
	}
	return group.Wait()
}
