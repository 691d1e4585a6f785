package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// functionLogs are all lines that the functions logged, oldest first. Plain
// HTTP: one call is not worth one more SDK.
func (s *Stack) functionLogs(ctx context.Context) string {
	var lines []string
	for _, name := range []string{"submit", "poll-status", "copy-result", "api", "on-upload", "on-webhook", "close-run", "call-container"} {
		found, err := s.logsOf(ctx, name)
		if err != nil {
			return fmt.Sprintf("the functions' logs could not be read: %s", err)
		}
		lines = append(lines, found...)
	}
	slices.Sort(lines) // each begins with its time
	return strings.Join(lines, "\n") + "\n"
}

func (s *Stack) logsOf(ctx context.Context, function string) ([]string, error) {
	var lines []string
	for token := ""; ; {
		ask := map[string]any{"logGroupName": "/aws/lambda/" + stackName + "/" + function}
		if token != "" {
			ask["nextToken"] = token
		}
		var page struct {
			Events []struct {
				Timestamp int64
				Message   string
			}
			NextToken string
		}
		if err := s.logsCall(ctx, ask, &page); err != nil {
			return nil, err
		}
		for _, event := range page.Events {
			at := time.UnixMilli(event.Timestamp).UTC().Format("15:04:05.000")
			lines = append(lines, fmt.Sprintf("%s %-14s %s", at, function, strings.TrimSpace(event.Message)))
		}
		if page.NextToken == "" || page.NextToken == token {
			return lines, nil
		}
		token = page.NextToken
	}
}

func (s *Stack) logsCall(ctx context.Context, ask, answer any) error {
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.State.Endpoint, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "Logs_20140328.FilterLogEvents")
	if err := s.sign(req, "logs", body); err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, excerpt(resp.Body))
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}

func printLogs(ctx context.Context, o Options) error {
	st, err := load(o)
	if err != nil {
		return err
	}
	s := &Stack{Opt: o, State: st}
	s.connect()
	_, err = os.Stdout.WriteString(s.functionLogs(ctx))
	return err
}
