package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// worded says a mistake in the command line, which the library found, as a sentence for people. Our own pass.
func worded(cmd *cobra.Command, err error) error {
	var (
		unknown *pflag.NotExistError
		value   *pflag.InvalidValueError
		missing *pflag.ValueRequiredError
		syntax  *pflag.InvalidSyntaxError
	)
	switch {
	case errors.As(err, &unknown) && len(unknown.GetSpecifiedShortnames()) > 0:
		return fmt.Errorf(textNoFlag, cmd.CommandPath(), "-"+unknown.GetSpecifiedName())
	case errors.As(err, &unknown):
		return fmt.Errorf(textNoFlag, cmd.CommandPath(), "--"+unknown.GetSpecifiedName())
	case errors.As(err, &value):
		flag := value.GetFlag()
		if text := textFlagMistakes[flag.Name]; text != "" {
			return errors.New(text)
		}
		return fmt.Errorf(textFlagTakes, flag.Name, takes(flag), value.GetValue())
	case errors.As(err, &missing):
		return fmt.Errorf(textFlagNeeds, missing.GetSpecifiedName(), takes(missing.GetFlag()))
	case errors.As(err, &syntax):
		return fmt.Errorf(textNoFlag, cmd.CommandPath(), syntax.GetSpecifiedFlag())
	}
	return err
}

// takes says what a flag's value is.
func takes(flag *pflag.Flag) string {
	if text := textFlagTypes[flag.Value.Type()]; text != "" {
		return text
	}
	return textFlagText
}

// wordArgs has the commands say which word is too much, or that one is missing, and how they are written.
func wordArgs(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		wordArgs(sub)
	}
	accepts := cmd.Args
	if accepts == nil {
		return
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if accepts(cmd, args) == nil {
			return nil
		}
		enough := len(args)
		for enough > 0 && accepts(cmd, args[:enough]) != nil {
			enough--
		}
		fits := accepts(cmd, args[:enough]) == nil
		switch {
		case cmd.HasAvailableSubCommands():
			var names []string
			for _, sub := range cmd.Commands() {
				if sub.IsAvailableCommand() {
					names = append(names, sub.Name())
				}
			}
			return fmt.Errorf(textNoCommand, cmd.CommandPath(), args[0], strings.Join(names, ", "))
		case len(cmd.ValidArgs) > 0 && len(args) == 1:
			return fmt.Errorf(textNoneOf, args[0], strings.Join(cmd.ValidArgs, ", "))
		case !fits:
			return fmt.Errorf(textTooFew, cmd.UseLine())
		case cmd.Name() == "set":
			return fmt.Errorf(textSetWord, args[enough])
		default:
			return fmt.Errorf(textTooMany, args[enough], cmd.UseLine())
		}
	}
}
