// Command iam compares the calls that the end-to-end tests made with the rights that
// the template gives to the functions. It fails for a call that no right covers, for
// a right that no call used, and without any call.
//
// usage: iam FOLDER
//
// FOLDER is that of `stack -record`: one folder for each stack, with the processed
// template as it was deployed and one line for each call of a function. MiniStack
// checks policies as well, with -auth. This command has its own reading of them, so
// that a mistake in one of the two shows, and MiniStack does not report unused rights.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: iam FOLDER")
		os.Exit(2)
	}
	stacks, err := load(os.Args[1])
	if err == nil && len(stacks) == 0 {
		err = fmt.Errorf("%s holds no recording: `make e2e` makes them", os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "iam:", err)
		os.Exit(1)
	}
	found, err := check(stacks)
	if err != nil {
		fmt.Fprintln(os.Stderr, "iam:", err)
		os.Exit(1)
	}
	found.print(os.Stdout)
	if !found.holds() {
		os.Exit(1)
	}
}
