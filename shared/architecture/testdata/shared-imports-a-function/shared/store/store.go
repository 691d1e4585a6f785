package store

import (
	_ "github.com/cyberun-cloud/cyberun-relay/functions/submit"
)
