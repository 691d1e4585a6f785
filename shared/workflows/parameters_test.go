package workflows

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/google/go-cmp/cmp"
)

// declared is a workflow as Cyberun's answer declares it, so that its values
// have the types they have in a run.
func declared(t *testing.T, parameters string) cyberun.Workflow {
	t.Helper()
	var w cyberun.Workflow
	if err := json.Unmarshal([]byte(`{"id":"wf-1","workflow_slug":"w","parameters":`+parameters+`}`), &w); err != nil {
		t.Fatal(err)
	}
	return w
}

const everyType = `[
	{"key":"prompt","type":"string","label":"Prompt","required":true},
	{"key":"steps","type":"integer","min":1,"max":1000000},
	{"key":"cfg","type":"number","min":-1.5,"max":30},
	{"key":"seed","type":"number","default":0},
	{"key":"hires","type":"boolean"},
	{"key":"sampler","type":"select","options":["euler","ddim"]},
	{"key":"scale","type":"select","options":[{"value":1,"label":"same"},{"value":2},{"value":4000000}]},
	{"key":"tiled","type":"select","options":[true,false]},
	{"key":"mixed","type":"select","options":[0,"auto"]},
	{"key":"free","type":"select"},
	{"key":"image","type":"file","accept":["image/*"]},
	{"key":"future","type":"colour"},
	{"key":"size","type":"number","label":"The size of the picture","required":true,"default":512}
]`

