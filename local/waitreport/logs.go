package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// logLine is one event of a function's log.
type logLine struct {
	Message string
}

// billed is each function's memory and the middle of its billed times, as its log
// reports them. It serves for the calls that no history times.
func (w *world) billed(ctx context.Context, functions ...string) (map[string]Call, error) {
	all := map[string]Call{}
	for _, function := range functions {
		lines, err := w.logOf(ctx, function)
		if err != nil {
			return nil, err
		}
		calls := reportsIn(function, lines)
		if len(calls) == 0 {
			return nil, fmt.Errorf("the log of %s reports no call", function)
		}
		all[function] = middle(calls)
	}
	return all, nil
}

var reportLine = regexp.MustCompile(`^REPORT .*\tBilled Duration: ([0-9.]+) ms\tMemory Size: ([0-9]+) MB`)

// reportsIn does not ask whose call it was: what a function logged may stand
// beside the next call's report.
func reportsIn(function string, lines []logLine) (calls []Call) {
	for _, line := range lines {
		if found := reportLine.FindStringSubmatch(line.Message); found != nil {
			ms, _ := strconv.ParseFloat(found[1], 64)
			mb, _ := strconv.Atoi(found[2])
			calls = append(calls, Call{function, ms / 1000, mb})
		}
	}
	return calls
}

func (w *world) logOf(ctx context.Context, function string) ([]logLine, error) {
	var lines []logLine
	for token := ""; ; {
		ask := map[string]any{"logGroupName": "/aws/lambda/" + os.Getenv("RELAY_STACK") + "/" + function}
		if token != "" {
			ask["nextToken"] = token
		}
		var page struct {
			Events    []logLine
			NextToken string
		}
		if err := w.logsCall(ctx, ask, &page); err != nil {
			return nil, fmt.Errorf("the log of %s: %w", function, err)
		}
		for _, e := range page.Events {
			e.Message = strings.TrimSpace(e.Message)
			lines = append(lines, e)
		}
		if page.NextToken == "" || page.NextToken == token {
			return lines, nil
		}
		token = page.NextToken
	}
}

// logsCall is plain HTTP: one call is not worth one more SDK.
func (w *world) logsCall(ctx context.Context, ask, answer any) error {
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, os.Getenv("AWS_ENDPOINT_URL"), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "Logs_20140328.FilterLogEvents")
	credentials, err := w.aws.Credentials.Retrieve(ctx)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, credentials, req, hex.EncodeToString(sum[:]), "logs", w.aws.Region, time.Now()); err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP %s", res.Status)
	}
	return json.NewDecoder(res.Body).Decode(answer)
}
