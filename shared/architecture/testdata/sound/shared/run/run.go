package run

import (
	_ "encoding/json"
	_ "github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
)
