package documents

import (
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// tree is a program with a command that takes one name, and one below another.
func tree() *cobra.Command {
	run := func(*cobra.Command, []string) {}
	root := &cobra.Command{Use: "burrow"}
	dig := &cobra.Command{Use: "dig NAME", Args: cobra.ExactArgs(1), Run: run}
	dig.Flags().Int("deep", 1, "")
	list := &cobra.Command{Use: "list", Args: cobra.NoArgs, Run: run}
	holes := &cobra.Command{Use: "holes"}
	holes.AddCommand(list)
	root.AddCommand(dig, holes)
	return root
}

func TestAMistakeInAPageIsFound(t *testing.T) {
	for text, wrong := range map[string]string{
		"```sh\nburrow dig here --deep 2\n```":                 "",
		"```sh\nsudo burrow dig here | tee out   # --no\n```":  "",
		"```sh\nburrow dig \\\n  here --deep=3 >out\n```":      "",
		"```sh\nburrow dig here --wide 2\n```":                 "unknown flag: --wide",
		"```sh\nA=b sudo burrow dig here --deep two\n```":      "invalid argument",
		"```sh\nburrow dig\n```":                               "accepts 1 arg(s)",
		"```sh\ntrue && burrow fill here\n```":                 "unknown command",
		"```sh\nburrow holes lost\n```":                        `no command "lost"`,
		"```\n$ burrow dig here --wide 2\n```":                 "unknown flag: --wide",
		"```\nburrow dig here --wide 2\n```":                   "none", // what a program prints is no command
		"see `burrow dig`, and `burrow dig --deep 2`":          "",
		"see `sudo burrow dig --wide`":                         "unknown flag: --wide",
		"```sh\ndocker compose exec it burrow dig --wide\n```": "unknown flag: --wide",
		"```sh\nadduser burrow burrow\n```":                    "none",
		"see `burrowing dig`":                                  "none",
	} {
		count, found := Misread([]Page{{Path: "page", Text: text}}, "burrow", tree)
		switch all := strings.Join(found, "\n"); {
		case (count == 0) != (wrong == "none"):
			t.Errorf("%q: %d commands", text, count)
		case wrong == "" || wrong == "none":
			if len(found) > 0 {
				t.Errorf("%q: %s", text, all)
			}
		case len(found) != 1 || !strings.Contains(all, wrong):
			t.Errorf("%q: want %q, got %q", text, wrong, all)
		}
	}
}

func TestServicesArgumentsAreCommands(t *testing.T) {
	p := Page{Text: "```ini\nWARREN_COORD_ARGS=\"--domain a.example\"\n```"}
	want := []Command{{Line: 2, Words: []string{"warren-coord", "serve", "--domain", "a.example"}, Whole: true}}
	if got := p.Commands("warren-coord"); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}
