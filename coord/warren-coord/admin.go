package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/server"
)

// ask calls the admin API of the running server.
func (e *env) ask(ctx context.Context, method, path string, body, reply any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://warren-coord"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	t := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return server.DialAdmin(ctx, e.dir)
		},
	}
	resp, err := (&http.Client{Transport: t}).Do(req)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf(textNoServer, e.dir)
	}
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return fmt.Errorf("cannot speak to the server on %s: %w", e.dir, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		var er coord.ErrorReply
		if json.NewDecoder(resp.Body).Decode(&er) == nil && er.Error != nil {
			return er.Error
		}
		return fmt.Errorf("the server answered %s", resp.Status)
	}
	if reply == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(reply)
}

// list prints what the server lists: as JSON, or as a table.
func list[T any](e *env, cmd *cobra.Command, path, head string, row func(T) []string) error {
	var all []T
	if err := e.ask(cmd.Context(), http.MethodGet, path, nil, &all); err != nil {
		return err
	}
	if e.json {
		return printJSON(cmd.OutOrStdout(), all)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, head)
	for _, v := range all {
		_, _ = fmt.Fprintln(w, strings.Join(row(v), "\t"))
	}
	return w.Flush()
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func jsonFlag(e *env, cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&e.json, "json", false, textFlagJSON)
	return cmd
}

// on makes a command that does one thing to the one that is named.
func on(use, short string, do func(cmd *cobra.Command, name string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "" {
				return errors.New(textNoName)
			}
			return do(cmd, args[0])
		},
	}
}

func show(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Local().Format("2006-01-02 15:04")
}

// readPassword asks for a password twice on a terminal, without showing it; elsewhere it is the first line of stdin.
func readPassword(cmd *cobra.Command, login string) (string, error) {
	in, tty := cmd.InOrStdin().(*os.File)
	if !tty || !isTerminal(in) {
		line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	first, err := hidden(in, cmd.ErrOrStderr(), fmt.Sprintf(textPasswordPrompt, login))
	if err != nil {
		return "", err
	}
	again, err := hidden(in, cmd.ErrOrStderr(), textPasswordAgain)
	if err == nil && first != again {
		err = errors.New(textPasswordDiffer)
	}
	return first, err
}
