package main

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
)

// runID is the id of a run on the command line: bare, or as the API's Location
// has it (/runs/ID). One that no run can have is refused before anything is sent.
type runID string

// UnmarshalText reads an argument.
func (id *runID) UnmarshalText(text []byte) error {
	given := string(text)
	bare, located := strings.CutPrefix("/"+strings.TrimPrefix(given, "/"), "/runs/")
	if !located {
		bare = given
	} else {
		if unescaped, err := url.PathUnescape(bare); err == nil {
			bare = unescaped
		}
	}
	if !executions.ValidName(bare) {
		return fmt.Errorf("%q is not the id of a run: relay list shows them", given)
	}
	*id = runID(bare)
	return nil
}
