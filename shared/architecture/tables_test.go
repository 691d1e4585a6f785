package architecture

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the generated part of docs/api.md anew")

// template is what the pages say of template.yaml.
type template struct {
	Parameters map[string]struct {
		Default string `yaml:"Default"`
	} `yaml:"Parameters"`
	Resources map[string]struct {
		Type string `yaml:"Type"`
	} `yaml:"Resources"`
	Outputs map[string]yaml.Node `yaml:"Outputs"`
}

func readTemplate(t *testing.T) (read template) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(readFile(t, "template.yaml")), &read); err != nil {
		t.Fatal(err)
	}
	return read
}

// tableOf returns the first two cells of the rows under a header.
func tableOf(t *testing.T, page, header string) map[string]string {
	t.Helper()
	_, rest, found := strings.Cut(page, header+"\n")
	if !found {
		t.Fatalf("there is no table %q", header)
	}
	rows := map[string]string{}
	for _, row := range strings.Split(rest, "\n")[1:] {
		if !strings.HasPrefix(row, "|") {
			break
		}
		cells := strings.Split(row, "|")
		rows[strings.Trim(cells[1], " `*")] = strings.Trim(cells[2], " `")
	}
	return rows
}

// docs/deploy.md has the template's parameters with their defaults, and its outputs.
func TestDeployPage(t *testing.T) {
	page, read := readFile(t, "docs/deploy.md"), readTemplate(t)
	defaults := map[string]string{}
	for name, parameter := range read.Parameters {
		defaults[name] = parameter.Default
	}
	said := tableOf(t, page, "| parameter | default | |")
	for name, value := range said {
		if strings.HasPrefix(value, "empty") {
			said[name] = ""
		}
	}
	if diff := cmp.Diff(defaults, said); diff != "" {
		t.Errorf("parameters (-template.yaml +docs/deploy.md):\n%s", diff)
	}
	outputs := slices.Sorted(maps.Keys(tableOf(t, page, "| output | |")))
	if diff := cmp.Diff(slices.Sorted(maps.Keys(read.Outputs)), outputs); diff != "" {
		t.Errorf("outputs (-template.yaml +docs/deploy.md):\n%s", diff)
	}
}

// docs/operations.md has a heading for each alarm of the template.
func TestOperationsPage(t *testing.T) {
	var want, got []string
	for name, resource := range readTemplate(t).Resources {
		if resource.Type == "AWS::CloudWatch::Alarm" {
			want = append(want, name)
		}
	}
	for _, match := range regexp.MustCompile(`(?m)^## (\w+Alarm)$`).FindAllStringSubmatch(readFile(t, "docs/operations.md"), -1) {
		got = append(got, match[1])
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
		t.Errorf("alarms (-template.yaml +docs/operations.md):\n%s", diff)
	}
}

// routesTable is the generated part of docs/api.md: each operation of the OpenAPI
// document with the answers that are the relay's.
func routesTable(t *testing.T) string {
	t.Helper()
	type operation struct {
		Summary   string `yaml:"summary"`
		Responses map[string]struct {
			Ref string `yaml:"$ref"`
		} `yaml:"responses"`
	}
	var document struct {
		Paths yaml.Node `yaml:"paths"`
	}
	if err := yaml.Unmarshal([]byte(readFile(t, "docs/openapi.yaml")), &document); err != nil {
		t.Fatal(err)
	}
	const header = "| route | | answers | refusals |\n| --- | --- | --- | --- |\n"
	table := header
	for i := 0; i < len(document.Paths.Content); i += 2 { // a key, then its value
		at := document.Paths.Content[i].Value
		var item map[string]yaml.Node
		if err := document.Paths.Content[i+1].Decode(&item); err != nil {
			t.Fatal(err)
		}
		methods := []string{"get", "post", "delete"}
		_, any := item["patch"]
		if any {
			methods = []string{"get"}
		}
		for _, method := range methods {
			node, has := item[method]
			if !has {
				continue
			}
			var o operation
			if err := node.Decode(&o); err != nil {
				t.Fatal(err)
			}
			var answers, refusals []string
			for _, status := range slices.Sorted(maps.Keys(o.Responses)) {
				switch {
				case status == "default":
					answers = append(answers, "the container's")
				case strings.HasSuffix(o.Responses[status].Ref, "/Gateway"):
				case status < "400":
					answers = append(answers, status)
				default:
					refusals = append(refusals, status)
				}
			}
			method, at := strings.ToUpper(method), at
			if any {
				method, at = "ANY", strings.Replace(at, "{path}", "{path+}", 1)
			}
			table += fmt.Sprintf("| `%s %s` | %s | %s | %s |\n", method, at, o.Summary, strings.Join(answers, ", "), strings.Join(refusals, ", "))
		}
	}
	return table
}

