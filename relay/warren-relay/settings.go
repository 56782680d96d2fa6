package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/warren-mesh/warren/assets/wording"
)

// envPrefix begins the variables that stand for flags.
const envPrefix = "WARREN_RELAY_"

// settle fills the flags of a command that were not given, from the environment or else from the file.
func settle(cmd *cobra.Command) error {
	flags := cmd.Flags()
	path := flags.Lookup("config")
	if path == nil {
		return nil // help and the like
	}
	given := map[string]bool{}
	flags.Visit(func(f *pflag.Flag) { given[f.Name] = true })
	set := func(name, value, where string) error {
		if given[name] {
			return nil
		}
		if err := flags.Set(name, value); err != nil {
			return fmt.Errorf("%s: %w", where, wording.Flag(where, err))
		}
		return nil
	}
	var errs []error
	fromEnv := map[string]bool{}
	flags.VisitAll(func(f *pflag.Flag) {
		variable := variableOf(f.Name)
		value, ok := os.LookupEnv(variable)
		if !ok || f.Name == "help" || f.Name == "version" {
			return
		}
		fromEnv[f.Name] = true
		for _, one := range values(f, value) {
			errs = append(errs, set(f.Name, one, "the variable "+variable))
		}
	})
	if err := errors.Join(errs...); err != nil || path.Value.String() == "" {
		return err
	}
	return readSettings(path.Value.String(), func(name, value, where string) error {
		f := flags.Lookup(name)
		switch {
		case name == "config" || name == "help" || name == "version" || f == nil && !slices.Contains(settings(cmd.Root()), name):
			return fmt.Errorf("%s: there is no setting %q ('warren-relay serve --help' lists them)", where, name)
		case f == nil || fromEnv[name]: // of another command, or said already
			return nil
		}
		return set(name, value, where)
	})
}

func variableOf(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// othersVariables are names that begin as ours do: that of our unit, and those that Kubernetes gives every container for a
// Service called warren-relay.
var othersVariables = regexp.MustCompile("^" + envPrefix + "(ARGS|SERVICE_HOST|SERVICE_PORT|SERVICE_PORT_.*|PORT|PORT_[0-9].*)$")

// settings are the flags of all commands, for which one file and one environment stand.
func settings(root *cobra.Command) (names []string) {
	for _, c := range append(root.Commands(), root) {
		for _, flags := range []*pflag.FlagSet{c.Flags(), c.PersistentFlags()} {
			flags.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		}
	}
	return names
}

// strays gives the variables that look like settings and are none of any command's. They are no errors: others may set what
// they like.
func strays(root *cobra.Command, environ []string) (names []string) {
	ours := map[string]bool{}
	for _, name := range settings(root) {
		ours[variableOf(name)] = true
	}
	for _, line := range environ {
		name, _, _ := strings.Cut(line, "=")
		if strings.HasPrefix(name, envPrefix) && !ours[name] && !othersVariables.MatchString(name) {
			names = append(names, name)
		}
	}
	return names
}

// values takes a list apart, which in one variable stands with spaces.
func values(f *pflag.Flag, value string) []string {
	if f.Value.Type() == "stringArray" {
		return strings.Fields(value)
	}
	return []string{value}
}

// readSettings gives each setting of a file to set, with where it stands.
func readSettings(path string, set func(name, value, where string) error) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot read the settings: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		where := fmt.Sprintf("%s, line %d", path, n)
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			return fmt.Errorf("%s: it should be like \"udp = :3478\"", where)
		}
		value = strings.TrimSpace(value)
		if quoted, err := strconv.Unquote(value); err == nil {
			value = quoted
		}
		if err := set(strings.TrimSpace(name), value, where); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("cannot read the settings of %s: %w", path, err)
	}
	return nil
}

// besides fills what follows from --domain, where nothing else is said: authorities ask on port 443, and machines use the
// name.
func (f *flags) besides(flags *pflag.FlagSet) {
	if !flags.Changed("https") {
		f.https = ":443"
	}
	if host := flags.Lookup("host"); host != nil && !host.Changed {
		f.host = f.domain
	}
}
