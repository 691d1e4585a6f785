package main

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/cyberun-cloud/cyberun-relay/shared/api"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// download saves a run's outputs in a folder. One that cannot be saved does not keep the
// others from it.
func (s *session) download(ctx context.Context, relay *client, v view, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return cannotSave(err)
	}
	// Through the root no name and no link inside it leads out of the folder.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return cannotSave(err)
	}
	defer root.Close()
	folder := &saver{session: s, relay: relay, root: root, dir: dir, page: v, taken: map[string]bool{}}
	again := []string{"fetch again:  relay status " + v.RunID + " --out " + shellWord(dir)}
	var failed named.Violations
	for seen := 0; ; {
		for i := range folder.page.Outputs {
			o := folder.page.Outputs[i] // its address may be a later one than the page came with
			err := folder.save(ctx, o)
			switch {
			case ctx.Err() != nil:
				return &failure{code: codeInterrupted, what: "interrupted; the outputs are safe in S3", followUps: again}
			case err != nil:
				failed = append(failed, named.Violation{Parameter: o.ID, Message: failureFor(err).what})
			}
		}
		seen += len(folder.page.Outputs)
		switch {
		case folder.page.OutputsNext != "":
			// Asked for when it is needed: addresses live 15 minutes.
			folder.after = folder.page.OutputsNext
			if folder.page, err = relay.outputs(ctx, v.RunID, folder.after); err != nil {
				return err
			}
		case len(failed) > 0:
			return &failure{code: codeFailed, what: fmt.Sprintf("%s of %d could not be saved", plural(len(failed), "output"), seen), violations: failed, followUps: again}
		default:
			return nil
		}
	}
}

func cannotSave(err error) *failure {
	return &failure{code: codeFailed, what: "the outputs cannot be saved: " + err.Error(), hint: "they are in S3; name another folder with --out"}
}

// saver puts the outputs of one run into one folder.
type saver struct {
	*session
	relay *client
	root  *os.Root // of dir
	dir   string
	page  view            // of the run's outputs: those that are being saved
	after string          // the output that the page comes behind; empty: the first page
	taken map[string]bool // the names of outputs saved so far, in lower case: some file systems do not tell Output.png from output.png
}

// save fetches an output under a name that is free.
func (s *saver) save(ctx context.Context, o api.Output) error {
	name, err := localName(o.Key)
	if err != nil {
		return err
	}
	name, saved, err := s.freeName(s.unique(name), o)
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, name)
	if saved {
		s.console.notef("%s is there already", path)
		return nil
	}
	part := "." + name + "." + s.suffix() + ".part"
	if err = s.fetch(ctx, o, part); err == nil {
		err = s.root.Rename(part, name)
	}
	if err != nil {
		_ = s.root.Remove(part) // what is left of it is worth nothing
		return err
	}
	s.console.notef("saved %s (%s)", path, formatBytes(o.Bytes))
	return nil
}

// unique returns a name that no other output of the run has.
func (s *saver) unique(name string) string {
	ext := path.Ext(name)
	stem := strings.TrimSuffix(name, ext)
	for n := 2; s.taken[strings.ToLower(name)]; n++ {
		name = fmt.Sprintf("%s-%d%s", stem, n, ext)
	}
	s.taken[strings.ToLower(name)] = true
	return name
}

// freeName returns the name under which to save an output, or under which it is saved
// already. What another run, or anyone, left under the name stays: the output then gets
// the run's suffix.
func (s *saver) freeName(name string, o api.Output) (free string, saved bool, err error) {
	ext := path.Ext(name)
	for _, candidate := range []string{name, strings.TrimSuffix(name, ext) + "-" + s.suffix() + ext} {
		same, err := s.holds(candidate, o)
		switch {
		case errors.Is(err, os.ErrNotExist):
			if candidate != name {
				s.console.notef("%s is another file and stays as it is", filepath.Join(s.dir, name))
			}
			return candidate, false, nil
		case err != nil:
			return "", false, err
		case same:
			return candidate, true, nil
		}
	}
	return "", false, fmt.Errorf("%s holds other files of that name", s.dir)
}

