package main

import (
	"cmp"
	"runtime"
	"runtime/debug"
)

type versionCmd struct{}

// Run prints what this program was built from.
func (c *versionCmd) Run(s *session) error {
	if s.JSON {
		return s.printDocument(map[string]string{"version": version(), "go": runtime.Version(), "platform": platform()})
	}
	s.print("relay %s (%s, %s)", version(), runtime.Version(), platform())
	return nil
}

func platform() string { return runtime.GOOS + "/" + runtime.GOARCH }

// version is the module's, or the commit's in a build from a clone.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return cmp.Or(info.Main.Version, "(devel)")
}
