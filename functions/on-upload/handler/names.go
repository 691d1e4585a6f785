package handler

import (
	"path"
	"slices"
	"strings"
)

// unfinishedSuffixes end the names of files that a program has not finished, or
// keeps beside another file: browsers' and clients' downloads, editors' swap and
// backup files.
var unfinishedSuffixes = []string{
	"~", ".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".download", ".opdownload", ".aria2", ".!ut", ".!qb",
	".swp", ".swo", ".swx", ".crswap", ".bak", ".ytdl", ".fdmdownload", ".dtapart", ".bc!", ".icloud",
}

// systemFiles are what operating systems leave in folders, in lower case.
var systemFiles = []string{"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}

// systemFolders hold what operating systems and servers leave beside files, in
// lower case.
var systemFolders = []string{"__macosx", "@eadir", "$recycle.bin", "system volume information", "#recycle", "#snapshot", "lost+found", "network trash folder", "temporary items"}

// whyNotMeant returns why, by its name, nobody meant an object to start a run;
// empty if somebody may have. Whole folders are synchronised into an inbox, with
// all that lies in them.
func whyNotMeant(key string) string {
	_, below, _ := strings.Cut(key, "/") // jobs/ and files/ are ours
	parents, name := path.Split(strings.ToLower(below))
	folders := strings.Split(parents, "/")
	switch {
	case hidden(name):
		return "it is a dot file"
	case slices.ContainsFunc(folders, hidden):
		return "it lies in a dot folder"
	case slices.Contains(systemFiles, name), slices.ContainsFunc(folders, func(f string) bool { return slices.Contains(systemFolders, f) }):
		return "it is an operating system's own file"
	case strings.HasPrefix(name, "~$"), strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#"):
		return "it is an editor's lock or backup file"
	case slices.ContainsFunc(unfinishedSuffixes, func(s string) bool { return strings.HasSuffix(name, s) }):
		return "it is a partial, temporary or backup file"
	}
	return ""
}

// hidden reports whether a name begins with a dot and has more than dots in it.
func hidden(name string) bool { return strings.HasPrefix(name, ".") && strings.Trim(name, ".") != "" }