// suffix returns the end of the run's id, which tells its files from another's.
func (s *saver) suffix() string {
	const length = 8
	id := []byte(s.page.RunID)
	for i, c := range id {
		if c >= 0x80 || !unicode.IsLetter(rune(c)) && !unicode.IsDigit(rune(c)) {
			id[i] = '-'
		}
	}
	return string(id[max(0, len(id)-length):])
}

// holds reports whether a file is the output already.
func (s *saver) holds(name string, o api.Output) (bool, error) {
	file, err := s.root.Open(name)
	if err != nil {
		return false, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() || info.Size() != o.Bytes {
		return false, nil
	}
	sum := crc32.NewIEEE()
	_, err = io.Copy(sum, file)
	return hexCRC(sum.Sum32()) == strings.ToLower(o.CRC32), err
}

// fetch writes an output to a file and checks that it is what the manifest says.
func (s *saver) fetch(ctx context.Context, o api.Output, part string) error {
	file, err := s.root.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	f := &fetcher{app: s.app, address: s.address, into: file, output: o, fetched: s.bytesBar(o)}
	if err := f.fetch(ctx); err != nil {
		return err
	}
	if got := hexCRC(f.sum); got != strings.ToLower(o.CRC32) {
		return fmt.Errorf("is damaged: its CRC32 is %s, and %s in the manifest", got, o.CRC32)
	}
	return file.Close()
}

// address asks for a fresh address of an output: an earlier one may have expired. The
// other addresses of the page have then expired with it, and are renewed by the same
// call.
func (s *saver) address(ctx context.Context, id string) (string, error) {
	v, err := s.relay.outputs(ctx, s.page.RunID, s.after)
	if err != nil {
		return "", err
	}
	fresh := map[string]string{}
	for _, o := range v.Outputs {
		fresh[o.ID] = o.URL
	}
	for i, o := range s.page.Outputs {
		if url, ok := fresh[o.ID]; ok {
			s.page.Outputs[i].URL = url
		}
	}
	if url, ok := fresh[id]; ok {
		return url, nil
	}
	return "", errors.New("is not among the run's outputs any more")
}

// bytesBar returns a function that shows how much of an output is fetched, if there is a
// terminal.
func (s *saver) bytesBar(o api.Output) func(n int64) {
	const every = 100 * time.Millisecond // so that drawing takes no time from the download
	if !s.console.terminal || o.Bytes == 0 {
		return func(int64) {}
	}
	begun, drawn, shown := s.now(), time.Time{}, -1
	return func(n int64) {
		now, percent := s.now(), int(float64(n)/float64(o.Bytes)*100)
		if percent == shown && now.Sub(drawn) < every {
			return
		}
		drawn, shown = now, percent
		words := formatBytes(n) + " of " + formatBytes(o.Bytes)
		if took := now.Sub(begun).Seconds(); took > 0 {
			words += ", " + formatBytes(int64(float64(n)/took)) + "/s"
		}
		s.console.drawBar(percent, words+"  "+path.Base(o.Key))
	}
}

// localName returns the last part of an output's key, if it can name a file here: keys
// come from a remote.
func localName(key string) (string, error) {
	name := path.Base(key)
	unsafe := func(r rune) bool {
		return r == unicode.ReplacementChar || !isVisible(r) || strings.ContainsRune(`\:*?"<>|`, r)
	}
	if name == "." || strings.HasSuffix(key, "/") || len(name) > maxFileName || !filepath.IsLocal(name) || strings.ContainsFunc(name, unsafe) {
		return "", fmt.Errorf("has a name that no file can have here: %q", key)
	}
	return name, nil
}

// maxFileName leaves room for the suffix and .part in the 255 bytes of a name.
const maxFileName = 230

func hexCRC(sum uint32) string { return fmt.Sprintf("%08x", sum) }
