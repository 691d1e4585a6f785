package named

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// documented is what a document's table says of one name.
type documented struct {
	line   int    // in the document
	status string // of the API's answer
}

// documentedIn reads the table whose header begins with header out of a document.
// The first cell of a row has the names, and the second their statuses, one for
// all of them or one for each.
func documentedIn(t *testing.T, path, header string) map[string]documented {
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
			rows[name[1]] = documented{line: i + 1, status: statuses[min(n, len(statuses)-1)]}
		}
	}
	return rows
}

// statusText is how a document writes the status of a name: a dash where it has none.
func statusText(row Spec) string {
	if row.HTTPStatus == 0 {
		return "–"
	}
	return strconv.Itoa(row.HTTPStatus)
}

var update = flag.Bool("update", false, "write docs/errors.md anew")

// errorsIntro is the part of docs/errors.md that is the same whatever the table holds.
const errorsIntro = `# Named errors

<!-- Generated from shared/named/table.go. After a change there: go test ./shared/named -run TestErrorsDocument -update -->

A run that fails has one of these names: in ` + "`relay status`" + `, in its record and in ` + "`error.json`" + `. Its execution shows the same
name, or the platform's own, such as ` + "`Lambda.Unknown`" + ` or ` + "`States.Timeout`" + `; or that of the last step, where the record has a graver
one, such as ` + "`SubmitOutcomeUnknown`" + ` of a run that ended in doubt. A request that the API
refuses has one as the ` + "`title`" + ` of the problem document. With the name come a cause, which says what went wrong and where, and a hint,
which says what to do. The hints below are the usual ones; where more is known, the error carries a more precise one.

- **API** is the HTTP status that belongs to the name, where one does; [openapi.yaml](openapi.yaml) says which routes answer with it.
- **Redrive** says whether ` + "`relay redrive RUN`" + ` can get past the error once its cause is gone. It goes on where the run failed and never submits
  a task again that Cyberun had accepted. Step Functions takes a redrive within 14 days of the failure, and while the execution's history has fewer than
  24,999 events. A dash: no run ends by this error. ` + "`RunNotFound`" + ` is an exception: a run whose record somebody deleted ends by it.
- **Retried** names are tried again by the state machine before a run fails by them.

| name | API | redrive | what has happened |
| --- | --- | --- | --- |
`

// errorsDocument is docs/errors.md as the table in code has it.
func errorsDocument() string {
	var page strings.Builder
	page.WriteString(errorsIntro)
	for _, row := range Table {
		first, _, _ := strings.Cut(row.Meaning, ". ")
		fmt.Fprintf(&page, "| [`%s`](#%s) | %s | %s | %s |\n", row.Name, strings.ToLower(row.Name), statusText(row), redriveText(row), strings.TrimSuffix(first, "."))
	}
	for _, row := range Table {
		fmt.Fprintf(&page, "\n### %s\n%s\n\nWhat to do: %s.\n\n", row.Name, row.Meaning, row.Hint)
		if row.RequestHint != "" {
			end := "."
			if strings.HasSuffix(row.RequestHint, "?") {
				end = ""
			}
			fmt.Fprintf(&page, "In an answer of the API: %s%s\n\n", row.RequestHint, end)
		}
		fmt.Fprintf(&page, "API %s · redrive: %s", statusText(row), redriveText(row))
		if row.Retried {
			page.WriteString(" · retried")
		}
		page.WriteString("\n")
	}
	return page.String()
}

// redriveText says whether a redrive gets past an error. No run ends by those that
// only the API answers with.
func redriveText(row Spec) string {
	switch {
	case row.Redrivable:
		return "yes"
	case row.Name == RunRejected:
		return "no; after a 402 yes"
	case slices.Contains(neverEndARun, row.Name):
		return "–"
	}
	return "no"
}

// neverEndARun are the names that are seen in an answer of the API, or while the
// state machine retries a step, and never at the end of a run.
var neverEndARun = []string{
	SubmitInDoubt, WorkflowInDoubt, RunNotFound, NotFound, IdempotencyConflict, NotInDoubt,
	ContainerNotFound, ContainerNotRunning, ContainerTimedOut, ContainerBodyTooLarge, ContainerAnswerTooLarge,
}

// docs/errors.md is what the table in code says. With -update it is written anew.
func TestErrorsDocument(t *testing.T) {
	const path = "../../docs/errors.md"
	want := errorsDocument()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s is stale; write it anew with: go test ./shared/named -run TestErrorsDocument -update\n(-table +document):\n%s", path, diff)
	}
	if e := (&Error{Name: RunRejected, Hint: HintAfterPayment}); !e.Redrivable() || Errorf(RunRejected, "x").Redrivable() {
		t.Error("a redrive does not get past a RunRejected after a 402 alone, as the document says")
	}
}

// The document on container services names each of their errors, and gives every
// error that it names the status that the table in code says.
func TestContainersDocument(t *testing.T) {
	const path = "../../docs/containers.md"
	rows := documentedIn(t, path, "| `relay-error` | status |")
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
