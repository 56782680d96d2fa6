package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/warren-mesh/warren/app/internal/login"
	"github.com/warren-mesh/warren/ipc"
)

// maxAuthKey bounds a pre-auth key's file, in bytes.
const maxAuthKey = 4096

// upFlags are the flags of up and login.
type upFlags struct {
	loginServer string
	serverKey   string
	profile     string
	authKey     string
	hostname    string
	port        uint16
	noBrowser   bool
	qr          bool
	qrNamed     bool // --qr stands in the command line
	json        bool
	timeout     time.Duration
	limited     bool // --timeout stands in the command line
	routes      routeFlags
}

func (p *program) up() *cobra.Command {
	return p.upCommand(&cobra.Command{Use: "up [SERVER|INVITE]", Short: textShortUp, Long: textLongUp}, false)
}

func (p *program) login() *cobra.Command {
	return p.upCommand(&cobra.Command{Use: "login [SERVER|INVITE]", Short: textShortLogin, Long: textLongLogin}, true)
}

func (p *program) upCommand(cmd *cobra.Command, reauth bool) *cobra.Command {
	var f upFlags
	cmd.Args = cobra.MaximumNArgs(1)
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.authKey, "auth-key", "", textFlagAuthKey)
	flags.StringVar(&f.serverKey, "server-key", "", textFlagServerKey)
	flags.StringVar(&f.profile, "profile", "", textFlagProfile)
	_ = cmd.RegisterFlagCompletionFunc("profile", p.profileNames)
	flags.StringVar(&f.hostname, "hostname", "", textFlagHostname)
	flags.Uint16Var(&f.port, "port", 0, textFlagPort)
	f.routes.add(cmd, p, false)
	flags.BoolVar(&f.noBrowser, "no-browser", false, textFlagNoBrowser)
	flags.BoolVar(&f.qr, "qr", true, textFlagQR)
	flags.BoolVar(&f.json, "json", false, textFlagUpJSON)
	flags.DurationVar(&f.timeout, "timeout", 30*time.Second, textFlagTimeout)
	flags.StringVar(&f.loginServer, "login-server", "", textFlagLoginServer)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := f.request(cmd, args, p.in)
		if err != nil {
			return err
		}
		r.Reauth, f.qrNamed, f.limited = reauth, cmd.Flags().Changed("qr"), cmd.Flags().Changed("timeout")
		return p.connect(cmd.Context(), r, f)
	}
	return cmd
}

// request reads the command line. What it does not name stays as it is.
func (f *upFlags) request(cmd *cobra.Command, args []string, in io.Reader) (r ipc.UpRequest, err error) {
	r = ipc.UpRequest{Server: f.loginServer, ServerKey: f.serverKey, Profile: f.profile}
	if len(args) == 1 {
		if r.Server != "" && r.Server != args[0] {
			return r, usage(cmd, textTwoServers)
		}
		r.Server = args[0]
	}
	if cmd.Flags().Changed("hostname") {
		r.Edit.Hostname = &f.hostname
	}
	if cmd.Flags().Changed("port") {
		r.Edit.Port = &f.port
	}
	if err = f.routes.edit(cmd, &r.Edit); err != nil {
		return r, err
	}
	if cmd.Flags().Changed("auth-key") {
		r.AuthKey, err = readAuthKey(cmd, f.authKey, in)
	}
	return r, err
}

// readAuthKey takes a key from a file or the input. One in the command line itself, where every user of the
// machine can read it, is refused, and not shown once more.
func readAuthKey(cmd *cobra.Command, where string, in io.Reader) (string, error) {
	path, isFile := strings.CutPrefix(where, "file:")
	switch {
	case isFile:
		file, err := os.Open(path)
		if err != nil {
			return "", fmt.Errorf("the auth key: %w", err)
		}
		defer func() { _ = file.Close() }()
		in = file
	case where != "-":
		return "", usage(cmd, textRawAuthKey)
	}
	text, err := io.ReadAll(io.LimitReader(in, maxAuthKey+1))
	if err != nil {
		return "", fmt.Errorf("the auth key: %w", err)
	}
	k := strings.TrimSpace(string(text))
	if k == "" || len(text) > maxAuthKey || strings.ContainsFunc(k, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New(textBadAuthKey)
	}
	return k, nil
}

// connect asks the daemon to be on the network, goes through a login where there is one, and waits until packets
// flow.
func (p *program) connect(ctx context.Context, r ipc.UpRequest, f upFlags) error {
	c := p.client()
	defer c.Close()
	secret := login.NewSecret()
	if r.AuthKey == "" {
		r.Challenge = secret.Challenge
	}
	reply, err := c.Up(ctx, r)
	if err != nil {
		return err
	}
	switch {
	case reply.Login != nil:
		if err := p.throughLogin(ctx, c, reply.Login, secret, r.Server, f); err != nil {
			return err
		}
	case reply.State == ipc.StateNeedsLogin: // the server knows this machine no more
		return &failure{exitNotUp, textNeedsLogin}
	}
	s, err := p.awaitRunning(ctx, c, f)
	if err != nil {
		return err
	}
	p.showUp(s, f)
	return nil
}

// awaitRunning waits until the machine is on its network; and first for an admin who has to approve it, which may take
// long: that ends at a limit only if one was named.
func (p *program) awaitRunning(ctx context.Context, c *ipc.Client, f upFlags) (*ipc.Status, error) {
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	limit := time.AfterFunc(f.timeout, cancel)
	defer limit.Stop()
	var last *ipc.Status
	asked := false
	err := c.Watch(limited, func(s *ipc.Status) error {
		last = s
		switch {
		case s.State == ipc.StateRunning:
			return errEnough
		case s.State == ipc.StatePending && !asked:
			asked = true
			if !f.limited {
				limit.Stop()
			}
			p.showPending(s, f)
		case s.State != ipc.StatePending && asked: // an admin has decided
			if s.State == ipc.StateNeedsLogin {
				return &failure{exitNotUp, dismissed(s)}
			}
			asked = false
			limit.Reset(f.timeout)
		}
		return nil
	})
	switch {
	case errors.Is(err, errEnough):
		return last, nil
	case limited.Err() != nil && ctx.Err() == nil && asked:
		return nil, &failure{exitNotUp, textNotApproved}
	case limited.Err() != nil && ctx.Err() == nil:
		return nil, &failure{exitNotUp, notConnected(last)}
	default:
		return nil, err
	}
}

// errEnough ends a Watch that has seen what it waited for.
var errEnough = errors.New("enough")
