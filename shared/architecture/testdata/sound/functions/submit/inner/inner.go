package inner

import (
	_ "github.com/cyberun-cloud/cyberun-relay/shared/run"
)
