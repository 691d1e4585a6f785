package store

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Archived reports whether an object has to be restored before it can be read, by the
// answer to HeadObject: it lies in Glacier, in Deep Archive or in an archive tier of
// Intelligent-Tiering, and no restored copy of it is there. [InArchive] says so.
func Archived(head *s3.HeadObjectOutput) bool {
	restored := strings.Contains(aws.ToString(head.Restore), `ongoing-request="false"`)
	deep := head.StorageClass == types.StorageClassGlacier || head.StorageClass == types.StorageClassDeepArchive
	return (deep || head.ArchiveStatus != "") && !restored
}

// InArchive continues a sentence about an object that is [Archived].
const InArchive = "lies in an archive: restore it, or copy it to a storage class that can be read at once"
