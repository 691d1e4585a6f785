package transfer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

// One call copies for up to ten minutes. If it is not done by then, the next run
// of the program resumes the upload from the checkpoint file.
func ExampleCopier_Copy() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		log.Fatal(err)
	}
	copier := &transfer.Copier{
		S3:         s3.NewFromConfig(cfg, func(o *s3.Options) { o.HTTPClient = transfer.NewS3Client() }),
		Origin:     transfer.NewRestrictedClient(transfer.Policy{Hosts: []string{"*.example.com"}}),
		StopBefore: time.Now().Add(9*time.Minute + 30*time.Second),
	}
	source := transfer.Source{
		URL: "https://files.example.com/out/film.mp4?signature=…",
		Refresh: func(context.Context) (redact.SignedURL, error) {
			return "https://files.example.com/out/film.mp4?signature=…", nil // ask the service for a fresh one
		},
	}
	target := transfer.Target{
		Bucket:   "my-bucket",
		Key:      func(r transfer.OriginFile) string { return "films/" + r.Name },
		Metadata: map[string]string{"film-id": "1"}, // tells this output from any other
	}
	var from *transfer.Checkpoint
	if saved, err := os.ReadFile("checkpoint.json"); err == nil {
		if err := json.Unmarshal(saved, &from); err != nil {
			log.Fatal(err)
		}
	}
	result, err := copier.Copy(ctx, source, target, from, func(_ context.Context, cp transfer.Checkpoint) error {
		saved, err := json.Marshal(cp)
		if err != nil {
			return err
		}
		return os.WriteFile("checkpoint.json", saved, 0o600)
	})
	switch {
	case err != nil:
		log.Fatal(err)
	case !result.Done:
		fmt.Println("not done yet; stored", result.Stored, "bytes more")
	default:
		fmt.Printf("s3://%s/%s: %d bytes, CRC32 %08x\n", target.Bucket, result.Key, result.Bytes, result.CRC32)
	}
}