func TestCheckParameters(t *testing.T) {
	const fine = `"prompt":"p"`
	tests := []struct {
		name       string
		given      string // beside a prompt, unless it gives one
		asText     bool
		want       string // what is sent; empty: as given
		violations []string
	}{
		{name: "only what is required", given: `{"prompt":"p"}`},
		{name: "every type", given: `{"prompt":"p","steps":30,"cfg":7.5,"seed":18446744073709551615,"hires":true,"sampler":"ddim","scale":2,"tiled":false,"mixed":"auto","free":[1],"image":"s3://bucket/a b+c.png","future":{"r":1},"size":64}`},
		{name: "a whole number with a point", given: `{"prompt":"p","steps":30.0}`},
		{name: "the bounds themselves", given: `{"prompt":"p","steps":1000000,"cfg":-1.5}`},
		{name: "a file key", given: `{"prompt":"p","image":"uploads/2026/abc"}`},
		{name: "a choice written otherwise", given: `{"prompt":"p","scale":2.0}`},
		{name: "an empty prompt", given: `{"prompt":""}`},

		{name: "missing", given: `{}`, violations: []string{"prompt: is required and missing"}},
		{name: "a required one with a default is not missing", given: `{"prompt":"p"}`},
		{name: "unknown", given: `{` + fine + `,"stepz":30}`, violations: []string{"stepz: is not a parameter of w; it has cfg, free, future"}},
		{name: "another case", given: `{"Prompt":"p"}`, violations: []string{"prompt: is required", "Prompt: is not a parameter"}},
		{name: "a number for a string", given: `{"prompt":7}`, violations: []string{"prompt: must be a string, not a number"}},
		{name: "null for a string", given: `{"prompt":null}`, violations: []string{"prompt: must be a string, not null"}},
		{name: "text for a number", given: `{` + fine + `,"cfg":"7.5"}`, violations: []string{`cfg: must be a number, not the string "7.5"`}},
		{name: "true for a number", given: `{` + fine + `,"cfg":true}`, violations: []string{"cfg: must be a number, not true"}},
		{name: "an array for a number", given: `{` + fine + `,"steps":[30]}`, violations: []string{"steps: must be a number, not an array"}},
		{name: "half a step", given: `{` + fine + `,"steps":30.5}`, violations: []string{"steps: is 30.5; it must be a whole number"}},
		{name: "too small", given: `{` + fine + `,"steps":0}`, violations: []string{"steps: is 0; it must be at least 1"}},
		{name: "too large", given: `{` + fine + `,"steps":1000001}`, violations: []string{"steps: is 1000001; it must be at most 1000000"}},
		{name: "below a bound that is no whole number", given: `{` + fine + `,"cfg":-1.51}`, violations: []string{"cfg: is -1.51; it must be at least -1.5"}},
		{name: "beyond every number", given: `{` + fine + `,"seed":1e999}`, violations: []string{"seed: is a number too large to send"}},
		{name: "text for a boolean", given: `{` + fine + `,"hires":"true"}`, violations: []string{`hires: must be true or false, not the string "true"`}},
		{name: "1 for a boolean", given: `{` + fine + `,"hires":1}`, violations: []string{"hires: must be true or false, not 1"}},
		{name: "no such choice", given: `{` + fine + `,"sampler":"Euler"}`, violations: []string{`sampler: is the string "Euler"; it must be one of euler, ddim`}},
		{name: "no such number among the choices", given: `{` + fine + `,"scale":3}`, violations: []string{"scale: is 3; it must be one of 1, 2, 4000000"}},
		{name: "a choice as text", given: `{` + fine + `,"scale":"2"}`, violations: []string{`scale: is the string "2"; it must be one of`}},
		{name: "an empty file", given: `{` + fine + `,"image":""}`, violations: []string{"image: must not be empty"}},
		{name: "a file that is an object", given: `{` + fine + `,"image":{"bucket":"b"}}`, violations: []string{"image: must be a string"}},
		{name: "a bucket without a key", given: `{` + fine + `,"image":"s3://bucket/"}`, violations: []string{"does not name an S3 object"}},
		{name: "a bucket alone", given: `{` + fine + `,"image":"s3://bucket"}`, violations: []string{"does not name an S3 object"}},
		{name: "a key alone", given: `{` + fine + `,"image":"s3:///key"}`, violations: []string{"does not name an S3 object"}},
		{name: "five at once", given: `{"steps":0,"cfg":"x","hires":1,"oops":1}`, violations: []string{
			"prompt: is required", "cfg: must be a number", "hires: must be", "oops: is not a parameter", "steps: is 0"}},

		{name: "as text: every type", asText: true, given: `{"prompt":"30","steps":" 30 ","cfg":"7.50","seed":"18446744073709551615","hires":"TRUE","sampler":"ddim","scale":"2.0","tiled":"false","mixed":"0","image":"s3://bucket/k"}`,
			want: `{"prompt":"30","steps":30,"cfg":7.50,"seed":18446744073709551615,"hires":true,"sampler":"ddim","scale":2,"tiled":false,"mixed":0,"image":"s3://bucket/k"}`},
		{name: "as text: a number that is none", asText: true, given: `{` + fine + `,"steps":"thirty"}`, violations: []string{`steps: must be a number, not the string "thirty"`}},
		{name: "as text: nothing for a number", asText: true, given: `{` + fine + `,"steps":""}`, violations: []string{`steps: must be a number, not the string ""`}},
		{name: "as text: two numbers", asText: true, given: `{` + fine + `,"steps":"3 0"}`, violations: []string{"steps: must be a number"}},
		{name: "as text: a hexadecimal number", asText: true, given: `{` + fine + `,"steps":"0x1e"}`, violations: []string{"steps: must be a number"}},
		{name: "as text: not a number", asText: true, given: `{` + fine + `,"cfg":"NaN"}`, violations: []string{"cfg: must be a number"}},
		{name: "as text: out of range", asText: true, given: `{` + fine + `,"steps":"0"}`, violations: []string{"steps: is 0; it must be at least 1"}},
		{name: "as text: a boolean that is none", asText: true, given: `{` + fine + `,"hires":"yes"}`, violations: []string{"hires: must be true or false"}},
		{name: "as text: no such choice", asText: true, given: `{` + fine + `,"scale":"3"}`, violations: []string{"scale: is the string"}},
		{name: "as text: nothing for a choice", asText: true, given: `{` + fine + `,"mixed":""}`, violations: []string{`mixed: is the string ""; it must be one of 0, auto`}},
		{name: "as text: what has a type already", asText: true, given: `{` + fine + `,"steps":30}`},
	}
	w := declared(t, everyType)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, violations := run.ParseRequest([]byte(`{"workflow":"w","parameters":` + test.given + `}`))
			if len(violations) > 0 {
				t.Fatal(violations)
			}
			r.ParametersAsText = test.asText
			sent, violations := CheckParameters(r, w)
			if len(violations) != len(test.violations) {
				t.Fatalf("violations %v, want %v", violations, test.violations)
			}
			for i, want := range test.violations {
				if said := violations[i].Parameter + ": " + violations[i].Message; !strings.Contains(said, want) {
					t.Errorf("fault %d is %q, want %q in it", i, said, want)
				}
			}
			if len(violations) > 0 {
				return
			}
			want := test.want
			if want == "" {
				want = test.given
			}
			if diff := cmp.Diff(canonicalOf(t, []byte(want)), canonicalOf(t, sent)); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
		})
	}
}

