package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish. For bash write into ~/.bashrc: source <(relay completion bash)"`
}

// Run prints what makes a shell ask relay complete for the words that can follow.
func (c *completionCmd) Run(s *session) error {
	_, err := fmt.Fprintln(s.console, map[string]string{
		"bash": "complete -o default -C 'relay complete' relay",
		"zsh":  "autoload -U +X bashcompinit && bashcompinit\ncomplete -o default -C 'relay complete' relay",
		"fish": "complete -c relay -a '(COMP_LINE=(commandline -cp) relay complete)'",
	}[c.Shell])
	return err
}

// completeCmd answers shells. bash's complete -C calls it with COMP_LINE in the
// environment, and with three words that say less than it.
type completeCmd struct {
	Words []string `arg:"" optional:"" passthrough:"all"`
}

// Run prints the words that can end the line that is being typed, one a line. Where
// there are none the shell offers the names of files.
func (c *completeCmd) Run(s *session, parsed *kong.Context) error {
	for _, word := range candidates(parsed.Model.Node, os.Getenv("COMP_LINE")) {
		s.console.resultf("%s", word)
	}
	return nil
}

func candidates(node *kong.Node, line string) []string {
	words := strings.Split(line, " ")
	last := words[len(words)-1]
	for _, word := range words[1 : max(len(words), 2)-1] {
		for _, child := range node.Children {
			if child.Name == word {
				node = child
			}
		}
	}
	var found []string
	for _, child := range node.Children {
		if !child.Hidden && strings.HasPrefix(child.Name, last) {
			found = append(found, child.Name)
		}
	}
	for _, flag := range slices.Concat(node.AllFlags(true)...) {
		if last != "" && strings.HasPrefix("--"+flag.Name, last) {
			found = append(found, "--"+flag.Name)
		}
	}
	return found
}
