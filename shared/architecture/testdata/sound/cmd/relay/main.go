package main

import (
	_ "github.com/alecthomas/kong"
	_ "github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
)
