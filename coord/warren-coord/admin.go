package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/server"
)

// ask calls the admin API of the running server: path is of an operation.
func (e *env) ask(ctx context.Context, method, path string, body, reply any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	answer, err := e.call(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Close() }()
	if reply == nil {
		return nil
	}
	return json.NewDecoder(answer).Decode(reply)
}

// matchKey is where ifMatch keeps the version.
type matchKey struct{}

// ifMatch has a call change nothing if it would replace another version.
func ifMatch(ctx context.Context, etag string) context.Context {
	return context.WithValue(ctx, matchKey{}, etag)
}

// call is ask for an answer that is not JSON, or long. The context must live until it is read.
func (e *env) call(ctx context.Context, method, path string, body any) (io.ReadCloser, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://warren-coord"+server.PathAPI+path, content)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if match, ok := ctx.Value(matchKey{}).(string); ok {
		req.Header.Set("If-Match", match)
	}
	t := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return server.DialAdmin(ctx, e.dir)
		},
	}
	resp, err := (&http.Client{Transport: t}).Do(req)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf(textNoServer, e.dir)
	}
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, fmt.Errorf("cannot speak to the server on %s: %w", e.dir, err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		defer func() { _ = resp.Body.Close() }()
		var er coord.ErrorReply
		if json.NewDecoder(resp.Body).Decode(&er) == nil && er.Error != nil {
			return nil, er.Error
		}
		return nil, fmt.Errorf("the server answered %s", resp.Status)
	}
	return resp.Body, nil
}

// all asks for every page of a list, up to most things; 0 is all. The name is the list's in the answer.
func all[T any](ctx context.Context, e *env, path, name string, q url.Values, most int) ([]T, error) {
	things := []T{}
	for cursor := ""; ; {
		page := url.Values{"limit": {strconv.Itoa(pageSize)}}
		maps.Copy(page, q)
		if cursor != "" {
			page.Set("cursor", cursor)
		}
		var reply map[string]json.RawMessage
		if err := e.ask(ctx, http.MethodGet, path+"?"+page.Encode(), nil, &reply); err != nil {
			return nil, err
		}
		var some []T
		if err := json.Unmarshal(reply[name], &some); err != nil {
			return nil, err
		}
		if things = append(things, some...); most > 0 && len(things) >= most {
			return things[:most], nil
		}
		if reply["next"] == nil {
			return things, nil
		}
		if err := json.Unmarshal(reply["next"], &cursor); err != nil {
			return nil, err
		}
	}
}

// pageSize is how many things of a list come at a time.
const pageSize = 1000

// list prints what the server lists under the name, at the path of that name: as JSON, or as a table.
func list[T any](e *env, cmd *cobra.Command, name, head string, row func(T) []string) error {
	things, err := all[T](cmd.Context(), e, "/"+name, name, nil, 0)
	if err != nil {
		return err
	}
	return e.table(cmd, things, head, func(w io.Writer) {
		for _, v := range things {
			_, _ = fmt.Fprintln(w, strings.Join(row(v), "\t"))
		}
	})
}

// table prints things as JSON, or as the table of which rows writes the rows.
func (e *env) table(cmd *cobra.Command, things any, head string, rows func(io.Writer)) error {
	if e.json {
		return printJSON(cmd.OutOrStdout(), things)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, head)
	rows(w)
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
		return firstLine(cmd.InOrStdin())
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
