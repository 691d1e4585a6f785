package run

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/google/go-cmp/cmp"
)

func TestParseRequestReads(t *testing.T) {
	tests := []struct {
		name string
		raw  string
		want Request
	}{
		{"only a workflow", `{"workflow":"text-to-image"}`,
			Request{Workflow: "text-to-image", Destination: Destination{DefaultPrefix}, MaxSeconds: DefaultMaxSeconds}},
		{"every field", `{"workflow":"text-to-image@2","parameters":{"prompt":"a sunset, 4k","image":"s3://bucket/photo.png"},"destination":{"prefix":"out/{date}/{workflow}/{run_id}/{task_id}/"},"max_seconds":60}`,
			Request{Workflow: "text-to-image@2", Parameters: map[string]any{"prompt": "a sunset, 4k", "image": "s3://bucket/photo.png"},
				Destination: Destination{"out/{date}/{workflow}/{run_id}/{task_id}/"}, MaxSeconds: 60}},
		{"a rescue", `{"task_id":"6f1c1a1e-0b1f-4a57-9d2a-5a6c8e0f7b11"}`,
			Request{TaskID: "6f1c1a1e-0b1f-4a57-9d2a-5a6c8e0f7b11", Destination: Destination{DefaultPrefix}, MaxSeconds: DefaultMaxSeconds}},
		{"a rescue with a place and a deadline", `{"task_id":"t.1_2-3","destination":{"prefix":"{task_id}/"},"max_seconds":604800}`,
			Request{TaskID: "t.1_2-3", Destination: Destination{"{task_id}/"}, MaxSeconds: MaxMaxSeconds}},
		{"what a calling state machine adds", `{"workflow":"w","AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID":"arn:aws:states:eu-west-1:123456789012:execution:parent:1"}`,
			Request{Workflow: "w", Destination: Destination{DefaultPrefix}, MaxSeconds: DefaultMaxSeconds}},
		{"parameters as text", `{"workflow":"w","parameters":{"steps":"30"},"parameters_as_text":true}`,
			Request{Workflow: "w", Parameters: map[string]any{"steps": "30"}, ParametersAsText: true, Destination: Destination{DefaultPrefix}, MaxSeconds: DefaultMaxSeconds}},
		{"a seed of 64 bits, kept to its last digit", `{"workflow":"w","parameters":{"seed":18446744073709551615,"deep":[{"n":9007199254740993}]}}`,
			Request{Workflow: "w", Parameters: map[string]any{"seed": json.Number("18446744073709551615"), "deep": []any{map[string]any{"n": json.Number("9007199254740993")}}},
				Destination: Destination{DefaultPrefix}, MaxSeconds: DefaultMaxSeconds}},
		{"an empty destination", `{"workflow":"w","destination":{}}`,
			Request{Workflow: "w", Destination: Destination{DefaultPrefix}, MaxSeconds: DefaultMaxSeconds}},
		{"a whole number written otherwise", `{"workflow":"w","max_seconds":6e1}`,
			Request{Workflow: "w", Destination: Destination{DefaultPrefix}, MaxSeconds: 60}},
		{"the least deadline, and a version of three digits", `{"workflow":"w@100","max_seconds":1.0}`,
			Request{Workflow: "w@100", Destination: Destination{DefaultPrefix}, MaxSeconds: 1}},
		{"blanks around it", " \n{\"workflow\":\"w\"}\r\n\t", Request{Workflow: "w", Destination: Destination{DefaultPrefix}, MaxSeconds: DefaultMaxSeconds}},
		{"a byte order mark", "\xef\xbb\xbf{\"workflow\":\"w\"}", Request{Workflow: "w", Destination: Destination{DefaultPrefix}, MaxSeconds: DefaultMaxSeconds}},
		{"characters that look like faults", `{"workflow":"w","parameters":{"a":"\u0000\ufffd","b":"\\ud83d","c":"\ud83d\ude00"}}`,
			Request{Workflow: "w", Parameters: map[string]any{"a": "\x00\ufffd", "b": `\ud83d`, "c": "😀"}, Destination: Destination{DefaultPrefix}, MaxSeconds: DefaultMaxSeconds}},
		{"one name in two objects", `{"workflow":"w","parameters":{"a":[{"x":1},{"x":1}],"b":{"a":{}},"workflow":1}}`,
			Request{Workflow: "w", Parameters: map[string]any{"a": []any{map[string]any{"x": json.Number("1")}, map[string]any{"x": json.Number("1")}}, "b": map[string]any{"a": map[string]any{}}, "workflow": json.Number("1")},
				Destination: Destination{DefaultPrefix}, MaxSeconds: DefaultMaxSeconds}},
		{"pins", `{"workflow":"w","parameters":{"a":"s3://bucket/a","b":"s3://bucket/b"},"input_versions":{"a":{"version_id":"3sL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY"},"b":{"etag":"\"5d41402abc4b2a76b9719d911017c592-2\""}}}`,
			Request{Workflow: "w", Parameters: map[string]any{"a": "s3://bucket/a", "b": "s3://bucket/b"}, Destination: Destination{DefaultPrefix}, MaxSeconds: DefaultMaxSeconds,
				InputVersions: map[string]InputVersion{"a": {VersionID: "3sL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY"}, "b": {ETag: "5d41402abc4b2a76b9719d911017c592-2"}}}},
		{"a slug in another script", `{"workflow":"bild-größer@1"}`, Request{Workflow: "bild-größer@1", Destination: Destination{DefaultPrefix}, MaxSeconds: DefaultMaxSeconds}},
		{"dots in a slug", `{"workflow":"v1.5..turbo"}`, Request{Workflow: "v1.5..turbo", Destination: Destination{DefaultPrefix}, MaxSeconds: DefaultMaxSeconds}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, violations := ParseRequest([]byte(test.raw))
			if len(violations) > 0 {
				t.Fatalf("violations: %v", violations)
			}
			test.want.Hash = got.Hash // TestRequestHash's
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRequestFaults(t *testing.T) {
	pad := strings.Repeat("x", MaxRequestBytes)
	tests := []struct {
		name  string
		raw   string
		wants []string // each fault: its parameter, and a part of what is said
	}{
		{"nothing", ``, []string{"request: is empty"}},
		{"blanks", " \n ", []string{"request: is empty"}},
		{"not JSON", `{"workflow":`, []string{"request: is not JSON"}},
		{"cut off", `{"workflow":`, []string{"request: is not JSON: it ends in the middle"}},
		{"a word processor's quotes", "{\n“workflow”: “w”}", []string{"request: is not JSON: line 2 has '“' (U+201C), which may stand within quotes alone"}},
		{"a blank that does not break", "{\u00a0\"workflow\":\"w\"}", []string{`request: is not JSON: line 1 has '\u00a0' (U+00A0)`}},
		{"two byte order marks", utf8BOM + utf8BOM + `{"workflow":"w"}`, []string{`(U+FEFF)`}},
		{"a comma at the end", "{\"workflow\":\"w\",\n}", []string{"request: is not JSON: invalid character '}' looking for beginning of object key string, in line 2"}},
		{"a line end in a string", "{\"workflow\":\"w\n\"}", []string{`in string literal, in line 1`}},
		{"a form", `workflow=text-to-image`, []string{"request: is not JSON"}},
		{"null", `null`, []string{"request: must be a JSON object, not null"}},
		{"an array", `[{"workflow":"w"}]`, []string{"request: must be a JSON object, not an array"}},
		{"a string", `"w"`, []string{"request: must be a JSON object, not a string"}},
		{"a number", `7`, []string{"request: must be a JSON object, not a number"}},
		{"two documents", `{"workflow":"w"}{"workflow":"w"}`, []string{"request: has more after"}},
		{"a brace too many", `{"workflow":"w"}}`, []string{"request: has more after"}},
		{"words after it", `{"workflow":"w"} please`, []string{"request: has more after"}},
		{"not UTF-8", "{\"workflow\":\"w\xff\"}", []string{"request: is not UTF-8"}},
		{"UTF-16", "\xff\xfe{\x00}\x00", []string{"request: is not UTF-8 but UTF-16 text: save it as UTF-8"}},
		{"UTF-16, the other way round", "\xfe\xff\x00{\x00}", []string{"request: is not UTF-8 but UTF-16 text"}},
		{"UTF-16 without a mark", "{\x00}\x00", []string{"request: is not UTF-8 but UTF-16 text"}},
		{"Latin-1", "{\"workflow\":\"w\",\n\"parameters\":{\"prompt\":\"caf\xe9\"}}", []string{"request: is not UTF-8: line 2 has the byte 0xE9, as Latin-1"}},
		{"Latin-1 at the end of the longest document", strings.Repeat(" ", MaxTextBytes-1) + "\xe9", []string{"request: is not UTF-8: line 1 has the byte 0xE9, as Latin-1"}},
		{"UTF-32", "\xff\xfe\x00\x00{\x00\x00\x00", []string{"request: is not UTF-8 but UTF-32 text"}},
		{"UTF-32, the other way round", "\x00\x00\xfe\xff\x00\x00\x00{", []string{"request: is not UTF-8 but UTF-32 text"}},
		{"UTF-32 without a mark", "{\x00\x00\x00}\x00\x00\x00", []string{"request: is not UTF-8 but UTF-32 text"}},
		{"zstd", "\x28\xb5\x2f\xfd\x04", []string{"request: is compressed with zstd"}},
		{"zip", "PK\x03\x04", []string{"request: is compressed with zip"}},
		{"gzip", "\x1f\x8b\x08\x00", []string{"request: is compressed with gzip"}},
		{"half of a surrogate pair", `{"workflow":"w","parameters":{"prompt":"\ud83d"}}`, []string{`request: has \ud83d at byte 40, which is half of a surrogate pair`}},
		{"the other half", `{"workflow":"w","parameters":{"prompt":"\ude00"}}`, []string{`request: has \ude00 at byte 40`}},
		{"half a pair before a letter's escape", `{"workflow":"w","parameters":{"prompt":"\\\ud83d\u0061"}}`, []string{`request: has \ud83d at byte 42`}},
		{"half a pair in a name", `{"workflow":"w","parameters":{"\ud83dx":1}}`, []string{`request: has \ud83d`}},
		{"names twice, at any depth", `{"workflow":"a","workflow":"w","parameters":{"prompt":1,"list":[0,{"x":1,"\u0078":2}],"prompt":2},"max_seconds":0}`, []string{
			"workflow: is given twice: which value is meant?", "parameters.list[1].x: is given twice", "parameters.prompt: is given twice", "max_seconds: is 0"}},
		{"deep", `{"workflow":"w","parameters":{"p":` + strings.Repeat("[", maxLevels-1) + strings.Repeat("]", maxLevels-1) + `}}`, []string{"request: is nested 501 levels deep; at most 500"}},
		{"deep, in objects", `{"workflow":"w","parameters":` + strings.Repeat(`{"p":`, 5000) + "1" + strings.Repeat("}", 5000) + `}`, []string{"request: is nested 5001 levels deep"}},
		{"too deep", strings.Repeat("[", 20000), []string{"request: is not JSON"}},
		{"a byte too large", `{"workflow":"` + pad[:MaxRequestBytes-len(`{"workflow":""}`)+1] + `"}`, []string{"request: is 261633 bytes as UTF-8 without blanks; at most 261632 bytes are accepted", "workflow: is longer than 200 bytes"}},
		{"too long to be read", strings.Repeat(" ", MaxTextBytes+1), []string{"request: is more than 1569792 bytes; at most 261632"}},
		{"too large with its numbers written out", `{"workflow":"w","parameters":{"list":[1e38` + strings.Repeat(",1e38", 10_000) + `]}}`, []string{"request: is 400080 bytes as UTF-8"}},

		{"an empty object", `{}`, []string{"workflow: is missing"}},
		{"parameters alone", `{"parameters":{"a":1}}`, []string{"workflow: is missing"}},
		{"an empty workflow", `{"workflow":""}`, []string{"workflow: must not be empty"}},
		{"a null workflow", `{"workflow":null}`, []string{"workflow: must be a string, not null"}},
		{"a numeric workflow", `{"workflow":7}`, []string{"workflow: must be a string, not a number"}},
		{"a path", `{"workflow":"a/b"}`, []string{`workflow: "a/b" is not a workflow`}},
		{"a query", `{"workflow":"a?x=1"}`, []string{"workflow: "}},
		{"a fragment", `{"workflow":"a#b"}`, []string{"workflow: "}},
		{"an escape", `{"workflow":"a%2fb"}`, []string{"workflow: "}},
		{"a template", `{"workflow":"{run_id}"}`, []string{"workflow: "}},
		{"a blank", `{"workflow":"text to image"}`, []string{"workflow: "}},
		{"a line end", `{"workflow":"w\n"}`, []string{"workflow: "}},
		{"one dot", `{"workflow":"."}`, []string{"workflow: "}},
		{"two dots", `{"workflow":"..@1"}`, []string{"workflow: "}},
		{"a version alone", `{"workflow":"@2"}`, []string{"workflow: "}},
		{"no version after the @", `{"workflow":"w@"}`, []string{`workflow: "" is not a version`}},
		{"version 0", `{"workflow":"w@0"}`, []string{`workflow: "0" is not a version`}},
		{"version 02", `{"workflow":"w@02"}`, []string{`workflow: "02" is not a version`}},
		{"a zero-width blank", `{"workflow":"w\u200b"}`, []string{`workflow: "w\u200b" is not a workflow`}},
		{"a byte order mark within", `{"workflow":"\ufeffw"}`, []string{"is not a workflow"}},
		{"version -1", `{"workflow":"w@-1"}`, []string{"is not a version"}},
		{"version +2", `{"workflow":"w@+2"}`, []string{"is not a version"}},
		{"version 1.5", `{"workflow":"w@1.5"}`, []string{"is not a version"}},
		{"version latest", `{"workflow":"w@latest"}`, []string{`"latest" is not a version: it is a whole number from 1, such as w@2`}},
		{"two versions", `{"workflow":"w@1@2"}`, []string{"is not a version"}},
		{"a huge version", `{"workflow":"w@99999999999999999999"}`, []string{"is not a version"}},
		{"a long workflow", `{"workflow":"` + pad[:201] + `"}`, []string{"workflow: is longer than 200 bytes"}},

		{"both", `{"workflow":"w","task_id":"t"}`, []string{"task_id: cannot stand beside workflow"}},
		{"a rescue with parameters", `{"task_id":"t","parameters":{}}`, []string{"parameters: cannot stand beside task_id"}},
		{"an empty task id", `{"task_id":""}`, []string{"task_id: must not be empty"}},
		{"a task id of dots", `{"task_id":".."}`, []string{"task_id: is not a task id"}},
		{"a task id with a path", `{"task_id":"a/../b"}`, []string{"task_id: is not a task id"}},
		{"a task id with a template", `{"task_id":"{run_id}"}`, []string{"task_id: is not a task id"}},
		{"a long task id", `{"task_id":"` + pad[:201] + `"}`, []string{"task_id: is not a task id"}},
		{"a task id that is an object", `{"task_id":{}}`, []string{"task_id: must be a string, not an object"}},

		{"parameters as an array", `{"workflow":"w","parameters":[]}`, []string{"parameters: must be an object, not an array"}},
		{"parameters as null", `{"workflow":"w","parameters":null}`, []string{"parameters: must be an object, not null"}},
		{"parameters as a string", `{"workflow":"w","parameters":"{}"}`, []string{"parameters: must be an object, not a string"}},
		{"parameters_as_text as a string", `{"workflow":"w","parameters_as_text":"true"}`, []string{"parameters_as_text: must be true or false, not a string"}},

		{"max_seconds 0", `{"workflow":"w","max_seconds":0}`, []string{"max_seconds: is 0; it must be a whole number from 1 to 604800"}},
		{"max_seconds below 0", `{"workflow":"w","max_seconds":-1}`, []string{"max_seconds: is -1"}},
		{"max_seconds a second too many", `{"workflow":"w","max_seconds":604801}`, []string{"max_seconds: is 604801"}},
		{"max_seconds in halves", `{"workflow":"w","max_seconds":1.5}`, []string{"max_seconds: is 1.5"}},
		{"max_seconds beyond numbers", `{"workflow":"w","max_seconds":1e999}`, []string{"max_seconds: is 1e999"}},
		{"max_seconds as text", `{"workflow":"w","max_seconds":"60"}`, []string{"max_seconds: must be a whole number, not a string"}},
		{"max_seconds null", `{"workflow":"w","max_seconds":null}`, []string{"max_seconds: must be a whole number, not null"}},

		{"input_versions as an array", `{"workflow":"w","input_versions":[]}`, []string{`input_versions: must be an object such as {"image"`}},
		{"a pin of what is not there", `{"workflow":"w","input_versions":{"image":{"etag":"e"}}}`, []string{"input_versions.image: is not a parameter whose value is s3://bucket/key"}},
		{"a pin of a file_key", `{"workflow":"w","parameters":{"image":"inputs/x.png"},"input_versions":{"image":{"etag":"e"}}}`, []string{"input_versions.image: is not a parameter whose value is s3://bucket/key"}},
		{"a pin beside a rescue", `{"task_id":"t","input_versions":{"image":{"etag":"e"}}}`, []string{"input_versions.image: is not a parameter whose value"}},
		{"pins with every fault", `{"workflow":"w","parameters":{"a":"s3://b/k","b":"s3://b/k","c":"s3://b/k","d":"s3://b/k","e":"s3://b/k","f":"s3://b/k"},
			"input_versions":{"a":"v1","b":{},"c":{"etag":"e","version_id":"v"},"d":{"version":"v"},"e":{"etag":"` + pad[:257] + `"},"f":{"version_id":"a\nb"},"g":{"etag":""}}}`, []string{
			"input_versions.a: must be an object", "input_versions.b: must have version_id or etag, and not both", "input_versions.c: must have version_id or etag, and not both",
			"input_versions.d.version: is not a field", "input_versions.d: must have version_id or etag", "input_versions.e.etag: is longer than 256 bytes",
			"input_versions.f.version_id: must be visible ASCII", "input_versions.g: is not a parameter", "input_versions.g.etag: must not be empty"}},
		{"a version id that is a number, and a long one", `{"workflow":"w","parameters":{"a":"s3://b/k","b":"s3://b/k"},"input_versions":{"a":{"version_id":7},"b":{"version_id":"` + pad[:1025] + `"}}}`, []string{
			"input_versions.a.version_id: must be a string, not a number", "input_versions.b.version_id: is longer than 1024 bytes"}},

		{"destination as a string", `{"workflow":"w","destination":"runs/"}`, []string{"destination: must be an object"}},
		{"a bucket", `{"workflow":"w","destination":{"bucket":"b","prefix":"{run_id}/"}}`, []string{"destination.bucket: is not a field"}},
		{"an empty prefix", `{"workflow":"w","destination":{"prefix":""}}`, []string{"destination.prefix: must not be empty"}},
		{"a prefix that is none", `{"workflow":"w","destination":{"prefix":7}}`, []string{"destination.prefix: must be a string, not a number"}},
		{"a prefix with every fault", `{"workflow":"w","destination":{"prefix":"/../{user}/\u0000"}}`, []string{
			"must not begin with '/'", "must not contain '..'", "control characters", "no other braces", "must use {run_id} or {task_id}"}},

		{"a typo", `{"workflow":"w","paramters":{}}`, []string{"paramters: is not a field of a request"}},
		{"another case", `{"Workflow":"w"}`, []string{"Workflow: is not a field", "workflow: is missing"}},
		{"five violations at once", `{"workflow":"w@0","parameters":[],"destination":{"prefix":"/{run_id}/"},"max_seconds":0,"steps":30}`, []string{
			"destination.prefix: must not begin", "max_seconds: is 0", "parameters: must be an object", "steps: is not a field", `workflow: "0" is not a version`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, violations := ParseRequest([]byte(test.raw))
			if len(violations) != len(test.wants) {
				t.Fatalf("%d violations, want %d: %v", len(violations), len(test.wants), violations)
			}
			for i, want := range test.wants {
				if said := violations[i].Parameter + ": " + violations[i].Message; !strings.Contains(said, want) {
					t.Errorf("fault %d is %q, want %q in it", i, said, want)
				}
			}
			e, _ := named.As(violations.Err())
			if e == nil || e.Name != named.InvalidRequest || e.Hint == "" || len(e.Violations) != len(violations) {
				t.Fatalf("the named error is %+v", e)
			}
			for _, want := range test.wants {
				if !strings.Contains(e.Cause, want) {
					t.Errorf("the cause %q lacks %q", e.Cause, want)
				}
			}
		})
	}
}

// What could be read stands beside the violations, so that the workflow's own can be
// told in the same answer.
func TestParseRequestReadsBesideFaults(t *testing.T) {
	r, violations := ParseRequest([]byte(`{"workflow":"w","parameters":{"steps":"many"},"max_seconds":"soon","typo":1}`))
	if len(violations) != 2 || r.Workflow != "w" || r.Parameters["steps"] != "many" || r.MaxSeconds != DefaultMaxSeconds {
		t.Errorf("request %+v, violations %v", r, violations)
	}
}

// A request is as large as the input that its execution gets: blanks, escapes and a
// byte order mark do not count, and each byte of UTF-8 does.
func TestParseRequestLimit(t *testing.T) {
	document := func(prompt string) string { return `{"parameters":{"prompt":"` + prompt + `"},"workflow":"w"}` }
	room := MaxRequestBytes - len(document(""))
	for name, test := range map[string]struct {
		raw  string
		fits bool
	}{
		"as large as can be":   {document(strings.Repeat("x", room)), true},
		"a byte more":          {document(strings.Repeat("x", room+1)), false},
		"blanks and a mark":    {utf8BOM + strings.Repeat(" ", MaxRequestBytes) + document(strings.Repeat("x", room)), true},
		"emoji":                {document(strings.Repeat("😀", room/4)), true},
		"an emoji more":        {document(strings.Repeat("😀", room/4+1)), false},
		"emoji as escapes":     {document(strings.Repeat(`\ud83d\ude00`, room/4)), true},
		"letters as escapes":   {document(strings.Repeat(`\u0061`, room-1)), true},
		"too many, as escapes": {document(strings.Repeat(`\u0061`, room+1)), false},
	} {
		_, violations := ParseRequest([]byte(test.raw))
		if (len(violations) == 0) != test.fits {
			t.Errorf("%s: %v", name, violations)
		}
		input, err := Canonical([]byte(test.raw))
		if err == nil && (len(input) <= MaxRequestBytes) != test.fits {
			t.Errorf("%s: the input has %d bytes", name, len(input))
		}
	}
}

// The state Submit sends the request with what stands beside it: both must fit Step
// Functions' quota, whatever the names of the stack and of the run.
func TestRoomForSubmit(t *testing.T) {
	longest := strings.Repeat("n", 80) // Step Functions' bound of a name
	beside := map[string]any{
		"run_id":        longest,
		"execution_arn": "arn:aws-us-gov:states:ap-southeast-99:123456789012:execution:" + longest + ":" + longest,
		"started_at":    "2026-11-23T12:00:00.123456789Z", "redrive_count": 1000, "attempts": 2500, "request": json.RawMessage("0"),
	}
	raw, err := json.Marshal(beside)
	if err != nil {
		t.Fatal(err)
	}
	if most := MaxRequestBytes + len(raw); most > 256<<10 {
		t.Errorf("the state's data can have %d bytes", most)
	}
}

// A request of 256 KiB has room for tens of thousands of violations: what is told of
// them must fit Lambda's 6 MB and Step Functions' 32 KiB.
const maxViolations = 500 // as shared/named has it

func TestFaultsAreBounded(t *testing.T) {
	var fields []string
	for i := range 20000 {
		fields = append(fields, fmt.Sprintf(`"%d":0`, i))
	}
	_, violations := ParseRequest([]byte("{" + strings.Join(fields, ",") + "}"))
	if len(violations) != maxViolations+1 || violations[maxViolations].Parameter != "request" {
		t.Errorf("%d violations, the last of them %v", len(violations), violations[len(violations)-1])
	}
	if e, _ := named.As(violations.Err()); len(e.Message()) > 16<<10 || !strings.Contains(e.Cause, " more") {
		t.Errorf("a message of %d bytes that ends %q", len(e.Message()), e.Cause[len(e.Cause)-40:])
	}
	_, violations = ParseRequest([]byte(`{"workflow":"w","` + strings.Repeat("ä", 100000) + `":0}`))
	if len(violations) != 1 || len(violations[0].Parameter) > maxName+len("…") || !strings.HasSuffix(violations[0].Parameter, "ä…") {
		t.Errorf("a name of 200 KB is told with %d bytes", len(violations[0].Parameter))
	}
}

func TestNoFaultsAreNoError(t *testing.T) {
	if e := named.Violations(nil).Err(); e != nil {
		t.Errorf("got %v", e)
	}
}

func TestSlug(t *testing.T) {
	for ref, want := range map[string]string{"": "rescue", "text-to-image": "text-to-image", "text-to-image@2": "text-to-image"} {
		if got := (Request{Workflow: ref}).Slug(); got != want {
			t.Errorf("%q: %q, want %q", ref, got, want)
		}
	}
}

// FuzzParseRequest: whatever comes, it ends with violations or with a request that
// holds what the rest of the relay counts on.
func FuzzParseRequest(f *testing.F) {
	for _, s := range []string{
		`{"workflow":"text-to-image@2","parameters":{"prompt":"p","steps":30,"seed":18446744073709551615},"destination":{"prefix":"runs/{run_id}/"},"max_seconds":86400}`,
		`{"task_id":"t-1"}`, `{"workflow":"w","parameters_as_text":true,"parameters":{"a":"1"}}`, `{}`, `null`, `[`, "\xff", `{"workflow":"w"}x`,
		`{"workflow":"w","destination":{"prefix":"{task_id}{{"}}`, `{"max_seconds":1e999}`, `{"task_id":"..","workflow":"@"}`,
		`{"workflow":"w","parameters":{"a":"s3://bucket/k"},"input_versions":{"a":{"version_id":"v"}}}`, `{"workflow":"w","input_versions":{"a":{"etag":"e","x":0}}}`,
		`{"workflow":"w","parameters":{"a":{"b":1,"b":2}}}`, `{"workflow":"\ud83d"}`, "\xef\xbb\xbf{}", "\xff\xfe{\x00", "\x1f\x8b",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, violations := ParseRequest(raw)
		for _, fault := range violations {
			if fault.Parameter == "" && !strings.Contains(string(raw), `""`) || fault.Message == "" {
				t.Fatalf("an empty fault: %+v", fault)
			}
		}
		if len(violations) > 0 {
			return
		}
		if (r.Workflow == "") == (r.TaskID == "") || r.MaxSeconds < 1 || r.MaxSeconds > MaxMaxSeconds || !validPrefix(r.Destination.Prefix) {
			t.Fatalf("let through: %+v", r)
		}
		for name, v := range r.InputVersions {
			if uri, _ := r.Parameters[name].(string); !IsS3URI(uri) || (v.VersionID == "") == (v.ETag == "") {
				t.Fatalf("let through: %s pinned to %+v", name, v)
			}
		}
		if strings.ContainsRune(fmt.Sprint(r.Parameters), '\ufffd') && !strings.Contains(string(raw), "\ufffd") && !strings.Contains(strings.ToLower(string(raw)), `\ufffd`) {
			t.Fatalf("characters were replaced: %q", r.Parameters)
		}
		if slug := r.Slug(); slug == "" || slug == "." || slug == ".." || strings.ContainsAny(slug, "/{}") {
			t.Fatalf("slug %q", slug)
		}
		canonical, err := Canonical(raw)
		if err != nil {
			t.Fatalf("no canonical form: %v", err)
		}
		again, violations := ParseRequest(canonical)
		if len(violations) > 0 {
			t.Fatalf("the canonical form has violations: %v", violations)
		}
		if len(canonical) > MaxRequestBytes || (again.Workflow != r.Workflow || again.Destination != r.Destination || again.MaxSeconds != r.MaxSeconds || len(again.Parameters) != len(r.Parameters) || !maps.Equal(again.InputVersions, r.InputVersions)) {
			t.Fatalf("%+v became %+v", r, again)
		}
	})
}

// Every field of the document is read by ParseRequest, and written as it is read.
func TestRequestRoundTrip(t *testing.T) {
	want := Request{Workflow: "w@3", Parameters: map[string]any{"a": "s3://bucket/a", "b": json.Number("1")}, ParametersAsText: true, Destination: Destination{"{run_id}/"}, MaxSeconds: 5,
		InputVersions: map[string]InputVersion{"a": {ETag: "e"}}}
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, violations := ParseRequest(raw)
	want.Hash = got.Hash // TestRequestHash's
	if diff := cmp.Diff(want, got); diff != "" || len(violations) > 0 {
		t.Errorf("%v\n%s", violations, diff)
	}
	var names []string
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatal(err)
	}
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	if want := []string{"destination", "input_versions", "max_seconds", "parameters", "parameters_as_text", "workflow"}; !slices.Equal(names, want) {
		t.Errorf("fields %v, want %v", names, want)
	}
}

// TestRequestHash tells requests apart by their value, whatever their text.
func TestRequestHash(t *testing.T) {
	hash := func(raw string) string { r, _ := ParseRequest([]byte(raw)); return r.Hash }
	base := hash(`{"workflow":"w","parameters":{"a":1,"b":"x"}}`)
	tests := []struct {
		name, raw string
		same      bool
	}{
		{name: "order and blanks", raw: `{ "parameters": {"b":"x", "a":1.0}, "workflow":"w" }`, same: true},
		{name: "another value", raw: `{"workflow":"w","parameters":{"a":2,"b":"x"}}`},
		{name: "another field", raw: `{"workflow":"w","parameters":{"a":1,"b":"x"},"max_seconds":86400}`},
		{name: "a version pinned", raw: `{"workflow":"w@1","parameters":{"a":1,"b":"x"}}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := hash(test.raw); len(got) != 64 || (got == base) != test.same {
				t.Errorf("%s and %s", got, base)
			}
		})
	}
	if got := hash(`{`); got != "" {
		t.Errorf("what is no document has the hash %s", got)
	}
}
