package explore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// machine is Step Functions.
type machine struct{ *universe }

func (m machine) ExecutionARN(id string) string { return arnPrefix + id }

func idOf(arn string) string { return strings.TrimPrefix(arn, arnPrefix) }

func sfnKey(id string) string { return "sfn/" + arnPrefix + id }

// start begins an execution, unless there is one of that name.
func (w *world) start(id, request string) bool {
	if w.exec(id) != nil {
		return false
	}
	x := execution{id: id, state: executions.Running, at: "Submit", request: request, before: &executions.Execution{}}
	i, _ := slices.BinarySearchFunc(w.execs, id, func(x execution, id string) int { return strings.Compare(x.id, id) })
	w.execs = slices.Insert(w.execs, i, x)
	return true
}

func (m machine) Describe(_ context.Context, arn string) (executions.Execution, error) {
	id := idOf(arn)
	lags := func(w *world) bool { x := w.exec(id); return x != nil && x.before != nil }
	a := m.call(op{name: "DescribeExecution " + id, touch: touch{key: sfnKey(id)}, lags: lags, do: func(w *world, stale bool) answer {
		x := w.exec(id)
		if x == nil {
			return failed(executions.ErrNotFound)
		}
		out := x.shown()
		if stale {
			if out = *x.before; out.Name == "" {
				return failed(executions.ErrNotFound)
			}
		}
		meaning := fmt.Sprint(out.Status, out.Redrives)
		return answer{value: out, exact: fmt.Sprint(meaning, out.Error), meaning: meaning}
	}})
	out, _ := a.value.(executions.Execution)
	if a.err != nil && !errors.Is(a.err, executions.ErrNotFound) {
		return out, asUnavailable(a.err)
	}
	return out, a.err
}

func (m machine) Start(_ context.Context, id, input string) error {
	return m.call(op{name: "StartExecution " + id, touch: touch{key: sfnKey(id), kind: writes}, do: func(w *world, _ bool) answer {
		if x := w.exec(id); w.start(id, input) || x.request == input && x.state == executions.Running {
			return answer{}
		}
		return failed(executions.ErrExists)
	}}).err
}

// StartExecution is Start, as the client of Step Functions has it.
func (m machine) StartExecution(ctx context.Context, in *sfn.StartExecutionInput, _ ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error) {
	err := m.Start(ctx, aws.ToString(in.Name), aws.ToString(in.Input))
	if errors.Is(err, executions.ErrExists) {
		err = &types.ExecutionAlreadyExists{}
	}
	return &sfn.StartExecutionOutput{}, err
}

func (m machine) Stop(_ context.Context, arn string, reason *named.Error) error {
	id := idOf(arn)
	return asUnavailable(m.call(op{name: "StopExecution " + id, touch: touch{key: sfnKey(id), kind: writes}, do: func(w *world, _ bool) answer {
		if w.running(id) {
			w.end(id, executions.Aborted, *named.Errorf(reason.Name, "the execution was stopped"))
		}
		return answer{}
	}}).err)
}

func (m machine) Redrive(_ context.Context, arn string) error {
	id := idOf(arn)
	err := m.call(op{name: "RedriveExecution " + id, touch: touch{key: sfnKey(id), kind: writes}, do: func(w *world, _ bool) answer {
		x := w.exec(id)
		if x == nil || !x.state.Unsuccessful() {
			return failed(executions.ErrNotRedrivable)
		}
		before := x.shown()
		x.before = &before
		x.state, x.error = executions.Running, named.Error{}
		x.redrives++
		return answer{}
	}}).err
	if err != nil && !errors.Is(err, executions.ErrNotRedrivable) {
		return asUnavailable(err)
	}
	return err
}

func (m machine) Resume(_ context.Context, token string) error {
	return asUnavailable(m.call(op{name: "SendTaskSuccess", touch: touch{key: "token/" + token, kind: writes}, do: func(w *world, _ bool) answer {
		if !slices.Contains(w.tokens, token) {
			w.tokens = append(w.tokens, token)
		}
		return answer{}
	}}).err)
}

// UnsuccessfulSince lists the executions that ended. Its answer may be out of date: then it
// shows each as it was before its last change.
func (m machine) UnsuccessfulSince(_ context.Context, _, _ time.Time, _ func(context.Context) error, each func(executions.Execution) bool) error {
	lags := func(w *world) bool {
		return slices.ContainsFunc(w.execs, func(x execution) bool { return x.before != nil })
	}
	a := m.call(op{name: "ListExecutions", touch: touch{key: "sfn/", prefix: true}, lags: lags, do: func(w *world, stale bool) answer {
		var found []executions.Execution
		for i := range w.execs {
			listed := w.execs[i].shown()
			if stale && w.execs[i].before != nil {
				listed = *w.execs[i].before
			}
			if listed.Status.Unsuccessful() {
				listed.Error = nil
				found = append(found, listed)
			}
		}
		return said(found, fmt.Sprint(found))
	}})
	if a.err != nil {
		return asUnavailable(a.err)
	}
	found, _ := a.value.([]executions.Execution)
	for _, e := range found {
		if !each(e) {
			break
		}
	}
	return nil
}

// sfn is Step Functions' own write of an execution.
func (u *universe) sfn(id, what string, do func(*world)) {
	u.call(op{name: id + " " + what, touch: touch{key: sfnKey(id), kind: writes}, do: func(w *world, _ bool) answer { do(w); return answer{} }})
}
