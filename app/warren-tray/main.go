package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/warren-mesh/warren/app/internal/autostart"
	"github.com/warren-mesh/warren/app/internal/desktop"
	"github.com/warren-mesh/warren/app/internal/hush"
	"github.com/warren-mesh/warren/app/internal/tray"
	"github.com/warren-mesh/warren/app/internal/view"
	"github.com/warren-mesh/warren/ipc"
)

// Stamped by the build.
var version = "dev"

const usage = `Warren-tray shows Warren in the panel of your desktop.

  --socket PATH   where warrend listens; the variable WARREN_SOCKET does the same
  --window PAGE   show the window instead: home, machines, exits, network, settings, problems, about or join
  --background    open no window where no panel shows the icon: for the desktop's autostart
  --version       print the version
`

var errUsage = errors.New("see warren-tray --help")

func main() {
	hush.Over()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "warren-tray: "+err.Error())
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("warren-tray", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	socket := os.Getenv("WARREN_SOCKET")
	if socket == "" {
		socket = ipc.DefaultSocket
	}
	flags.StringVar(&socket, "socket", socket, "")
	page := flags.String("window", "", "")
	background := flags.Bool("background", false, "")
	shows := flags.Bool("version", false, "")
	keeps := flags.Bool("keep-clipboard", false, "") // for ourselves alone
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil || flags.NArg() > 0 {
		return errUsage // what is wrong has been said
	}
	if *shows {
		fmt.Println(version)
		return nil
	}
	if *keeps {
		return runClipboard(ctx)
	}
	c := tray.Config{Socket: socket, Version: version, Language: view.Speak(locale()), Environ: os.Environ(), Words: os.Stderr, Background: *background}
	if self, err := os.Executable(); err == nil {
		c.Autostart, _ = autostart.New(c.Environ, desktop.Name, self) // without a home there is no switch
	}
	err := errUsage
	switch {
	case *page == "":
		err = runTray(ctx, c)
	case isPage(*page):
		err = runWindow(ctx, c, view.Page(*page))
	}
	if errors.Is(err, tray.ErrRuns) {
		fmt.Fprintln(os.Stderr, "warren-tray: "+c.Language.Started())
		return nil
	}
	return err
}

func isPage(name string) bool {
	_, _, ok := view.Page(name).Split()
	return ok
}

// runTray shows the icon until a person quits it.
func runTray(ctx context.Context, c tray.Config) error {
	d, err := desktop.Connect(ctx, c.Environ)
	if errors.Is(err, desktop.ErrNoBus) && hasDisplay() && !c.Background {
		fmt.Fprintln(os.Stderr, "warren-tray: "+err.Error())
		return runWindow(ctx, c, view.PageHome)
	}
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	if hasDisplay() {
		c.Window = openWindow(c.Socket)
		d.Keep = keepInClipboard
	}
	return tray.Run(ctx, d, c)
}

// locale is the one of messages, as POSIX orders the variables.
func locale() string {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := os.Getenv(name); v != "" {
			return v
		}
	}
	return ""
}
