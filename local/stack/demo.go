package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// demonstrate is `make run`: the stack up, one workflow through the HTTP API
// with the command line, what landed, and what to try next.
func demonstrate(ctx context.Context, o Options) error {
	if err := up(ctx, o); err != nil {
		return err
	}
	st, err := load(o)
	if err != nil {
		return err
	}
	s := &Stack{Opt: o, State: st}
	s.connect()
	relay := filepath.Join(o.Root, "bin", "relay")
	args := []string{"run", o.Workflow, "-p", "prompt=" + o.Prompt, "--watch", "--out", o.Out}
	fmt.Printf("\n$ relay run %s -p prompt=%q --watch --out %s\n", o.Workflow, o.Prompt, o.Out)
	cmd := exec.CommandContext(ctx, relay, args...)
	cmd.Env = append(foreign(os.Environ()), st.env(o.file("stack.json"))...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("relay run: %w (the stack is still up: `make logs` shows why, `make down` ends it)", err)
	}
	if err := s.listOutputs(ctx); err != nil {
		return err
	}
	fmt.Print(next)
	return nil
}

const next = `
The stack is still up. To try next:

  source .local/env
  bin/relay workflows                    what can be run
  bin/relay run text-to-image@2 -p prompt="a lighthouse in a storm" --watch --out out
  bin/relay list
  bin/relay call vllm /v1/models         a container service
  make logs                              what the functions logged
  make down                              stop everything
`

// listOutputs shows the bucket, oldest first: the manifest is the newest of its run.
func (s *Stack) listOutputs(ctx context.Context) error {
	bucket := s.State.Outputs["OutputBucket"]
	list, err := s.s3().ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket})
	if err != nil {
		return err
	}
	sortByTime(list.Contents)
	fmt.Printf("\ns3://%s\n", bucket)
	for _, object := range list.Contents {
		fmt.Printf("  %s %12d  %s\n", object.LastModified.UTC().Format("2006-01-02 15:04:05"), *object.Size, *object.Key)
	}
	return nil
}

func sortByTime(objects []types.Object) {
	slices.SortStableFunc(objects, func(a, b types.Object) int { return a.LastModified.Compare(*b.LastModified) })
}
