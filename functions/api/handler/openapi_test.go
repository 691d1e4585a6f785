package handler

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/eventstest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// openAPI is docs/openapi.yaml as JSON. Its objects take no member here that it
// does not name: a client is told to ignore what it does not know, but the relay
// is to tell of all that it sends.
var openAPI = sync.OnceValues(func() (map[string]any, error) {
	raw, err := os.ReadFile("../../../docs/openapi.yaml")
	if err != nil {
		return nil, err
	}
	var document map[string]any
	if err := yaml.Unmarshal(raw, &document); err != nil {
		return nil, err
	}
	closeObjects(document, false)
	raw, err = json.Marshal(document)
	if err != nil {
		return nil, err
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(raw)))
	if err != nil {
		return nil, err
	}
	return value.(map[string]any), nil
})

func closeObjects(v any, refined bool) {
	switch v := v.(type) {
	case map[string]any:
		if _, object := v["properties"].(map[string]any); object && v["additionalProperties"] == nil && !refined {
			v["additionalProperties"] = false
		}
		for name, inner := range v {
			closeObjects(inner, name == "allOf")
		}
	case []any:
		for _, inner := range v {
			closeObjects(inner, refined)
		}
	}
}

func document(t testing.TB) map[string]any {
	t.Helper()
	d, err := openAPI()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// at goes down a document by names; nil if there is nothing.
func at(v any, names ...string) any {
	for _, name := range names {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

// documented are the document's operations by route key. Those of one path that
// has all the methods which are passed on are the route ANY.
func documented(t testing.TB) map[string]map[string]any {
	t.Helper()
	passedOn := []string{"delete", "get", "head", "options", "patch", "post", "put"}
	operations := map[string]map[string]any{"$default": {"responses": map[string]any{"404": map[string]any{"$ref": "#/components/responses/NoRoute"}}}}
	for path, item := range at(document(t), "paths").(map[string]any) {
		var methods []string
		for method := range item.(map[string]any) {
			if slices.Contains(passedOn, method) {
				methods = append(methods, method)
			}
		}
		slices.Sort(methods)
		if slices.Equal(methods, passedOn) {
			operations["ANY "+strings.Replace(path, "{path}", "{path+}", 1)] = at(item, "get").(map[string]any)
			continue
		}
		for _, method := range methods {
			operations[strings.ToUpper(method)+" "+path] = at(item, method).(map[string]any)
		}
	}
	return operations
}

// TestRoutesAgree: the template, the function's own endpoints and docs/openapi.yaml
// have the same routes.
func TestRoutesAgree(t *testing.T) {
	inTemplate := eventstest.Routes(t)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(inTemplate)), slices.Sorted(maps.Keys(documented(t)))); diff != "" {
		t.Errorf("routes (-template +docs/openapi.yaml):\n%s", diff)
	}
	maps.DeleteFunc(inTemplate, func(_, function string) bool { return function != "ApiFunction" })
	if diff := cmp.Diff(slices.Sorted(maps.Keys(inTemplate)), append([]string{"$default"}, slices.Sorted(maps.Keys((&Handler{}).endpoints()))...)); diff != "" {
		t.Errorf("routes (-template +endpoints):\n%s", diff)
	}
	for key, operation := range documented(t) {
		_, path, _ := strings.Cut(key, " ")
		parameters := fmt.Sprint(at(operation, "parameters"), at(document(t), "paths", strings.Replace(path, "{path+}", "{path}", 1), "parameters"))
		if strings.Contains(path, "{id}") && !strings.Contains(parameters, "/RunID") || strings.Contains(path, "{slug}") && !strings.Contains(parameters, "Slug") && !strings.Contains(parameters, "name:slug") {
			t.Errorf("%s does not describe its path's parameters: %s", key, parameters)
		}
	}
}

// TestProblemsAgree: every named error that has a status stands in the document,
// and every answer there has the status that the table in code says.
func TestProblemsAgree(t *testing.T) {
	var want, got []string
	for _, row := range named.Table {
		if row.HTTPStatus != 0 {
			want = append(want, row.Name)
		}
	}
	for _, title := range at(document(t), "components", "schemas", "Problem", "properties", "title", "enum").([]any) {
		got = append(got, title.(string))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("titles (-named.Table +docs/openapi.yaml):\n%s", diff)
	}
	problems := 0
	for key, operation := range documented(t) {
		for status, response := range operation["responses"].(map[string]any) {
			response := resolved(t, response)
			schema, isProblem := at(response, "content", "application/problem+json", "schema", "allOf").([]any)
			if !isProblem {
				continue
			}
			problems++
			refined := at(schema[1], "properties")
			if said := fmt.Sprint(at(refined, "status", "const")); said != status {
				t.Errorf("%s: its %s says that it is a %s", key, status, said)
			}
			for _, title := range at(refined, "title", "enum").([]any) {
				if row, known := named.Lookup(title.(string)); !known || strconv.Itoa(row.HTTPStatus) != status {
					t.Errorf("%s: %s is a %d and stands under %s", key, title, row.HTTPStatus, status)
				}
			}
			if (status == "503") != (at(response, "headers", "Retry-After") != nil) {
				t.Errorf("%s: Retry-After belongs to a 503 alone", key)
			}
		}
	}
	if problems < 35 {
		t.Errorf("only %d problems were seen", problems)
	}
}

// resolved is a response, be it written where it belongs or referred to.
func resolved(t testing.TB, response any) map[string]any {
	t.Helper()
	if ref, ok := at(response, "$ref").(string); ok {
		response = at(document(t), strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
	}
	m, ok := response.(map[string]any)
	if !ok {
		t.Fatalf("a response that leads nowhere")
	}
	return m
}

const documentAddress = "file:///openapi.json"

var compiler = sync.OnceValues(func() (*jsonschema.Compiler, error) {
	d, err := openAPI()
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	return c, c.AddResource(documentAddress, d)
})

var compiling sync.Mutex

// documents holds an answer to docs/openapi.yaml: it has the status, the media
// type, the headers and the schema for it.
func documents(t testing.TB, routeKey string, a answer) {
	t.Helper()
	status := strconv.Itoa(a.status)
	response, known := at(documented(t)[routeKey], "responses", status).(map[string]any)
	if !known {
		t.Errorf("%s answered %s, of which docs/openapi.yaml knows nothing: %s", routeKey, status, a.raw)
		return
	}
	method, path, _ := strings.Cut(routeKey, " ")
	escape := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D")
	pointer := "/paths/" + escape.Replace(path) + "/" + strings.ToLower(method) + "/responses/" + status
	if ref, ok := response["$ref"].(string); ok {
		pointer = strings.TrimPrefix(ref, "#")
	}
	response = resolved(t, response)
	mediaType := a.headers["content-type"]
	if at(response, "content", mediaType) == nil {
		t.Errorf("%s answered %s as %s, of which docs/openapi.yaml knows nothing", routeKey, status, mediaType)
		return
	}
	names, _ := response["headers"].(map[string]any)
	for _, name := range []string{"Location", "Retry-After"} {
		if (names[name] != nil) != (a.headers[strings.ToLower(name)] != "") {
			t.Errorf("%s answered %s with %s %q, otherwise than docs/openapi.yaml says", routeKey, status, name, a.headers[strings.ToLower(name)])
		}
	}
	compiling.Lock()
	defer compiling.Unlock()
	c, err := compiler()
	if err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(documentAddress + "#" + pointer + "/content/" + escape.Replace(mediaType) + "/schema")
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(a.raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("%s answered %s otherwise than docs/openapi.yaml says: %v", routeKey, status, err)
	}
}
