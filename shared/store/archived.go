package store

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Archived reports, by the answer to HeadObject, whether an object has to be restored
// before it can be read: it is in Glacier, in Deep Archive or in an archive tier of
// Intelligent-Tiering, and has no restored copy. [InArchive] is the text for it.
func Archived(head *s3.HeadObjectOutput) bool {
	restored := strings.Contains(aws.ToString(head.Restore), `ongoing-request="false"`)
	deep := head.StorageClass == types.StorageClassGlacier || head.StorageClass == types.StorageClassDeepArchive
	return (deep || head.ArchiveStatus != "") && !restored
}

// InArchive is what a message says of an object that is [Archived], after the object's
// name.
const InArchive = "lies in an archive: restore it, or copy it to a storage class that can be read at once"