// docs/api.md has the routes of docs/openapi.yaml.
func TestRoutesInAPIPage(t *testing.T) {
	const name, begin, end = "docs/api.md", " -update -->\n\n", "<!-- end -->"
	page, want := readFile(t, name), routesTable(t)
	before, rest, found := strings.Cut(page, begin)
	got, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s has no generated part", name)
	}
	if *update {
		if err := os.WriteFile(filepath.Join(root, name), []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" || strings.Count(want, "\n") < 10 {
		t.Errorf("%s is stale; write it anew with: go test ./shared/architecture -run TestRoutesInAPIPage -update\n(-docs/openapi.yaml +page):\n%s", name, diff)
	}
}

// docs/copying.md has the figures of the last bench.
func TestFiguresOfTheCopy(t *testing.T) {
	results := readFile(t, "bench/results/README.md")
	_, secure, ok := strings.Cut(results, "over TLS\n")
	_, plain, found := strings.Cut(results, "over plain HTTP\n")
	if !ok || !found {
		t.Fatal("bench/results/README.md has no tables of one large file")
	}
	figure := func(section, name string) string {
		row := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(name) + ` \| (\d+) \|`).FindStringSubmatch(section)
		if row == nil {
			return "nothing"
		}
		return row[1]
	}
	_, table, _ := strings.Cut(readFile(t, "docs/copying.md"), "| TLS, MB/s | plain, MB/s |")
	rows := 0
	for _, row := range strings.Split(table, "\n")[2:] {
		cells := strings.Split(row, " | ")
		if len(cells) < 4 {
			break
		}
		name := strings.TrimPrefix(cells[0], "| ")
		if strings.HasPrefix(name, "for reference") {
			name = "reference: GET and PUT at once, unconnected"
		}
		rows++
		if one, two := figure(secure, name), figure(plain, name); one != cells[1] || two != cells[2] {
			t.Errorf("docs/copying.md says %s and %s MB/s of %s; the last bench found %s and %s", cells[1], cells[2], name, one, two)
		}
	}
	if rows < 5 {
		t.Errorf("only %d rows were seen", rows)
	}
}

// docs/operations.md has the figures of the last report on waiting.
func TestFiguresOfWaiting(t *testing.T) {
	report := readFile(t, "docs/waiting/README.md")
	_, rest, found := strings.Cut(readFile(t, "docs/operations.md"), "\nRuns that take longer cost,")
	sentence, _, ended := strings.Cut(rest, "\n\n")
	if !found || !ended {
		t.Fatal("docs/operations.md does not say what longer runs cost")
	}
	prices := regexp.MustCompile(`\$\d+\.\d\d\b`).FindAllString(sentence, -1)
	for _, price := range prices {
		if !strings.Contains(report, " "+price+" |") {
			t.Errorf("docs/operations.md says %s, which docs/waiting/README.md does not", price)
		}
	}
	if len(prices) < 4 {
		t.Errorf("only %v were seen", prices)
	}
}
