package main

import (
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

// givenParameters are those of the file, and over them those of -p, which are
// text still.
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
	from := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, &failure{code: codeUsage, what: "the parameters file cannot be read: " + err.Error()}
		}
		defer f.Close()
		from = f
	}
	raw, err := run.ReadText(from)
	if err != nil {
		return nil, &failure{code: codeUsage, what: "the parameters file cannot be read: " + err.Error()}
	}
	document, faults := run.DecodeJSON("", raw)
	if written, err := run.Canonical(raw); err == nil && len(written) > run.MaxRequestBytes {
		faults.Add("", "is %d bytes as UTF-8 without blanks; a request has at most %d: pass large inputs as files", len(written), run.MaxRequestBytes)
	}
	given, ok := document.(map[string]any)
	switch {
	case len(faults) == 0 && ok:
		return given, nil
	case len(faults) == 0:
		faults.Add("", "must be a JSON object, not %s", named.KindOf(document))
	}
	told := make([]string, len(faults))
	for i, fault := range faults {
		told[i] = strings.TrimSpace(fault.Parameter + " " + fault.Message)
	}
	return nil, wrongParameters(file, strings.Join(told, "; "))
}

func wrongParameters(file, what string) *failure {
	if file == "-" {
		file = "stdin"
	}
	return &failure{code: codeUsage, what: file + ": " + what, hint: `such as {"prompt": "a fir in snow", "steps": 30}`}
}

// parameters types what was given by the workflow's own declarations, with the
// rules that the API itself applies, so that everything wrong is told before
// anything is uploaded; then it uploads the files.
func (s *session) parameters(ctx context.Context, api *client, ref string, given map[string]any, up *uploader) (map[string]any, error) {
	workflow, _, err := api.workflow(ctx, ref)
	if err != nil {
		return nil, err
	}
	if e := workflows.CheckWorkflow(ref, workflow); e != nil {
		return nil, asProblem(e)
	}
	files, faults := localFiles(given, workflow)
	request := run.Request{Workflow: ref, Parameters: given, ParametersAsText: true}
	typed, more := workflows.CheckParameters(request, workflow)
	if faults = append(faults, more...); len(faults) > 0 {
		return nil, asProblem(faults.Err())
	}
	for _, parameter := range slices.Sorted(maps.Keys(files)) {
		if typed[parameter], err = up.upload(ctx, files[parameter], parameter); err != nil {
			return nil, err
		}
	}
	return typed, nil
}

// localFiles finds the values that name files of this machine, and what is
// wrong with them.
func localFiles(given map[string]any, w cyberun.Workflow) (map[string]string, named.Violations) {
	files := map[string]string{}
	var faults named.Violations
	for _, p := range w.Parameters {
		value, _ := given[p.Key].(string)
		if p.Type != cyberun.TypeFile || value == "" {
			continue
		}
		name, local := strings.CutPrefix(value, uploadMark)
		info, err := os.Stat(name)
		var message string
		switch {
		case !local && !run.IsS3URI(value) && err == nil && info.Mode().IsRegular():
			// As it stands it would be sent as the file_key of an upload, and
			// fail once the task runs.
			message = fmt.Sprintf("is the name of a file here; to upload it write %s=%s%s", p.Key, uploadMark, value)
		case !local:
			continue
		case err != nil:
			message = "cannot be uploaded: " + err.Error()
		case !info.Mode().IsRegular():
			message = "cannot be uploaded: " + name + " is not a file"
		case info.Size() > maxUpload:
			message = fmt.Sprintf("cannot be uploaded: %s has %s, and Cyberun takes at most %s", name, size(info.Size()), size(maxUpload))
		}
		if message != "" {
			faults = append(faults, named.Violation{Parameter: p.Key, Message: message})
			continue
		}
		files[p.Key] = name
	}
	return files, faults
}

// asProblem is a named error as the API would have answered it.
func asProblem(err error) *failure {
	e, _ := named.As(err)
	p := problem{Status: 400, Title: e.Name, Detail: e.Cause, Hint: e.Hint, Errors: e.Violations}
	return p.failure()
}
