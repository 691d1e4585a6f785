package main

import (
	"cmp"
	"runtime"
	"runtime/debug"
)

type versionCmd struct{}

// Run prints what this program was built from.
func (c *versionCmd) Run(s *session) error {
	platform := runtime.GOOS + "/" + runtime.GOARCH
	if s.JSON {
		return s.console.document(map[string]string{"version": version(), "go": runtime.Version(), "platform": platform})
	}
	s.console.resultf("relay %s (%s, %s)", version(), runtime.Version(), platform)
	return nil
}

// version returns the module's version, or the commit's in a build from a clone.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return cmp.Or(info.Main.Version, "(devel)")
}
