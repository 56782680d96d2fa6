package main

import (
	"testing"

	"github.com/warren-mesh/warren/packaging/manual/documents"
)

// TestThePagesCommandsAreUnderstood holds each command of warrend that a document of the tree names to the tree of commands.
func TestThePagesCommandsAreUnderstood(t *testing.T) {
	all, err := documents.Read("../..")
	if err != nil {
		t.Fatal(err)
	}
	count, wrong := documents.Misread(all, "warrend", command)
	for _, what := range wrong {
		t.Error(what)
	}
	if count < 4 {
		t.Errorf("only %d commands were found", count)
	}
}
