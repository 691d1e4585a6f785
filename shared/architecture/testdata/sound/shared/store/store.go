package store

import (
	_ "github.com/aws/aws-sdk-go-v2/service/s3"
	_ "github.com/cyberun-cloud/cyberun-relay/shared/run"
)
