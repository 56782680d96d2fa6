package wording

import (
	"strings"

	"github.com/spf13/cobra"
)

const (
	textShortCompletion = "Print a script that completes commands in your shell"
	textLongCompletion  = `Completion prints a script for your shell:

  source <(PROGRAM completion bash)
  PROGRAM completion zsh >"${fpath[1]}/_PROGRAM"
  PROGRAM completion fish >~/.config/fish/completions/PROGRAM.fish`
)

// Completion is the command that prints a shell's script for the program of that root, in place of cobra's own.
func Completion(root *cobra.Command) *cobra.Command {
	root.CompletionOptions.DisableDefaultCmd = true
	return &cobra.Command{
		Use: "completion bash|zsh|fish", Short: textShortCompletion, Long: strings.ReplaceAll(textLongCompletion, "PROGRAM", root.Name()),
		Args: cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs), ValidArgs: []string{"bash", "zsh", "fish"}, DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch out := cmd.OutOrStdout(); args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			default:
				return root.GenFishCompletion(out, true)
			}
		},
	}
}
