package wording

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestCompletionIsForTheProgramAndInItsWords(t *testing.T) {
	run := func(args ...string) (string, error) {
		root := &cobra.Command{Use: "warrend", SilenceErrors: true, SilenceUsage: true, Run: func(*cobra.Command, []string) {}}
		root.AddCommand(Completion(root))
		Use(root)
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetArgs(args)
		err := root.Execute()
		return out.String(), err
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out, err := run("completion", shell); err != nil || !strings.Contains(out, "warrend") || strings.Count(out, "\n") < 50 {
			t.Errorf("%s: %d bytes, %v", shell, len(out), err)
		}
	}
	for _, args := range [][]string{{"completion"}, {"completion", "tcsh"}, {"completion", "bash", "zsh"}} {
		if out, err := run(args...); err == nil {
			t.Errorf("%v is taken: %s", args, out)
		}
	}
	help, err := run("completion", "--help")
	if err != nil || !strings.Contains(help, "source <(warrend completion bash)") || strings.Contains(help, "PROGRAM") || strings.Contains(help, "autocompletion") {
		t.Errorf("%v: %s", err, help)
	}
}
