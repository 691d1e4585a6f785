//go:build windows && ignore

package run

import (
	_ "github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)
