package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/warren-mesh/warren/app/internal/login"
	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/ipc"
)

// The exit codes. They are stable.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotRunning  = 3
	exitDenied      = 4
	exitNotUp       = 5
	exitPeer        = 6
	exitServer      = 7
	exitInterrupted = 130 // 128 + SIGINT, as shells have it
)

// exits says what the codes mean, and which of the daemon's errors they stand for.
var exits = []struct {
	code    int
	meaning string
	errors  []string
}{
	{exitOK, "done", nil},
	{exitFailed, "failed: the message says why", nil},
	{exitUsage, "the command line was not understood", []string{ipc.CodeBadRequest}},
	{exitNotRunning, "warrend is not running", []string{ipc.CodeNotRunning}},
	{exitDenied, "you may not do this (the message names the command that works)", []string{ipc.CodeDenied}},
	{exitNotUp, "this machine is not on its network: up, or a login, is needed", []string{ipc.CodeNotUp, ipc.CodeNeedsLogin, ipc.CodeNoServer}},
	{exitPeer, "no such machine or login, or no answer in time", []string{ipc.CodeNoPeer, ipc.CodeNoProfile, ipc.CodeNoExit, ipc.CodeTimeout}},
	{exitServer, "the coordination server refused, could not be reached, or is not the one that was pinned", []string{ipc.CodeCoord, ipc.CodeIdentity, ipc.CodeKey, ipc.CodeLogin}},
	{exitInterrupted, "interrupted (Ctrl-C, SIGTERM)", nil},
}

// usageError is a command line that was not understood.
type usageError struct {
	error
	command string
}

// Unwrap is for errors.Is.
func (e *usageError) Unwrap() error { return e.error }

// failure is an end with a code of its own; text may be empty.
type failure struct {
	code int
	text string
}

// Error implements error.
func (f *failure) Error() string { return f.text }

var errInterrupted = &failure{exitInterrupted, textInterrupted}

// exitCode is the code for an error.
func exitCode(err error) int {
	var (
		usage *usageError
		fail  *failure
		told  *ipc.Error
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &fail):
		return fail.code
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, login.ErrUnsafe):
		return exitServer
	case errors.As(err, &told):
		for _, e := range exits {
			if slices.Contains(e.errors, told.Code) {
				return e.code
			}
		}
	}
	return exitFailed
}

// describe is what people read of an error: what happened, then what to do.
func describe(err error) string {
	if err == nil {
		return ""
	}
	text, fix := err.Error(), ""
	var told *ipc.Error
	if errors.As(err, &told) {
		text, fix = told.Message, told.Fix
	}
	var usage *usageError
	if errors.As(err, &usage) {
		fix = "See: " + usage.command + " --help"
	}
	if text == "" {
		return ""
	}
	if fix != "" {
		text += "\n  " + strings.ReplaceAll(fix, "\n", "\n  ")
	}
	return "warren: " + say.Lines(text)
}

// exitHelp is the table as people read it.
func exitHelp() string {
	var b strings.Builder
	b.WriteString(textExitCodes)
	for _, e := range exits {
		_, _ = fmt.Fprintf(&b, "  %3d  %s\n", e.code, e.meaning)
	}
	return strings.TrimRight(b.String(), "\n")
}