func canonicalOf(t *testing.T, v any) string {
	t.Helper()
	raw, ok := v.([]byte)
	if !ok {
		var err error
		if raw, err = json.Marshal(v); err != nil {
			t.Fatal(err)
		}
	}
	canonical, err := run.Canonical(raw)
	if err != nil {
		t.Fatal(err)
	}
	return string(canonical)
}

// The caller changes what it sends (file keys); the request must stay as it was.
func TestCheckParametersLeavesTheRequestAlone(t *testing.T) {
	r := run.Request{Workflow: "w", Parameters: map[string]any{"prompt": "p", "steps": "30"}, ParametersAsText: true}
	sent, _ := CheckParameters(r, declared(t, everyType))
	sent["image"] = "key"
	if len(r.Parameters) != 2 || r.Parameters["steps"] != "30" {
		t.Errorf("the request became %v", r.Parameters)
	}
}

func TestCheckParametersOfAWorkflowWithoutAny(t *testing.T) {
	_, violations := CheckParameters(run.Request{Workflow: strings.Repeat("w", 200), Parameters: map[string]any{strings.Repeat("k", 5000): true}}, cyberun.Workflow{})
	if len(violations) != 1 || !strings.Contains(violations[0].Message, "no parameters") || len(violations[0].Parameter)+len(violations[0].Message) > 400 {
		t.Errorf("violations %v", violations)
	}
}

// A fault may be shown to others than the one who wrote the prompt: of a value
// no more is told than recognises it.
func TestFaultsTellLittleOfAValue(t *testing.T) {
	long := strings.Repeat("secret ", 1000)
	r := run.Request{Workflow: "w", Parameters: map[string]any{"prompt": "p", "steps": long, "sampler": long, "image": "s3://" + strings.Repeat("x", 5000), "cfg": json.Number("1" + strings.Repeat("0", 300))}}
	_, violations := CheckParameters(r, declared(t, everyType))
	if len(violations) != 4 {
		t.Fatalf("violations %v", violations)
	}
	for _, f := range violations {
		if len(f.Message) > 250 {
			t.Errorf("%s is told with %d bytes", f.Parameter, len(f.Message))
		}
	}
}

func TestCheckWorkflow(t *testing.T) {
	tests := []struct {
		status cyberun.WorkflowStatus
		want   string
	}{{"active", ""}, {"", ""}, {"brand-new", ""}, {"disabled", named.WorkflowDisabled}}
	for _, test := range tests {
		e := CheckWorkflow("w@2", cyberun.Workflow{Status: test.status})
		if test.want == "" && e != nil || test.want != "" && (!named.Is(e, test.want) || !strings.Contains(e.Error(), "w@2")) {
			t.Errorf("%q: %v, want %q", test.status, e, test.want)
		}
	}
}

