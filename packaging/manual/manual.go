// Package manual is the hidden command by which each program writes its man pages for the packages that packaging/build
// makes.
package manual

import (
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// Command writes the man pages, one for each command, from the commands themselves: what packages hold is what --help says.
// The date in them is SOURCE_DATE_EPOCH, if that is set.
func Command(version string) *cobra.Command {
	return &cobra.Command{
		Use: "manual DIR", Short: "Write the man pages into a directory", Args: cobra.ExactArgs(1), Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			root.DisableAutoGenTag = true
			return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "Warren " + version, Manual: "Warren"}, args[0])
		},
	}
}
