package namedtest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// recorder is a test that notes whether it failed.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }

func TestWant(t *testing.T) {
	failed := named.Errorf(named.TaskFailed, "the task t1 failed")
	tests := []struct {
		name  string
		err   error
		fails bool
	}{
		{name: "the error", err: failed},
		{name: "wrapped", err: fmt.Errorf("poll: %w", failed)},
		{name: "none", fails: true},
		{name: "without a name", err: errors.New("TaskFailed: the task t1"), fails: true},
		{name: "another name", err: named.Errorf(named.TaskCancelled, "the task t1 was cancelled"), fails: true},
		{name: "another text", err: named.Errorf(named.TaskFailed, "the task t2 failed"), fails: true},
		{name: "with a signed address", err: named.Errorf(named.TaskFailed, "the task t1 failed at https://files.example/a?X-Amz-Signature=5ec2e7"), fails: true},
		{name: "wrapped with a signed address", err: fmt.Errorf("https://files.example/a?X-Amz-Signature=5ec2e7: %w", failed), fails: true},
	}
	for _, test := range tests {
		r := &recorder{}
		if Want(r, test.err, named.TaskFailed, "the task t1"); r.failed != test.fails {
			t.Errorf("%s: failed is %t", test.name, r.failed)
		}
	}
}
