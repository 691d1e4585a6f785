package main

import (
	_ "github.com/cyberun-cloud/cyberun-relay/bench"
	_ "github.com/cyberun-cloud/cyberun-relay/e2e"
)
