package main

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
)

// decodeRunID reads the argument of a field with the tag type:"run".
func decodeRunID(ctx *kong.DecodeContext, target reflect.Value) error {
	var given string
	if err := ctx.Scan.PopValueInto("run", &given); err != nil {
		return err
	}
	id, err := parseRunID(given)
	target.SetString(id)
	return err
}

// parseRunID reads the id of a run: bare, or as the API's Location has it (/runs/ID).
// One that no run can have is refused before anything is sent: as a path it could name
// another run.
func parseRunID(given string) (string, error) {
	id := given
	if escaped, located := strings.CutPrefix("/"+strings.TrimPrefix(given, "/"), "/runs/"); located {
		id = escaped
		if unescaped, err := url.PathUnescape(escaped); err == nil {
			id = unescaped
		}
	}
	if !executions.ValidName(id) {
		return "", fmt.Errorf("%q is not the id of a run: relay list shows them", given)
	}
	return id, nil
}
