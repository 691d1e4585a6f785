package main

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
)

// decodeRunID reads the argument of a field with the tag type:"run", the id of a run: bare,
// or as the API's Location has it (/runs/ID). One that no run can have is refused before
// anything is sent: as a path it could name another run.
func decodeRunID(ctx *kong.DecodeContext, target reflect.Value) error {
	var given string
	if err := ctx.Scan.PopValueInto("run", &given); err != nil {
		return err
	}
	id := given
	if escaped, located := strings.CutPrefix("/"+strings.TrimPrefix(given, "/"), "/runs/"); located {
		id, _ = url.PathUnescape(escaped) // what is no path is no id either, but ""
	}
	if !executions.ValidName(id) {
		return fmt.Errorf("%q is not the id of a run: relay list shows them", given)
	}
	target.SetString(id)
	return nil
}
