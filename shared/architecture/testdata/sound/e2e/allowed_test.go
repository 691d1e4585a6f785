package e2e

import (
	_ "github.com/cyberun-cloud/cyberun-relay/local/standin/picture"
)
