package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Stamped by the build.
var (
	version = "dev"
	date    string // of the commit
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	p := &program{in: os.Stdin, out: os.Stdout, err: os.Stderr, environ: os.Environ(), terminal: isTerminal(os.Stdout), width: widthOf(os.Stdout)}
	code := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// program is what a verb has of the world.
type program struct {
	in       io.Reader
	out, err io.Writer
	environ  []string
	terminal bool // out is one
	width    int  // of the terminal, in columns; 0: none, or not known

	socket string // --socket
	begun  bool   // the command line was understood
}

// run does what the command line says and returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	root := p.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !p.begun {
		err = &usageError{err, cmd.CommandPath()}
	}
	if ctx.Err() != nil && err != nil && exitCode(err) != exitInterrupted {
		err = errInterrupted
	}
	if text := describe(err); text != "" {
		_, _ = fmt.Fprintln(p.err, text)
	}
	return exitCode(err)
}