func TestParseS3URI(t *testing.T) {
	tests := []struct{ uri, bucket, key string }{
		{"s3://bucket/key", "bucket", "key"},
		{"s3://bucket/a/b c+d%20e/ü.png", "bucket", "a/b c+d%20e/ü.png"},
		{"s3://bucket//key", "bucket", "/key"},
		{"s3://bucket/../key", "bucket", "../key"},
		{"s3://", "", ""}, {"s3://bucket", "", ""}, {"s3://bucket/", "", ""}, {"s3:///key", "", ""},
		{"s3://my.bucket-1/k", "my.bucket-1", "k"}, {"s3://b12/k", "b12", "k"},
		{"s3://arn:aws:s3:eu-west-1:123456789012:accesspoint:name/key", "", ""}, {"s3://b/k", "", ""}, {"s3://Bucket/k", "", ""}, {"s3://-bucket/k", "", ""},
		{"s3://bucket./k", "", ""}, {"s3://buc ket/k", "", ""}, {"s3://" + strings.Repeat("b", 63) + "/k", strings.Repeat("b", 63), "k"}, {"s3://" + strings.Repeat("b", 64) + "/k", "", ""},
	}
	for _, test := range tests {
		bucket, key, err := run.ParseS3URI(test.uri)
		if (err != nil) != (test.bucket == "") || err == nil && (bucket != test.bucket || key != test.key) {
			t.Errorf("%s: %q %q %v", test.uri, bucket, key, err)
		}
		if !run.IsS3URI(test.uri) {
			t.Errorf("%s is told to be none", test.uri)
		}
	}
	for _, s := range []string{"", "S3://b/k", "s3:/b/k", " s3://b/k", "https://bucket.s3.amazonaws.com/key"} {
		if run.IsS3URI(s) {
			t.Errorf("%q is told to be an S3 URI", s)
		}
	}
}

// TestRespelled: S3 gives the names of metadata in lower case.
func TestRespelled(t *testing.T) {
	w := declared(t, `[{"key":"Prompt","type":"string","required":true},{"key":"cfgScale","type":"number"},{"key":"Seed","type":"number"},{"key":"seed","type":"number"},{"key":"sEEd","type":"number"}]`)
	tests := []struct {
		name       string
		given      map[string]any
		asText     bool
		want       map[string]any
		violations int
	}{
		{"lower case", map[string]any{"prompt": "p", "cfgscale": "7.5"}, true, map[string]any{"Prompt": "p", "cfgScale": json.Number("7.5")}, 0},
		{"as it is written", map[string]any{"Prompt": "p", "cfgScale": "7.5"}, true, map[string]any{"Prompt": "p", "cfgScale": json.Number("7.5")}, 0},
		{"one of three that are alike, exactly", map[string]any{"prompt": "p", "seed": "1"}, true, map[string]any{"Prompt": "p", "seed": json.Number("1")}, 0},
		{"one of three that are alike, not exactly", map[string]any{"prompt": "p", "SEED": "1"}, true, map[string]any{"Prompt": "p"}, 1},
		{"twice", map[string]any{"prompt": "p", "cfgscale": "1", "CFGSCALE": "2"}, true, map[string]any{"Prompt": "p"}, 2},
		{"twice, once exactly", map[string]any{"prompt": "p", "cfgscale": "1", "cfgScale": "2"}, true, map[string]any{"Prompt": "p", "cfgScale": json.Number("2")}, 1},
		{"not text", map[string]any{"prompt": "p"}, false, map[string]any{}, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, violations := CheckParameters(run.Request{Workflow: "w", Parameters: test.given, ParametersAsText: test.asText}, w)
			if diff := cmp.Diff(test.want, got); diff != "" || len(violations) != test.violations {
				t.Errorf("%v\n%s", violations, diff)
			}
		})
	}
}

