package coord

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Netmap calls got with each netmap of the stream, beginning with what came after have; where have is nil, with a
// whole one. It verifies every line, and returns at the first error: its own, the server's or got's. The caller
// calls it again with the last netmap it got: ErrGap and a broken connection mean no more than that. An error that
// wraps ErrForged or ErrInvalid comes from a line that was not applied: call again with nil, later.
func (c *Client) Netmap(ctx context.Context, have *Netmap, got func(*Netmap) error) error {
	after := uint64(0)
	if have != nil && have.Validate() != nil {
		have = nil // what comes is held only against what is new in it
	}
	if have != nil {
		after = have.Seq
	}
	return c.Lines(ctx, after, func(l *Line) error {
		next, err := l.Advance(have)
		if err != nil {
			return fmt.Errorf("%s: %w", c.host, err)
		}
		if have = next; have.Self.ID == 0 {
			return nil // the next line says who we are
		}
		return got(have)
	})
}

// Lines is Netmap for who keeps no netmap: it calls got with each line that came after the number (0: beginning with
// a whole netmap), verified. Whether the lines follow one another is for got to see, by their Prev.
func (c *Client) Lines(ctx context.Context, after uint64, got func(*Line) error) error {
	path := PathNetmap + "?" + QueryPacked
	if after > 0 {
		path += "&after=" + strconv.FormatUint(after, 10)
	}
	return c.again(ctx, func(l *link) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		watch := time.AfterFunc(c.silence, func() { cancel(ErrSilent) })
		defer watch.Stop()
		resp, err := c.send(ctx, l, http.MethodGet, path, nil)
		if err == nil {
			lines := &lineReader{r: bufio.NewReaderSize(resp.Body, 16<<10), beat: func() { watch.Reset(c.silence) }}
			err = c.follow(l, lines, got)
			_ = resp.Body.Close()
		}
		if errors.Is(context.Cause(ctx), ErrSilent) {
			return fmt.Errorf("%s: %w", c.host, ErrSilent)
		}
		return err
	})
}

// follow verifies line after line.
func (c *Client) follow(l *link, lines *lineReader, got func(*Line) error) error {
	for {
		text, err := lines.next()
		switch {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%s: the netmap stream ended: %w", c.host, io.ErrUnexpectedEOF)
		case errors.Is(err, ErrInvalid):
			return fmt.Errorf("%s: %w", c.host, err)
		case err != nil:
			return sayTransport(c.host, err)
		}
		line, err := ParseLine(text, l.guard.server, l.stream)
		if err != nil {
			return fmt.Errorf("%s: %w", c.host, err)
		}
		if err := got(line); err != nil {
			return err
		}
	}
}

var errLineTooLong = fmt.Errorf("%w line: it is longer than %d bytes", ErrInvalid, MaxLine)

// lineReader reads the stream's lines; empty ones only say that the server lives.
type lineReader struct {
	r    *bufio.Reader
	beat func() // called for every piece that comes
}

// next gives a line without its last line feed, and with the packed body behind it if there is one.
func (r *lineReader) next() ([]byte, error) {
	var line []byte
	for {
		piece, err := r.r.ReadSlice('\n')
		if len(piece) > 0 {
			r.beat()
		}
		line = append(line, piece...)
		switch {
		case len(line) > MaxLine:
			return nil, errLineTooLong
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return nil, err
		case len(line) == 1:
			line = line[:0]
			continue
		}
		if fields := bytes.SplitN(line, []byte(" "), 4); len(fields) == 4 {
			n, packed, err := packedLength(fields[3])
			if err != nil {
				return nil, err
			}
			if packed {
				return r.body(line, n)
			}
		}
		return line[:len(line)-1], nil
	}
}

// body appends a packed body of n bytes to its line. Memory is taken as the bytes come.
func (r *lineReader) body(line []byte, n int) ([]byte, error) {
	for n++; n > 0; { // with its line feed
		at := len(line)
		line = append(line, make([]byte, min(n, 64<<10))...)
		got, err := io.ReadFull(r.r, line[at:])
		if got > 0 {
			r.beat()
		}
		if err != nil {
			return nil, err
		}
		n -= got
	}
	return line[:len(line)-1], nil
}
