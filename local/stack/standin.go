package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// realBaseURL is the template's own default.
const realBaseURL = "https://core.cyberun.cloud/api/v1"

// real reports whether the runs go to the real service, with the user's own key.
func (s *Stack) real() bool { return os.Getenv("CYBERUN_API_KEY") != "" }

func (s *Stack) startStandin(ctx context.Context) error {
	if s.real() {
		s.State.CyberunURL = realBaseURL
		if other := os.Getenv("CYBERUN_BASE_URL"); other != "" {
			s.State.CyberunURL = other
		}
		fmt.Fprintf(s.Progress, "  CYBERUN_API_KEY is set: runs go to %s\n", s.State.CyberunURL)
		return nil
	}
	binary, address := s.Opt.shared("bin/standin"), s.Opt.file("standin.addr")
	if err := s.tool(ctx, "build-standin", os.Environ(), "go", "build", "-o", binary, "./local/standin"); err != nil {
		return err
	}
	if err := os.Remove(address); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	s.State.CyberunKey = "sk-local-" + random()
	p, err := s.start("standin", os.Environ(), binary, "-addr", "127.0.0.1:0", "-addr-file", address,
		"-key", s.State.CyberunKey, "-speed", strconv.FormatFloat(s.Opt.Speed, 'g', -1, 64))
	if err != nil {
		return err
	}
	return eventually(ctx, startLimit, "the stand-in", func(context.Context) error {
		if p.ended() {
			return errors.New(tail(p.Log))
		}
		body, err := os.ReadFile(address)
		if err != nil {
			return err
		}
		s.State.CyberunURL = strings.TrimSpace(string(body))
		s.State.ControlURL = strings.TrimSuffix(s.State.CyberunURL, "/api/v1") + "/_"
		return nil
	})
}

func random() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
