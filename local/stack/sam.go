package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// buildFlags make the binaries a third as large. -buildvcs=false: the same
// source gives the same bytes, whatever the commit.
const buildFlags = `-trimpath -buildvcs=false "-ldflags=-s -w" -tags=lambda.norpc`

// artifacts is where SAM puts what it deploys.
const artifacts = "sam-artifacts"

func (s *Stack) samEnv() []string {
	return append(foreign(os.Environ()),
		"AWS_ENDPOINT_URL="+s.State.Endpoint,
		"AWS_ACCESS_KEY_ID="+localID, "AWS_SECRET_ACCESS_KEY="+localID,
		"AWS_DEFAULT_REGION="+region, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull,
		"SAM_CLI_TELEMETRY=0", "SAM_CLI_POLL_DELAY=0.2",
		"__SAM_CLI_APP_DIR="+s.Opt.shared("sam"), // not the home folder
		"GOOS=linux", "GOARCH="+runtime.GOARCH, "GOFLAGS="+buildFlags,
		"CGO_ENABLED=0") // else a binary asks for this machine's C library
}

func (s *Stack) buildDir(key string) string { return s.Opt.shared("build/" + key) }

// build runs `sam build`, unless these sources have been built before.
func (s *Stack) build(ctx context.Context) error {
	for {
		key, err := s.sources()
		if err != nil {
			return err
		}
		s.State.Sources = key
		if _, err := os.Stat(filepath.Join(s.buildDir(key), "template.yaml")); err == nil {
			return nil
		}
		if err := s.buildAs(ctx, key); err != nil {
			return err
		}
	}
}

// buildAs keeps what it built under this key, unless somebody edited the
// sources meanwhile: then nobody knows what was built.
func (s *Stack) buildAs(ctx context.Context, key string) error {
	dir := s.buildDir(key)
	if err := ensureDir(dir); err != nil {
		return err
	}
	// First the compiler itself: SAM hides what it says, and runs it once for each function.
	if err := s.tool(ctx, "go-build", s.samEnv(), "go", "build", "./functions/..."); err != nil {
		return err
	}
	// Built aside and renamed: a build that was cut short is never taken for a whole one.
	aside := dir + "-" + random()
	defer os.RemoveAll(aside)
	if err := s.tool(ctx, "sam-build", s.samEnv(), s.Opt.tool("sam", "sam"), "build", "--template-file", "template.yaml",
		"--build-dir", aside, "--parallel", "--parameter-overrides", "Architecture="+architecture()); err != nil {
		return err
	}
	if after, err := s.sources(); err != nil || after != key {
		return err
	}
	s.pruneBuilds()
	if err := os.Rename(aside, dir); err != nil && !os.IsExist(err) {
		return err
	}
	return nil
}

// keyLength: enough of a hash to tell some builds apart.
const keyLength = 16

// keptBuilds: the last ones, for going back and forth between two versions.
const keptBuilds = 3

func (s *Stack) pruneBuilds() {
	dirs, _ := filepath.Glob(s.buildDir(strings.Repeat("?", keyLength)))
	slices.SortFunc(dirs, func(a, b string) int { return modified(b).Compare(modified(a)) })
	for i, dir := range dirs {
		if i >= keptBuilds {
			os.RemoveAll(dir)
		}
	}
}

// sources is a hash of all that the functions are built from.
func (s *Stack) sources() (string, error) {
	hash := sha256.New()
	fmt.Fprintln(hash, runtime.Version(), buildFlags, architecture())
	for _, top := range []string{"template.yaml", "go.mod", "go.sum", "functions", "shared"} {
		err := filepath.WalkDir(filepath.Join(s.Opt.Root, top), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := os.Open(path)
			if err != nil {
				return err
			}
			defer file.Close()
			name, _ := filepath.Rel(s.Opt.Root, path)
			fmt.Fprintln(hash, name)
			_, err = io.Copy(hash, file)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(hash.Sum(nil))[:keyLength], nil
}

func (s *Stack) deploy(ctx context.Context) error {
	// A bucket of our own spares SAM a stack of its own, as --resolve-s3 would make.
	bucket := artifacts
	if _, err := s.s3().CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		return err
	}
	args := []string{s.Opt.tool("sam", "sam"), "deploy",
		"--template-file", filepath.Join(s.buildDir(s.State.Sources), "template.yaml"),
		"--config-env", "local", // nothing of samconfig.toml, which is for real accounts
		"--stack-name", stackName, "--s3-bucket", artifacts, "--region", region,
		"--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--no-progressbar",
		"--parameter-overrides"}
	args = append(args, s.Opt.parameters(s.State.CyberunURL, !s.real())...)
	if err := s.tool(ctx, "sam-deploy", s.samEnv(), args...); err != nil {
		return err
	}
	return s.readOutputs(ctx)
}

func (s *Stack) readOutputs(ctx context.Context) error {
	client := cloudformation.NewFromConfig(s.aws)
	name := stackName
	stacks, err := client.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &name})
	if err != nil {
		return err
	}
	s.State.Outputs = map[string]string{}
	for _, output := range stacks.Stacks[0].Outputs {
		s.State.Outputs[*output.OutputKey] = *output.OutputValue
	}
	resources, err := client.DescribeStackResources(ctx, &cloudformation.DescribeStackResourcesInput{StackName: &name})
	if err != nil {
		return err
	}
	s.State.Resources = map[string]string{}
	for _, resource := range resources.StackResources {
		s.State.Resources[*resource.LogicalResourceId] = *resource.PhysicalResourceId
	}
	return nil
}

func (s *Stack) s3() *s3.Client {
	return s3.NewFromConfig(s.aws, func(o *s3.Options) { o.UsePathStyle = true })
}
