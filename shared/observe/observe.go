// Package observe is the edge between the functions and what watches them:
// structured logs, and named errors as Step Functions sees them. It imports
// shared/named and aws-lambda-go's message types.
package observe

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// Logger writes one JSON object a line. Nothing that logs is ever given a key,
// a signed URL or a parameter's value. Of the standard logger only what the Lambda
// runtime says before it ends the process comes through: net/http quotes there
// what a peer sent unasked, a file's bytes or an address.
func Logger(w io.Writer, function string) *slog.Logger {
	logger := slog.New(slog.NewJSONHandler(w, nil)).With("function", function)
	log.SetFlags(0)
	log.SetOutput(runtimeLog{logger})
	return logger
}

// runtimeLog is the standard logger's output.
type runtimeLog struct{ log *slog.Logger }

// Write logs what aws-lambda-go says when it gives up: an answer that the runtime
// API did not take, such as one over 6 MB, or a runtime API that is gone. Its
// report of an error that a handler returned is passed over: Step logs that.
func (r runtimeLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if strings.HasPrefix(text, "unexpected error occurred") || strings.HasPrefix(text, "failed to ") {
		r.log.Error("the Lambda runtime ends the process", "error", "Runtime.ExitError", "cause", redact.Text(text))
	}
	return len(line), nil
}

type logKey struct{}

// WithLog returns a context whose log is log: the caller's, with the run's id.
func WithLog(ctx context.Context, log *slog.Logger) context.Context {
	return context.WithValue(ctx, logKey{}, log)
}

// Log returns the context's log; one that writes nothing if it has none.
func Log(ctx context.Context) *slog.Logger {
	if log, ok := ctx.Value(logKey{}).(*slog.Logger); ok {
		return log
	}
	return slog.New(slog.DiscardHandler)
}

// Step wraps a handler: one line a call with its run, its outcome and how long
// it took, and the error under its own name.
func Step[In interface{ ID() string }, Out any](log *slog.Logger, now func() time.Time, handle func(context.Context, In) (Out, error)) func(context.Context, In) (Out, error) {
	return func(ctx context.Context, in In) (Out, error) {
		start, line := now(), log
		if id := in.ID(); id != "" {
			line = line.With("run_id", id)
		}
		if lc, ok := lambdacontext.FromContext(ctx); ok {
			line = line.With("request_id", lc.AwsRequestID)
		}
		defer LogPanic(ctx, line)
		out, err := handle(WithLog(ctx, line), in)
		line = line.With("ms", now().Sub(start).Milliseconds())
		if err != nil {
			err = LambdaError(err)
			named := err.(messages.InvokeResponse_Error)
			line.ErrorContext(ctx, "failed", "error", named.Type, "cause", named.Message)
			return out, err
		}
		line.InfoContext(ctx, "done")
		return out, nil
	}
}

// LogPanic logs a panic before it ends the process: the Lambda runtime reports it
// to its caller, but writes it to no log. Defer it.
func LogPanic(ctx context.Context, log *slog.Logger) {
	if r := recover(); r != nil {
		log.ErrorContext(ctx, "panic", "cause", redact.Text(fmt.Sprint(r)), "stack", string(debug.Stack()))
		panic(r)
	}
}

// LambdaError gives an error the name that Step Functions retries and reports
// by, however deep it is wrapped. What has no name is a fault of ours or of the
// platform: it is retried as Unavailable is.
func LambdaError(err error) error {
	if err == nil {
		return nil
	}
	e, ok := named.As(err)
	if !ok {
		e = named.Errorf(named.Unavailable, "%w", err)
	}
	return messages.InvokeResponse_Error{Type: e.Name, Message: redact.Text(e.Message())}
}

// Exit says why a function cannot start, and ends the process: Lambda reports
// Runtime.ExitError, and this line stands in its log.
func Exit(log *slog.Logger, err error) {
	log.Error("cannot start", "cause", err.Error())
	os.Exit(1)
}

// Sleep is the clock's other half: it ends early with the call.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
