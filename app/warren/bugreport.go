package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/ipc"
)

const (
	logLines = 2000    // of warrend's log, the newest
	logBytes = 4 << 20 // of that, at the most
)

func (p *program) bugreport() *cobra.Command {
	out := ""
	cmd := &cobra.Command{
		Use: "bugreport [--out FILE]", Short: textShortBugreport, Long: textLongBugreport,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			c := p.client()
			defer c.Close()
			now := time.Now()
			if out == "" {
				out = "warren-bugreport-" + now.UTC().Format("20060102-150405") + ".tar.gz"
			}
			text, err := pack(gather(ctx, c, now), now)
			if err != nil {
				return err
			}
			if err := writeNew(out, text); err != nil {
				return &failure{exitFailed, textNoBugreport + err.Error()}
			}
			p.print(textBugreport, out)
			return nil
		},
	}
	cmd.Flags().StringVarP(&out, "out", "o", "", textFlagBugreport)
	return cmd
}

// writeNew writes a file that its owner alone may read, and that was not there.
func writeNew(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// page is a file of a report.
type page struct {
	name string
	text []byte
}

// gather asks for all that a report has, and takes out what nobody else should read.
func gather(ctx context.Context, c *ipc.Client, now time.Time) []page {
	s := newScrubber()
	if name, err := os.Hostname(); err == nil {
		s.learnHost(name)
	}
	for _, name := range []string{"USER", "SUDO_USER", "LOGNAME"} {
		s.learn(os.Getenv(name))
	}
	versions := map[string]any{"warren": version, "date": date, "go": runtime.Version(), "arch": runtime.GOARCH, "kernel": kernel()}
	var docs []page
	add := func(name string, v any, err error) any {
		if err != nil {
			v = map[string]string{"error": err.Error()}
		}
		doc := plain(v)
		s.learnFrom(doc)
		docs = append(docs, page{name: name})
		return doc
	}
	status, err := c.Status(ctx)
	if err == nil {
		versions["warrend"] = status.Version
	}
	raw := []any{add("status.json", status, err)}
	profiles, errProfiles := c.Profiles(ctx)
	raw = append(raw, add("profiles.json", profiles, errProfiles))
	prefs, errPrefs := c.Prefs(ctx)
	raw = append(raw, add("prefs.json", prefs, errPrefs))
	check, errCheck := c.Netcheck(ctx)
	raw = append(raw, add("netcheck.json", check, errCheck))
	raw = append(raw, add("doctor.json", append(examineHost(look("/", now), status), examineDaemon(status, err)...), nil))
	// Scrubbed only now: each may hold names that another one tells.
	pages := []page{{"README.txt", []byte(textBugreportReadme)}, {"versions.json", indented(versions)}}
	for i, d := range docs {
		pages = append(pages, page{d.name, indented(s.document(raw[i]))})
	}
	release, err := os.ReadFile("/etc/os-release")
	if err == nil {
		pages = append(pages, page{"os-release.txt", release})
	}
	return append(pages, page{"log.txt", []byte(s.text(daemonLog(ctx)))})
}

func indented(v any) []byte {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return []byte(err.Error())
	}
	return append(text, '\n')
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// daemonLog is the end of warrend's log, or why there is none.
func daemonLog(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "journalctl", "--unit=warrend.service", "--no-pager", "--no-hostname", "--output=short-iso", fmt.Sprintf("--lines=%d", logLines))
	cmd.WaitDelay = time.Second
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return textNoLog + err.Error() + "\n"
	}
	text, _ := io.ReadAll(io.LimitReader(out, logBytes))
	if err := cmd.Wait(); err != nil && len(text) == 0 {
		return textNoLog + err.Error() + "\n"
	}
	return string(text)
}

// pack makes an archive of the pages.
func pack(pages []page, now time.Time) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	t := tar.NewWriter(z)
	for _, f := range pages {
		h := &tar.Header{Name: "warren-bugreport/" + f.name, Mode: int64(fs.FileMode(0o600)), Size: int64(len(f.text)), ModTime: now}
		if err := t.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := t.Write(f.text); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
