package main

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/warren-mesh/warren/packaging/manual/documents"
)

// TestThePagesCommandsAreUnderstood holds each command of warren that a document of the tree names to the tree of commands.
func TestThePagesCommandsAreUnderstood(t *testing.T) {
	all, err := documents.Read("../..")
	if err != nil {
		t.Fatal(err)
	}
	count, wrong := documents.Misread(all, "warren", func() *cobra.Command {
		return (&program{in: strings.NewReader(""), out: io.Discard, err: io.Discard}).root()
	})
	for _, what := range wrong {
		t.Error(what)
	}
	if count < 80 {
		t.Errorf("only %d commands were found", count)
	}
}
