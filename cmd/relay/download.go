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
	"unicode"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/schollz/progressbar/v3"
)

// download saves a run's outputs in a folder. One that cannot be saved does not
// keep the others from it.
func (s *session) download(ctx context.Context, api *client, v view, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return cannotSave(err.Error())
	}
	// Through the root no name and no link inside it leads out of the folder.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return cannotSave(err.Error())
	}
	defer root.Close()
	fetched := &saver{session: s, api: api, root: root, dir: dir, run: v}
	taken := map[string]bool{}
	var faults named.Violations
	for more := v; more.OutputsNext != ""; {
		next, err := api.moreOutputs(ctx, v.RunID, more.OutputsNext)
		if err != nil {
			return err
		}
		v.Outputs = append(v.Outputs, next.Outputs...)
		more = next
	}
	fetched.run = v
	for _, o := range v.Outputs {
		if err := fetched.save(ctx, o, taken); err != nil {
			if ctx.Err() != nil {
				return &failure{code: codeInterrupted, what: "interrupted; the outputs are safe in S3", advice: []string{"fetch them:  relay status " + v.RunID + " --out " + shellWord(dir)}}
			}
			faults = append(faults, named.Violation{Parameter: o.ID, Message: failureFor(err).what})
		}
	}
	if len(faults) > 0 {
		return &failure{
			code: codeFailed, what: fmt.Sprintf("%s of %d could not be saved", count(len(faults), "output"), len(v.Outputs)),
			faults: faults, advice: []string{"fetch again:  relay status " + v.RunID + " --out " + shellWord(dir)},
		}
	}
	return nil
}

func cannotSave(why string) *failure {
	return &failure{code: codeFailed, what: "the outputs cannot be saved: " + why, hint: "they are in S3; name another folder with --out"}
}

// saver puts the outputs of one run into one folder.
type saver struct {
	*session
	api  *client
	root *os.Root
	dir  string
	run  view
}

// save fetches an output under a name that is free. taken holds the names of
// this run's outputs that were saved, in one case: some file systems do not
// tell Output.png from output.png.
func (s *saver) save(ctx context.Context, o output, taken map[string]bool) error {
	name, err := localName(o.Key)
	if err != nil {
		return err
	}
	name = unique(name, taken)
	name, there, err := s.freeName(name, o)
	if err != nil {
		return err
	}
	where := filepath.Join(s.dir, name)
	if there {
		s.say("%s is there already", where)
		return nil
	}
	part := "." + name + "." + s.suffix() + ".part"
	if err := s.fetch(ctx, o, part); err != nil {
		_ = s.root.Remove(part) // what is left of it is worth nothing
		return err
	}
	if err := s.root.Rename(part, name); err != nil {
		_ = s.root.Remove(part)
		return err
	}
	s.say("saved %s (%s)", where, size(o.Bytes))
	return nil
}

// unique gives a name that no other output of the run has.
func unique(name string, taken map[string]bool) string {
	ext := path.Ext(name)
	stem := strings.TrimSuffix(name, ext)
	for n := 2; taken[strings.ToLower(name)]; n++ {
		name = fmt.Sprintf("%s-%d%s", stem, n, ext)
	}
	taken[strings.ToLower(name)] = true
	return name
}

// freeName keeps what another run, or anyone, left under the name: the output
// then gets the run in its own.
func (s *saver) freeName(name string, o output) (free string, there bool, err error) {
	ext := path.Ext(name)
	for _, candidate := range []string{name, strings.TrimSuffix(name, ext) + "-" + s.suffix() + ext} {
		same, err := s.holds(candidate, o)
		switch {
		case errors.Is(err, os.ErrNotExist):
			if candidate != name {
				s.say("%s is another file and stays as it is", filepath.Join(s.dir, name))
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

// suffix tells this run's files from another's.
func (s *saver) suffix() string {
	const length = 8
	id := []byte(s.run.RunID)
	for i, c := range id {
		if c >= 0x80 || !unicode.IsLetter(rune(c)) && !unicode.IsDigit(rune(c)) {
			id[i] = '-'
		}
	}
	return string(id[max(0, len(id)-length):])
}

// holds reports whether a file is the output already.
func (s *saver) holds(name string, o output) (bool, error) {
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
func (s *saver) fetch(ctx context.Context, o output, part string) error {
	file, err := s.root.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	f := &fetcher{session: s.session, into: file, output: o, address: s.address, done: s.bytesBar(o)}
	if err := f.fetch(ctx); err != nil {
		return err
	}
	if got := hexCRC(f.sum); got != strings.ToLower(o.CRC32) {
		return fmt.Errorf("is damaged: its CRC32 is %s, and %s in the manifest", got, o.CRC32)
	}
	return file.Close()
}

// address asks for a fresh one: an earlier one may have run out.
func (s *saver) address(ctx context.Context, id string) (string, error) {
	v, err := s.api.run(ctx, s.run.RunID, 0, patience)
	if err != nil {
		return "", err
	}
	for _, o := range v.Outputs {
		if o.ID == id {
			return o.URL, nil
		}
	}
	return "", errors.New("is not among the run's outputs any more")
}

// bytesBar shows a download on a terminal.
func (s *saver) bytesBar(o output) func(n int64) {
	if !s.terminal || o.Bytes == 0 {
		return func(int64) {}
	}
	b := progressbar.NewOptions64(o.Bytes,
		progressbar.OptionSetWriter(s.stderr), progressbar.OptionSetWidth(barWidth), progressbar.OptionSetTheme(barTheme),
		progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true), progressbar.OptionShowCount(),
		progressbar.OptionShowDescriptionAtLineEnd(), progressbar.OptionSetDescription(clip(oneLine(path.Base(o.Key)), barWidth)),
		progressbar.OptionSetPredictTime(false), progressbar.OptionThrottle(barEvery), progressbar.OptionClearOnFinish(),
	)
	return func(n int64) {
		if n == o.Bytes {
			_ = b.Finish()
			return
		}
		_ = b.Set64(n)
	}
}

// localName is the last part of an output's key, if it can name a file here:
// keys come from afar.
func localName(key string) (string, error) {
	name := path.Base(key)
	safe := name != "." && name != ".." && name != "/" && !strings.HasSuffix(key, "/") && len(name) <= maxFileName
	for _, r := range name {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) || strings.ContainsRune(`\:*?"<>|`, r) {
			safe = false
		}
	}
	if !safe || !filepath.IsLocal(name) {
		return "", fmt.Errorf("has a name that no file can have here: %q", key)
	}
	return name, nil
}

// maxFileName leaves room for the suffix and .part in the 255 bytes of a name.
const maxFileName = 230

func hexCRC(sum uint32) string { return fmt.Sprintf("%08x", sum) }
