package main

import (
	_ "context"
	_ "github.com/cyberun-cloud/cyberun-relay/shared/run"
)
