package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/warren-mesh/warren/packaging/manual/documents"
)

// TestThePagesCommandsAreUnderstood holds each command of warren-relay that a document of the tree names to the tree of commands.
func TestThePagesCommandsAreUnderstood(t *testing.T) {
	all, err := documents.Read("../..")
	if err != nil {
		t.Fatal(err)
	}
	count, wrong := documents.Misread(all, "warren-relay", func() *cobra.Command { return command(serve) })
	for _, what := range wrong {
		t.Error(what)
	}
	if count < 6 {
		t.Errorf("only %d commands were found", count)
	}
}

// TestThePagesSettingsAreTaken has the relay read each file of settings that the documents have, in fences of conf.
func TestThePagesSettingsAreTaken(t *testing.T) {
	all, err := documents.Read("../..")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, page := range all {
		for _, f := range page.Fences() {
			if f.Info != "conf" || !strings.Contains(f.Text, "warren-relay") {
				continue
			}
			count++
			file := filepath.Join(t.TempDir(), "conf")
			if err := os.WriteFile(file, []byte(f.Text), 0o600); err != nil {
				t.Fatal(err)
			}
			serving, _, err := command(serve).Find([]string{"serve"})
			if err == nil {
				err = serving.ParseFlags([]string{"--config", file})
			}
			if err == nil {
				err = settle(serving)
			}
			if err != nil {
				t.Errorf("%s, line %d: %v", page.Path, f.Line, err)
			}
		}
	}
	if count == 0 {
		t.Error("no file of settings was found")
	}
}
