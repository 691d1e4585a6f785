package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// need is a right that a call takes on AWS, and the operation that takes it.
type need struct {
	action    string
	resource  string
	operation string
}

// needs are the rights that a call takes, by AWS's Service Authorization Reference
// and the pages on each operation.
func (s *stack) needs(c call) ([]need, error) {
	if c.Target != "" {
		return s.needsOfTarget(c)
	}
	if c.Service != "s3" {
		return nil, fmt.Errorf("a call to %s without a target is not known: teach local/iam", c.Service)
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(c.Path, "/"), "/")
	arn := "arn:aws:s3:::" + bucket
	if key == "" {
		switch {
		case c.Method == http.MethodHead:
			return []need{{"s3:ListBucket", arn, "HeadBucket"}}, nil
		case c.Method == http.MethodGet && slices.Contains(c.Query, "list-type"):
			return []need{{"s3:ListBucket", arn, "ListObjectsV2"}}, nil
		case c.Method == http.MethodGet && slices.Contains(c.Query, "versions"):
			return []need{{"s3:ListBucketVersions", arn, "ListObjectVersions"}}, nil
		case c.Method == http.MethodGet && slices.Contains(c.Query, "uploads"):
			return []need{{"s3:ListBucketMultipartUploads", arn, "ListMultipartUploads"}}, nil
		}
		return nil, fmt.Errorf("%s of the bucket with %v is not known: teach local/iam", c.Method, c.Query)
	}
	has := func(name string) bool { return slices.Contains(c.Query, name) }
	object := arn + "/" + key
	var n need
	switch {
	case c.Method == http.MethodGet && has("uploadId"):
		n = need{"s3:ListMultipartUploadParts", object, "ListParts"}
	case (c.Method == http.MethodGet || c.Method == http.MethodHead) && has("versionId"):
		n = need{"s3:GetObjectVersion", object, "GetObject of a version"}
	case c.Method == http.MethodGet && !other(c.Query):
		n = need{"s3:GetObject", object, "GetObject"}
	case c.Method == http.MethodHead && !other(c.Query):
		n = need{"s3:GetObject", object, "HeadObject"}
	case c.Method == http.MethodPut && has("uploadId"):
		n = need{"s3:PutObject", object, "UploadPart"}
	case c.Method == http.MethodPut && !other(c.Query):
		n = need{"s3:PutObject", object, "PutObject"}
	case c.Method == http.MethodPost && has("uploads"):
		n = need{"s3:PutObject", object, "CreateMultipartUpload"}
	case c.Method == http.MethodPost && has("uploadId"):
		n = need{"s3:PutObject", object, "CompleteMultipartUpload"}
	case c.Method == http.MethodDelete && has("uploadId"):
		n = need{"s3:AbortMultipartUpload", object, "AbortMultipartUpload"}
	case c.Method == http.MethodDelete && !other(c.Query):
		n = need{"s3:DeleteObject", object, "DeleteObject"}
	default:
		return nil, fmt.Errorf("%s of an object with %v is not known: teach local/iam", c.Method, c.Query)
	}
	list := []need{n}
	if n.action == "s3:GetObject" && c.Status == http.StatusNotFound {
		// To whoever may not list the bucket, S3 says 403 of a key that is not there.
		list = append(list, need{"s3:ListBucket", arn, n.operation + " of no key"})
	}
	if n.action == "s3:PutObject" && c.IfMatch {
		// "To perform conditional writes with an HTTP If-Match header you must have
		// the s3:PutObject and s3:GetObject permissions": the S3 User Guide.
		list = append(list, need{"s3:GetObject", object, n.operation + " If-Match"})
	}
	return list, nil
}

// other tells whether a query asks for something beside the object itself.
func other(query []string) bool {
	return slices.ContainsFunc(query, func(name string) bool {
		return name != "x-id" && !strings.HasPrefix(name, "response-")
	})
}

func (s *stack) needsOfTarget(c call) ([]need, error) {
	name := c.Target[strings.LastIndex(c.Target, ".")+1:]
	resource := ""
	switch name {
	case "StartExecution", "ListExecutions":
		resource = c.Names["stateMachineArn"]
	case "DescribeExecution", "GetExecutionHistory", "RedriveExecution", "StopExecution":
		resource = c.Names["executionArn"]
	case "SendTaskSuccess":
		// The request names a token alone; the right is that to the token's machine,
		// and the stack has one.
		resource = s.Resources["RunStateMachine"]
	case "GetSecretValue":
		resource = c.Names["SecretId"]
	default:
		return nil, fmt.Errorf("%s is not known: teach local/iam", c.Target)
	}
	if resource == "" {
		return nil, fmt.Errorf("a call of %s names no resource", c.Target)
	}
	return []need{{c.Service + ":" + name, resource, name}}, nil
}
