// Package wording has a program say what is wrong with its command line in a sentence, and all programs in the same ones.
package wording

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// What a program says of its own beside the sentences below.
const (
	// ExtraWord annotates a command: what it says of a word too much, which is %q in it.
	ExtraWord = "warren_extra_word"
	// NotTaken annotates a flag: what it says of a value that it does not take, where people expect that it does.
	NotTaken = "warren_not_taken"
)

const (
	textNoFlag    = "%s has no flag %s"
	textTakes     = "--%s takes %s, not %q"
	textNot       = "--%s: %w"
	textNeeds     = "--%s needs a value: %s"
	textText      = "a text"
	textNoCommand = "%s has no command %q; it has: %s"
	textNoneOf    = "%q is none of %s"
	textTooFew    = "something is missing; write: %s"
	textTooMany   = "%q is too much; write: %s"
	textRequired  = "something is missing: %s"
	textOneOf     = "something is missing: give one of %s"
	textExclude   = "%s exclude each other: give one of them"
)

// types says what the values of flags are, by pflag's name of the type.
var types = map[string]string{
	"bool": "true or false", "uint16": "a number from 0 to 65535", "int": "a whole number", "uint": "a whole number",
	"duration": "a time such as 90s or 5m",
}

// The annotations by which cobra marks flags that belong together (flag_groups.go there; their names are not exported).
const (
	excludeGroup = "cobra_annotation_mutually_exclusive"
	oneOfGroup   = "cobra_annotation_one_required"
)

// Use has a program's commands, all of which were added, say so. Its root keeps the errors to itself (SilenceErrors).
func Use(root *cobra.Command) {
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return Flag(cmd.CommandPath(), err) })
	wordArgs(root)
}

// Flag says a mistake in a flag, which pflag found, of the command of that path. Other errors it gives back.
func Flag(command string, err error) error {
	var (
		unknown *pflag.NotExistError
		value   *pflag.InvalidValueError
		missing *pflag.ValueRequiredError
		syntax  *pflag.InvalidSyntaxError
	)
	switch {
	case errors.As(err, &unknown) && len(unknown.GetSpecifiedShortnames()) > 0:
		return fmt.Errorf(textNoFlag, command, "-"+unknown.GetSpecifiedName())
	case errors.As(err, &unknown):
		return fmt.Errorf(textNoFlag, command, "--"+unknown.GetSpecifiedName())
	case errors.As(err, &value):
		flag := value.GetFlag()
		if text := flag.Annotations[NotTaken]; len(text) > 0 {
			return errors.New(text[0])
		}
		if takes := types[flag.Value.Type()]; takes != "" {
			return fmt.Errorf(textTakes, flag.Name, takes, value.GetValue())
		}
		return fmt.Errorf(textNot, flag.Name, value.Unwrap())
	case errors.As(err, &missing):
		takes := types[missing.GetFlag().Value.Type()]
		if takes == "" {
			takes = textText
		}
		return fmt.Errorf(textNeeds, missing.GetSpecifiedName(), takes)
	case errors.As(err, &syntax):
		return fmt.Errorf(textNoFlag, command, syntax.GetSpecifiedFlag())
	}
	return err
}

// wordArgs has the commands say which word is too much, or what is missing, and how they are written.
func wordArgs(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		wordArgs(sub)
	}
	accepts := cmd.Args
	if accepts == nil {
		accepts = cobra.ArbitraryArgs
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if accepts(cmd, args) != nil {
			return misfit(cmd, accepts, args)
		}
		return incomplete(cmd)
	}
}

// misfit says why the command does not accept these words.
func misfit(cmd *cobra.Command, accepts cobra.PositionalArgs, args []string) error {
	enough := len(args)
	for enough > 0 && accepts(cmd, args[:enough]) != nil {
		enough--
	}
	_, words, _ := strings.Cut(cmd.Use, " ")
	written := strings.TrimSpace(cmd.CommandPath() + " " + words)
	switch {
	case cmd.HasAvailableSubCommands() && len(args) > 0:
		var names []string
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				names = append(names, sub.Name())
			}
		}
		return fmt.Errorf(textNoCommand, cmd.CommandPath(), args[0], strings.Join(names, ", "))
	case len(cmd.ValidArgs) > 0 && len(args) == 1:
		return fmt.Errorf(textNoneOf, args[0], strings.Join(cmd.ValidArgs, ", "))
	case accepts(cmd, args[:enough]) != nil:
		return fmt.Errorf(textTooFew, written)
	case cmd.Annotations[ExtraWord] != "":
		return fmt.Errorf(cmd.Annotations[ExtraWord], args[enough])
	default:
		return fmt.Errorf(textTooMany, args[enough], written)
	}
}

// incomplete says which flags are missing, or exclude each other.
func incomplete(cmd *cobra.Command) error {
	var required []string
	groups := map[string]map[string][]string{excludeGroup: {}, oneOfGroup: {}} // of those given
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if slices.Contains(f.Annotations[cobra.BashCompOneRequiredFlag], "true") && !f.Changed {
			required = append(required, "--"+f.Name)
		}
		for kind, given := range groups {
			for _, group := range f.Annotations[kind] {
				if f.Changed {
					given[group] = append(given[group], "--"+f.Name)
				} else {
					given[group] = append(given[group], nil...)
				}
			}
		}
	})
	if len(required) > 0 {
		return fmt.Errorf(textRequired, strings.Join(required, ", "))
	}
	for group, given := range groups[oneOfGroup] {
		if len(given) == 0 {
			return fmt.Errorf(textOneOf, "--"+strings.ReplaceAll(group, " ", ", --"))
		}
	}
	for _, given := range groups[excludeGroup] {
		if len(given) > 1 {
			return fmt.Errorf(textExclude, strings.Join(given, " and "))
		}
	}
	return nil
}
