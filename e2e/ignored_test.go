package e2e

import (
	"maps"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// TestEmptyThenReal: many clients create a file empty and write it a moment later.
func TestEmptyThenReal(t *testing.T) {
	s := open(t)
	for _, gap := range []time.Duration{0, 50 * time.Millisecond, 150 * time.Millisecond, 400 * time.Millisecond} {
		t.Run(gap.String(), func(t *testing.T) {
			t.Parallel()
			name, photo := runName(t), picture(t)
			key := "files/upscale/image/" + name + ".png"
			s.putVersion(t, key, nil)
			time.Sleep(gap)
			s.putVersion(t, key, photo)
			views := s.runsEnded(t, name, 1)
			if paid := s.paidFiles(t, name); len(views) != 1 || views[0].Status != "succeeded" || len(paid) != 1 || paid[sumOf(photo)] != 1 {
				t.Errorf("%+v, paid %v", views, paid)
			}
			s.checkNotRejected(t, key)
		})
	}
}

// checkNotRejected: no rejection was written for what lies under a prefix.
func (s *stack) checkNotRejected(t *testing.T, prefix string) {
	t.Helper()
	out, err := s.s3.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &s.inbox, Prefix: aws.String("rejected/" + prefix)})
	if err != nil || len(out.Contents) > 0 {
		t.Errorf("rejected: %v, %v", out, err)
	}
}

// TestSynchronisedFolder: of a folder with all that lies in one, the photo alone is
// paid for. The others are pictures as well, so that only their names tell.
func TestSynchronisedFolder(t *testing.T) {
	s := open(t)
	t.Parallel()
	name := runName(t)
	folder := "files/upscale/image/" + name + "/"
	for _, file := range []string{
		".DS_Store", "._" + name + ".png", "Thumbs.db", "desktop.ini", "~$" + name + ".png", name + ".png~", name + ".png.filepart", name + ".png.part",
		name + ".crdownload", "." + name + ".png.swp", ".thumbnails/" + name + ".png", "__MACOSX/._" + name + ".png",
	} {
		s.putVersion(t, folder+file, picture(t))
	}
	photo := picture(t)
	s.putVersion(t, folder+name+".png", photo)
	views := s.runsEnded(t, name, 1)
	if len(views) != 1 || views[0].Status != "succeeded" {
		t.Errorf("%+v", views)
	}
	paid := s.paidFiles(t, name)
	maps.Copy(paid, s.paidFiles(t, ".DS_Store"))
	maps.Copy(paid, s.paidFiles(t, "Thumbs.db"))
	maps.Copy(paid, s.paidFiles(t, "desktop.ini"))
	if len(paid) != 1 || paid[sumOf(photo)] != 1 {
		t.Errorf("paid for %v, want %s once", paid, sumOf(photo))
	}
	s.checkNotRejected(t, folder)
}

// TestCopyOntoItself: the same bytes and parameters are paid for once; with another
// parameter it is another run.
func TestCopyOntoItself(t *testing.T) {
	s := open(t)
	t.Parallel()
	name, photo := runName(t), picture(t)
	key := "files/upscale/image/" + name + ".png"
	copyWith := func(scale, note string) {
		t.Helper()
		if _, err := s.s3.CopyObject(t.Context(), &s3.CopyObjectInput{
			Bucket: &s.inbox, Key: &key, CopySource: aws.String(s.inbox + "/" + key), MetadataDirective: s3types.MetadataDirectiveReplace,
			Metadata: map[string]string{"param-scale": scale, "note": note},
		}); err != nil {
			t.Fatal(err)
		}
	}
	s.put(t, s.inbox, key, photo, map[string]string{"param-scale": "2"})
	s.runsEnded(t, name, 1)
	copyWith("2", "stored again")
	s.passed(t)
	copyWith("4", "larger")
	views := s.runsEnded(t, name, 2)
	s.passed(t)
	if ids := s.runsNamed(t, name+"-", ""); len(views) != 2 || len(ids) != 2 {
		t.Errorf("%+v, %v", views, ids)
	}
	for _, v := range views {
		s.delivered(t, v)
	}
	if paid := s.paidFiles(t, name); len(paid) != 1 || paid[sumOf(photo)] != 2 {
		t.Errorf("paid for %v", paid)
	}
}

// passed waits until an upload of now is paid for: those before it have been seen.
func (s *stack) passed(t *testing.T) {
	t.Helper()
	word := uniqueWord(t)
	s.put(t, s.inbox, "jobs/"+runName(t)+"-barrier.json", []byte(mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": word}})), nil)
	eventually(t, "a later job ran", func() (bool, any) { return len(s.paid(t, word)) > 0, nil })
}
