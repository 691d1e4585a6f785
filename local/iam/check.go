package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// row is one right of the table.
type row struct {
	right
	operations map[string]int             // operation → calls
	folders    map[string]map[string]bool // operation → first parts of the keys
}

// report is what a check found.
type report struct {
	rows    map[string]*row // by function, action and resource as the template names it
	missing map[string]int  // what no right covers → calls
	calls   int
	stacks  int
}

// check holds every call against the rights of its stack.
func check(stacks []stack) (*report, error) {
	found := &report{rows: map[string]*row{}, missing: map[string]int{}, stacks: len(stacks)}
	for i := range stacks {
		s := &stacks[i]
		rights, err := s.rights()
		if err != nil {
			return nil, err
		}
		for _, r := range rights {
			if key := r.key(); found.rows[key] == nil {
				found.rows[key] = &row{right: r, operations: map[string]int{}, folders: map[string]map[string]bool{}}
			}
		}
		for _, c := range s.calls {
			if err := found.add(s, rights, c); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

func (r right) key() string {
	return strings.Join([]string{r.function, fmt.Sprint(r.deny), r.action, r.shown}, "\n")
}

func (f *report) add(s *stack, rights []right, c call) error {
	if c.Function == "" {
		return nil // an address that was signed in a stack where all functions sign with one key
	}
	needs, err := s.needs(c)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Function, err)
	}
	f.calls++
	for _, n := range needs {
		allowed, denied := false, ""
		for _, r := range rights {
			if r.function != c.Function || !r.covers(n) {
				continue
			}
			if r.deny {
				denied = ", which a policy denies"
				continue
			}
			allowed = true
			row := f.rows[r.key()]
			row.operations[n.operation]++
			if row.folders[n.operation] == nil {
				row.folders[n.operation] = map[string]bool{}
			}
			if folder := folderOf(n.resource); folder != "" {
				row.folders[n.operation][folder] = true
			}
		}
		if !allowed || denied != "" {
			f.missing[fmt.Sprintf("%s calls %s, which takes %s on %s%s", c.Function, n.operation, n.action, s.shown(n.resource), denied)]++
		}
	}
	return nil
}

// folderOf is the first part of an S3 key.
func folderOf(arn string) string {
	_, key, found := strings.Cut(arn, "/")
	if !found || !strings.HasPrefix(arn, "arn:aws:s3:::") {
		return ""
	}
	folder, _, deeper := strings.Cut(key, "/")
	if !deeper {
		return ""
	}
	return folder + "/"
}

// shown is an ARN with the template's names in it, and without what differs from
// run to run below the first part of a key.
func (s *stack) shown(arn string) string {
	for name, physical := range s.Resources {
		if s.Template.Resources[name].Type == "AWS::S3::Bucket" && (arn == "arn:aws:s3:::"+physical || strings.HasPrefix(arn, "arn:aws:s3:::"+physical+"/")) {
			if folder := folderOf(arn); folder != "" {
				return "arn:aws:s3:::${" + name + "}/" + folder + "…"
			}
			return "arn:aws:s3:::${" + name + "}"
		}
	}
	return arn
}

// unused are the rights that no call took and that AWS does not use by itself.
func (f *report) unused() []*row {
	var list []*row
	for _, r := range f.rows {
		if !r.deny && r.by == "" && len(r.operations) == 0 {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, byName)
	return list
}

// holds tells whether nothing is missing and nothing unused.
func (f *report) holds() bool { return len(f.missing) == 0 && len(f.unused()) == 0 && f.calls > 0 }

func byName(a, b *row) int {
	return cmp.Or(cmp.Compare(a.function, b.function), cmp.Compare(a.shown, b.shown), cmp.Compare(a.action, b.action))
}

// print writes the table, then what is missing and what is unused.
func (f *report) print(w io.Writer) {
	rows := slices.SortedFunc(maps.Values(f.rows), byName)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FUNCTION\tACTION\tRESOURCE\tCALLED BY")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", r.function, r.action, strings.TrimPrefix(r.shown, "arn:aws:s3:::"), r.calledBy())
	}
	_ = t.Flush()
	missing, unused := slices.Sorted(maps.Keys(f.missing)), f.unused()
	fmt.Fprintf(w, "\n%d rights, %d calls of %d stacks: %d missing, %d unused\n", len(rows), f.calls, f.stacks, len(missing), len(unused))
	for _, m := range missing {
		fmt.Fprintf(w, "missing: %s (%d calls)\n", m, f.missing[m])
	}
	for _, r := range unused {
		fmt.Fprintf(w, "unused: %s may %s on %s\n", r.function, r.action, strings.TrimPrefix(r.shown, "arn:aws:s3:::"))
	}
}

func (r *row) calledBy() string {
	switch {
	case r.deny:
		return "(denied)"
	case r.by != "":
		return "(" + r.by + ")"
	case len(r.operations) == 0:
		return "nothing"
	}
	var parts []string
	for _, operation := range slices.Sorted(maps.Keys(r.operations)) {
		part := fmt.Sprintf("%s %d", operation, r.operations[operation])
		// Of a right to a whole bucket, what of it is used.
		if folders := slices.Sorted(maps.Keys(r.folders[operation])); len(folders) > 0 && strings.Count(r.shown, "/") == 1 && strings.HasSuffix(r.shown, "/*") {
			part += " (" + strings.Join(folders[:min(len(folders), maxFolders)], " ") + ")"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// maxFolders keeps a row of the table readable: the state bucket has eleven.
const maxFolders = 12
