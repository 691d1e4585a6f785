package main

import (
	_ "github.com/cyberun-cloud/cyberun-relay/shared/store"
)
