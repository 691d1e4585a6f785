package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/workflows"
)

// uploadMark begins the value of a file parameter that names a local file.
const uploadMark = "@"

// givenParameters returns those of the file, and over them those of -p, which are text
// until the workflow's declarations say what they are.
func givenParameters(stdin io.Reader, file string, params []string) (map[string]any, error) {
	given := map[string]any{}
	if file != "" {
		var err error
		if given, err = readParameters(stdin, file); err != nil {
			return nil, err
		}
	}
	seen := map[string]bool{}
	for _, p := range params {
		key, value, found := strings.Cut(p, "=")
		if !found || key == "" {
			return nil, &failure{code: codeUsage, what: fmt.Sprintf("-p %s is not KEY=VALUE", p), hint: `such as -p steps=30, or -p prompt="a fir in snow"`}
		}
		if seen[key] {
			return nil, &failure{code: codeUsage, what: "the parameter " + key + " is given twice", hint: "which value is meant?"}
		}
		seen[key] = true
		given[key] = value
	}
	return given, nil
}

// readParameters reads the JSON object of --parameters-file, '-' being stdin, by the
// API's own rules.
func readParameters(stdin io.Reader, file string) (map[string]any, error) {
	raw, err := readInput(stdin, file, run.MaxTextBytes+1)
	if err != nil {
		return nil, &failure{code: codeUsage, what: "the parameters file cannot be read: " + err.Error()}
	}
	document, violations := run.DecodeJSON("", raw)
	if written, err := run.Canonical(raw); err == nil && len(written) > run.MaxRequestBytes {
		violations.Add("", "is %d bytes as UTF-8 without blanks; a request has at most %d: pass large inputs as files", len(written), run.MaxRequestBytes)
	}
	given, isObject := document.(map[string]any)
	if len(bytes.TrimSpace(raw)) == 0 {
		violations = named.Violations{{Message: "is empty"}}
	} else if len(violations) == 0 && !isObject {
		violations.Add("", "must be a JSON object, not %s", named.KindOf(document))
	}
	if len(violations) == 0 {
		return given, nil
	}
	if file == "-" {
		file = "stdin"
	}
	messages := make([]string, len(violations))
	for i, v := range violations {
		messages[i] = strings.TrimSpace(v.Parameter + " " + v.Message)
	}
	return nil, &failure{code: codeUsage, what: file + ": " + strings.Join(messages, "; "), hint: `such as {"prompt": "a fir in snow", "steps": 30}`}
}

// checkParameters types what was given by the workflow's own declarations, with the
// rules that the API itself applies, so that everything wrong is reported before anything
// is uploaded; then it uploads the files.
func checkParameters(ctx context.Context, relay *client, ref string, given map[string]any, up *uploader) (map[string]any, error) {
	workflow, _, err := relay.workflow(ctx, ref)
	if err != nil {
		return nil, err
	}
	if e := workflows.CheckWorkflow(ref, workflow); e != nil {
		return nil, e
	}
	files, violations := localFiles(given, workflow)
	checked := maps.Clone(given)
	for parameter := range files {
		checked[parameter] = "uploaded" // stands for the s3:// address that upload returns
	}
	request := run.Request{Workflow: ref, Parameters: checked, ParametersAsText: true}
	typed, more := workflows.CheckParameters(request, workflow)
	for _, v := range more {
		if !slices.ContainsFunc(violations, func(known named.Violation) bool { return known.Parameter == v.Parameter }) {
			violations = append(violations, v)
		}
	}
	if len(violations) > 0 {
		return nil, violations.Err()
	}
	for _, parameter := range slices.Sorted(maps.Keys(files)) {
		if typed[parameter], err = up.upload(ctx, files[parameter], parameter); err != nil {
			return nil, err
		}
	}
	return typed, nil
}

// localFiles finds the values that name files of this machine, and what is wrong with
// them: a file's name without @ would be sent as a file_key of Cyberun's and fail once
// the task runs, and one with @ as the text of a prompt.
func localFiles(given map[string]any, w cyberun.Workflow) (map[string]string, named.Violations) {
	files := map[string]string{}
	var violations named.Violations
	for _, p := range w.Parameters {
		value, _ := given[p.Key].(string)
		name, marked := strings.CutPrefix(value, uploadMark)
		path := expandHome(name)
		info, err := os.Stat(path)
		isFile := err == nil && info.Mode().IsRegular()
		switch {
		case value == "" || run.IsS3URI(value):
		case p.Type != cyberun.TypeFile && marked && isFile:
			violations.Add(p.Key, "is text, and %s is a file here: for what is in it write %s=\"$(cat %s)\"; to send %s itself, put a blank before the @", name, p.Key, shellWord(path), value)
		case p.Type != cyberun.TypeFile:
		case !marked && isFile:
			violations.Add(p.Key, "is the name of a file here; to upload it write %s=%s%s", p.Key, uploadMark, value)
		case !marked:
		case err != nil:
			violations.Add(p.Key, "cannot be uploaded: %s", err.Error())
		case !isFile:
			violations.Add(p.Key, "cannot be uploaded: %s is not a file", name)
		case info.Size() > run.MaxInputFile:
			violations.Add(p.Key, "cannot be uploaded: %s has %s, and Cyberun takes at most %s", name, formatBytes(info.Size()), formatBytes(run.MaxInputFile))
		default:
			files[p.Key] = path
		}
	}
	return files, violations
}
