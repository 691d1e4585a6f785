package main

import (
	_ "github.com/cyberun-cloud/cyberun-relay/cmd/relay"
)
