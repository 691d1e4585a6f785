package picture

import (
	_ "image"
)
