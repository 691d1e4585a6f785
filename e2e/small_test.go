package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/aws/smithy-go"
	"golang.org/x/sync/errgroup"
)

const (
	// smallUploads are more than ten Lambda calls at once can carry, and few enough
	// to wait for; RELAY_SMALL_ACCOUNT may name another number.
	smallUploads = 60
	// aRunsShare is how long each upload may keep all of them waiting. It is no
	// measure of speed: two busy cores need a third of it.
	aRunsShare = 2 * time.Second
)

// small opens a stack with a new account's quotas, and returns how many uploads to make.
func small(t *testing.T) (*stack, int) {
	t.Helper()
	asked := os.Getenv("RELAY_SMALL_ACCOUNT")
	if asked == "" {
		t.Skip("this stack has no small account's quotas: `make small` brings up one that has")
	}
	n, err := strconv.Atoi(asked)
	if err != nil || n < smallUploads {
		n = smallUploads
	}
	return open(t), n
}

// TestSmallAccount uploads many jobs at once into an account whose functions may
// make ten calls at once, on-upload's included: throttles are waited out, every
// upload becomes one run, one paid task and one manifest, and none ends otherwise.
func TestSmallAccount(t *testing.T) {
	s, n := small(t)
	word, name, began := uniqueWord(t), runName(t), time.Now()
	body := []byte(mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": word, "width": 128, "height": 128}}))
	var uploads errgroup.Group
	uploads.SetLimit(16)
	for i := range n {
		uploads.Go(func() error {
			key := fmt.Sprintf("jobs/%s-%d.json", name, i)
			_, err := s.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &s.inbox, Key: &key, Body: bytes.NewReader(body)})
			return err
		})
	}
	if err := uploads.Wait(); err != nil {
		t.Fatal(err)
	}
	uploaded := time.Since(began)

	// Not through the API, whose calls are throttled as well.
	var ended map[string]string
	for until := began.Add(patience + time.Duration(n)*aRunsShare); ; time.Sleep(time.Second) {
		ended = s.executions(t, name, sfntypes.ExecutionStatusSucceeded)
		if len(ended) == n {
			break
		}
		for _, status := range []sfntypes.ExecutionStatus{sfntypes.ExecutionStatusFailed, sfntypes.ExecutionStatusTimedOut, sfntypes.ExecutionStatusAborted} {
			for id, arn := range s.executions(t, name, status) {
				e, err := s.sfn.DescribeExecution(t.Context(), &sfn.DescribeExecutionInput{ExecutionArn: &arn})
				if err != nil {
					t.Fatal(err)
				}
				t.Fatalf("the execution %s is %s: %s: %s", id, status, aws.ToString(e.Error), aws.ToString(e.Cause))
			}
		}
		if time.Now().After(until) {
			t.Fatalf("%d of %d runs have succeeded within %v", len(ended), n, time.Since(began))
		}
	}
	throttled, most := 0, 0
	for id, arn := range ended {
		of := 0
		for _, e := range s.historyOf(t, arn) {
			if d := e.TaskFailedEventDetails; d != nil {
				if aws.ToString(d.Error) != "Lambda.TooManyRequestsException" {
					t.Errorf("%s: a step failed as %s: %s", id, aws.ToString(d.Error), aws.ToString(d.Cause))
				}
				of++
			}
		}
		throttled, most = throttled+of, max(most, of)
	}
	if throttled == 0 {
		t.Error("no call was throttled: the stack is not as small as it should be")
	}
	if paid := s.paid(t, word); len(paid) != n {
		t.Errorf("paid for %d tasks of %d uploads", len(paid), n)
	}
	t.Logf("%d uploads in %v, all delivered after %v: %d calls of steps were throttled, at most %d of one run",
		n, uploaded.Round(time.Second), time.Since(began).Round(time.Second), throttled, most)
}

// executions are those in a status whose names begin so: name → ARN.
func (s *stack) executions(t *testing.T, name string, status sfntypes.ExecutionStatus) map[string]string {
	t.Helper()
	found := map[string]string{}
	pages := sfn.NewListExecutionsPaginator(s.sfn, &sfn.ListExecutionsInput{StateMachineArn: &s.stateMachineARN, StatusFilter: status, MaxResults: 1000})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Executions {
			if strings.HasPrefix(*e.Name, name+"-") {
				found[*e.Name] = *e.ExecutionArn
			}
		}
	}
	return found
}

// TestSmallAccountDescribes: what a small account may ask Step Functions is bounded
// here as well, or the test above would prove less than it says.
func TestSmallAccountDescribes(t *testing.T) {
	s, _ := small(t)
	once := sfn.NewFromConfig(s.aws, func(o *sfn.Options) { o.Retryer = aws.NopRetryer{} })
	arn := strings.Replace(s.stateMachineARN, ":stateMachine:", ":execution:", 1) + ":none"
	const asked = 600 // twice the bucket
	throttled := 0
	for range asked {
		_, err := once.DescribeExecution(t.Context(), &sfn.DescribeExecutionInput{ExecutionArn: &arn})
		var refused smithy.APIError
		if errors.As(err, &refused) && refused.ErrorCode() == "ThrottlingException" {
			throttled++
		}
	}
	if throttled == 0 || throttled == asked {
		t.Errorf("%d of %d calls in a row were throttled", throttled, asked)
	}
}
