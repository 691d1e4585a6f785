// Package observe makes the functions' logs, and turns their errors into those that
// Step Functions shows and retries by. [Invocation] does both for each call of
// a function whose caller gets its error.
//
// It imports shared/named, shared/redact and aws-lambda-go's types.
package observe

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// Logger returns a function's logger, which writes one JSON object a line to w. Its
// caller must never give it a key, a signed URL or the value of a parameter, but for what
// an error quotes: part of a wrong value, an input file's S3 address, Cyberun's message.
// Logger also takes over the output of the standard logger, and of that writes only what
// the Lambda runtime says before it ends the process: net/http writes there what a peer
// sent unasked, which can be a file's bytes or an address.
func Logger(w io.Writer, function string) *slog.Logger {
	logger := slog.New(slog.NewJSONHandler(w, nil)).With("function", function)
	log.SetFlags(0)
	log.SetOutput(runtimeLog{logger})
	return logger
}

// runtimeLog is the output of the standard logger.
type runtimeLog struct{ log *slog.Logger }

// Write logs what aws-lambda-go says when it gives up: an answer that Lambda's
// runtime API did not take, such as one over 6 MB, or that Lambda answers no more. Its
// report of an error that a handler returned is dropped, since Invocation logs that.
func (r runtimeLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if strings.HasPrefix(text, "unexpected error occurred") || strings.HasPrefix(text, "failed to ") {
		r.log.Error("the Lambda runtime ends the process", "error", "Runtime.ExitError", "cause", redact.Text(text))
	}
	return len(line), nil
}

type logKey struct{}

// WithLog returns a context from which [Log] gets this logger.
func WithLog(ctx context.Context, log *slog.Logger) context.Context {
	return context.WithValue(ctx, logKey{}, log)
}

// Log returns the logger that [WithLog] put into the context; in a step its lines have
// the run's id and the request's. Without one it returns a logger that writes nothing.
func Log(ctx context.Context) *slog.Logger {
	if log, ok := ctx.Value(logKey{}).(*slog.Logger); ok {
		return log
	}
	return slog.New(slog.DiscardHandler)
}

// RunID is the field of a log line that names the run; docs/operations.md names it too.
const RunID = "run_id"

// Invocation wraps the handler of a function whose caller gets its error. Each call logs
// one line, with the run's id, the request's id, the error if there was one, and the time
// that it took in ms, by the clock now. handle gets that logger by [Log], and its error is
// returned as [LambdaError] makes it.
func Invocation[In interface{ ID() string }, Out any](log *slog.Logger, now func() time.Time, handle func(context.Context, In) (Out, error)) func(context.Context, In) (Out, error) {
	return func(ctx context.Context, in In) (Out, error) {
		start, line := now(), log
		if id := in.ID(); id != "" {
			line = line.With(RunID, id)
		}
		if lc, ok := lambdacontext.FromContext(ctx); ok {
			line = line.With("request_id", lc.AwsRequestID)
		}
		defer LogPanic(ctx, line)
		out, err := handle(WithLog(ctx, line), in)
		line = line.With("ms", now().Sub(start).Milliseconds())
		if err != nil {
			e := named.OrUnavailable(err)
			line.ErrorContext(ctx, "failed", "error", e.Name, "cause", redact.Text(e.Cause))
			return out, LambdaError(err)
		}
		line.InfoContext(ctx, "done")
		return out, nil
	}
}

// LogPanic logs a panic and panics again; call it by defer. The Lambda runtime returns
// a panic to the function's caller, but writes it to no log.
func LogPanic(ctx context.Context, log *slog.Logger) {
	if r := recover(); r != nil {
		log.ErrorContext(ctx, "panic", "cause", redact.Text(fmt.Sprint(r)), "stack", string(debug.Stack()))
		panic(r)
	}
}

// LambdaError returns an error whose type, by which Step Functions shows and retries
// it, is the name that [named.OrUnavailable] finds. Secrets are redacted from the text,
// since the execution's history keeps it for 90 days. nil stays nil.
func LambdaError(err error) error {
	if err == nil {
		return nil
	}
	e := named.OrUnavailable(err)
	return messages.InvokeResponse_Error{Type: e.Name, Message: redact.Text(e.Message())}
}