// What is neither s3://… nor a file_key is told before anything is paid.
func TestFilesThatAreElsewhere(t *testing.T) {
	w := cyberun.Workflow{Parameters: []cyberun.Parameter{{Key: "image", Type: cyberun.TypeFile}}}
	for value, want := range map[string]string{
		"https://example.com/photo.png":  "which is not fetched: put the file into S3",
		"data:image/png;base64,iVBORw0K": "which is not fetched",
		"S3://bucket/photo.png":          "write s3://bucket/key",
		"gs://bucket/photo.png":          "which is not fetched",
		"/home/me/photo.png":             "only your machine has",
		"./photo.png":                    "only your machine has",
		"~/photo.png":                    "only your machine has",
		`C:\photo.png`:                   "only your machine has",
		"inputs/2026/photo.png":          "",
		"photo.png":                      "",
		"database:1":                     "",
		"@photo.png":                     "only your machine has",
		`..\photo.png`:                   "only your machine has",
		`\\server\photo.png`:             "only your machine has",
		"s3:/bucket/photo.png":           "write s3://bucket/key",
		"s3:bucket/photo.png":            "write s3://bucket/key",
		"arn:aws:s3:::bucket/photo.png":  "write s3://bucket/key",
		"arn:aws-cn:s3:::bucket/a.png":   "write s3://bucket/key",
		"file:photo.png":                 "which is not fetched",
		"blob:https://example.com/1":     "which is not fetched",
		" s3://bucket/photo.png":         "begins or ends with a blank",
		"photo.png\n":                    "begins or ends with a blank",
		"  ":                             "begins or ends with a blank",
		"s3://bucket/photo.png ":         "",
		"a\nb":                           "control characters",
		"iVBORw0KGgo" + strings.Repeat("A", maxFileKey): "if this is the file itself",
		"s3://bucket/photo.png":                         "",
	} {
		_, violations := CheckParameters(run.Request{Workflow: "w", Parameters: map[string]any{"image": value}}, w)
		if (want == "") != (len(violations) == 0) || want != "" && (violations[0].Parameter != "image" || !strings.Contains(violations[0].Message, want)) {
			t.Errorf("%s: %v, want %q", value, violations, want)
		}
	}
}

// TestNumbersAsTheyAreSent: in one form, and a fraction that no float64 shows is one.
func TestNumbersAsTheyAreSent(t *testing.T) {
	w := cyberun.Workflow{Parameters: []cyberun.Parameter{{Key: "n", Type: cyberun.TypeInteger}}}
	for given, want := range map[string]string{
		"30": "30", "30.0": "30", "3e1": "30", "1E5": "100000", "-0": "0", "18446744073709551615": "18446744073709551615", "1.5e40": "1.5e40",
		"30.5": "", "9007199254740993.5": "", "1e-9999999999": "", "15e-1": "",
	} {
		for _, asText := range []bool{true, false} {
			var value any = json.Number(given)
			if asText {
				value = given
			}
			sent, violations := CheckParameters(run.Request{Workflow: "w", Parameters: map[string]any{"n": value}, ParametersAsText: asText}, w)
			if want == "" && len(violations) != 1 || want != "" && sent["n"] != json.Number(want) {
				t.Errorf("%s: sent %v, %v, want %q", given, sent, violations, want)
			}
		}
	}
}

func TestVersionsOfFilesOnly(t *testing.T) {
	w := cyberun.Workflow{Parameters: []cyberun.Parameter{{Key: "Image", Type: cyberun.TypeFile}, {Key: "prompt", Type: cyberun.TypeString}}}
	pins := map[string]run.InputVersion{"image": {ETag: "e"}, "prompt": {ETag: "e"}}
	r := run.Request{Workflow: "w", ParametersAsText: true, Parameters: map[string]any{"image": "s3://bucket/k", "prompt": "s3://bucket/k"}, InputVersions: pins}
	if _, violations := CheckParameters(r, w); len(violations) != 1 || violations[0].Parameter != "input_versions.prompt" {
		t.Errorf("%v", violations)
	}
}
