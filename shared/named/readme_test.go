package named

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// documented is what a document's table says of one name.
type documented struct {
	line    int    // in the document
	status  string // of the API's answer
	redrive string // empty if the table has no such column
}

// documentedIn reads the table whose header begins with header out of a document.
// The first cell of a row has the names, the second their statuses, one for all
// of them or one for each, and the third, of a table that has it, whether a
// redrive gets past them.
func documentedIn(t *testing.T, path, header string, hasRedrive bool) map[string]documented {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(raw), "\n")
	start := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, header) })
	if start < 0 {
		t.Fatalf("%s has no table that begins with %q", path, header)
	}
	quoted := regexp.MustCompile("`([A-Za-z]+)`")
	rows := map[string]documented{}
	for i := start + 2; i < len(lines) && strings.HasPrefix(lines[i], "|"); i++ {
		cells := strings.Split(strings.Trim(lines[i], "|"), "|")
		names := quoted.FindAllStringSubmatch(cells[0], -1)
		statuses := strings.Split(strings.TrimSpace(cells[1]), ", ")
		if len(names) == 0 || len(statuses) != 1 && len(statuses) != len(names) {
			t.Fatalf("%s:%d has %d names and %d statuses: %s", path, i+1, len(names), len(statuses), lines[i])
		}
		for n, name := range names {
			if before, twice := rows[name[1]]; twice {
				t.Errorf("%s:%d names %s again, after line %d", path, i+1, name[1], before.line)
			}
			row := documented{line: i + 1, status: statuses[min(n, len(statuses)-1)]}
			if hasRedrive {
				row.redrive = strings.TrimSpace(cells[2])
			}
			rows[name[1]] = row
		}
	}
	return rows
}

// statusText is how a document writes the status of a name: a dash where no answer
// of the API has it.
func statusText(row Spec) string {
	if row.HTTPStatus == 0 {
		return "–"
	}
	return strconv.Itoa(row.HTTPStatus)
}

// The README's table names each error once, and nothing else, with the status and
// the redrive that the table in code says.
func TestREADME(t *testing.T) {
	const path = "../../README.md"
	rows := documentedIn(t, path, "| name | API | redrive |", true)
	for _, row := range Table {
		said, found := rows[row.Name]
		if !found {
			t.Errorf("%s lacks %s", path, row.Name)
			continue
		}
		delete(rows, row.Name)
		if want := statusText(row); said.status != want {
			t.Errorf("%s:%d says the status %s of %s, which is %s", path, said.line, said.status, row.Name, want)
		}
		want := []string{"no", "–"} // a dash: no run ends by it
		switch {
		case row.Redrivable:
			want = []string{"yes"}
		case row.Name == RunRejected:
			want = []string{"no; after a 402 yes"}
		}
		if !slices.Contains(want, said.redrive) {
			t.Errorf("%s:%d says of a redrive after %s %q, and not one of %q", path, said.line, row.Name, said.redrive, want)
		}
	}
	for name, said := range rows {
		t.Errorf("%s:%d names %s, which is not in the table", path, said.line, name)
	}
	if e := (&Error{Name: RunRejected, Hint: HintAfterPayment}); !e.Redrivable() || Errorf(RunRejected, "x").Redrivable() {
		t.Error("a redrive does not get past a RunRejected after a 402 alone, as the README says")
	}
}

// The document on container services names each of their errors, and gives every
// error that it names the status that the table in code says.
func TestContainersDocument(t *testing.T) {
	const path = "../../docs/containers.md"
	rows := documentedIn(t, path, "| `relay-error` | status |", false)
	for _, row := range Table {
		said, found := rows[row.Name]
		if !found && strings.HasPrefix(row.Name, "Container") {
			t.Errorf("%s lacks %s", path, row.Name)
		}
		if want := statusText(row); found && said.status != want {
			t.Errorf("%s:%d says the status %s of %s, which is %s", path, said.line, said.status, row.Name, want)
		}
		delete(rows, row.Name)
	}
	for name, said := range rows {
		t.Errorf("%s:%d names %s, which is not in the table", path, said.line, name)
	}
}
