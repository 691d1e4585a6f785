package run

import (
	_ "github.com/google/go-cmp/cmp"
)
