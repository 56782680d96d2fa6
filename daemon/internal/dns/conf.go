package dns

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/daemon/internal/dns/hostmode"
)

// Patience with another program that writes the file just now.
const (
	maxWriting = 2 * time.Second        // others' changes are noticed within 5 s, whoever leaves the file open
	maxAwait   = time.Second            // while ours is taken out, which everything waits for
	awaitPause = 20 * time.Millisecond  // between two looks then
	young      = 500 * time.Millisecond // what was written in that time may be half of it, where nothing tells
)

// conf is a resolv.conf that is open, and what stood in it. It is the same file when another has taken its place.
type conf struct {
	file *os.File
	text string
}

// openConf opens a resolv.conf and reads it whole. It is nil without an error where there is none.
func openConf(path string) (*conf, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO would block
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	c := &conf{file: f}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		c.close()
		return nil, fmt.Errorf("%s is no ordinary file", path)
	}
	if c.text, err = c.now(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// now reads what stands in it by now.
func (c *conf) now() (string, error) {
	raw, err := io.ReadAll(io.NewSectionReader(c.file, 0, hostmode.MaxConf+1))
	if err != nil {
		return "", fmt.Errorf("cannot read %s: %w", c.file.Name(), err)
	}
	if len(raw) > hostmode.MaxConf {
		return "", fmt.Errorf("%s has more than %d bytes", c.file.Name(), hostmode.MaxConf)
	}
	return string(raw), nil
}

// written reports whether a program has it open to write: the kernel refuses a read lease then (fcntl(2)). Many cut the file
// first: what stands in it now is not what they mean, and what they write then goes to this file, whatever has its name.
func (c *conf) written() bool {
	fd := c.file.Fd()
	_, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK)
	switch {
	case err == nil:
		_, _ = unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK)
		return false
	case errors.Is(err, unix.EAGAIN):
		return true
	}
	info, err := c.file.Stat() // a file system without leases, or another's file
	if err != nil {
		return false
	}
	text, err := c.now()
	return err == nil && half(text, time.Since(info.ModTime()))
}

// half reports whether a text that was written so long ago may be half of one.
func half(text string, age time.Duration) bool {
	return age >= 0 && age < young && !strings.HasSuffix(text, "\n")
}

// due reports whether more is to be had from it: somebody has it open to write, or wrote since it was read.
func (c *conf) due() bool {
	if c.written() { // before it is read
		return true
	}
	now, err := c.now()
	return err == nil && now != c.text
}

// await waits until nobody writes it any more, for at most maxAwait.
func (c *conf) await() {
	for end := time.Now().Add(maxAwait); c.written() && time.Now().Before(end); {
		time.Sleep(awaitPause)
	}
}

// close closes it, if there is one.
func (c *conf) close() {
	if c != nil {
		_ = c.file.Close()
	}
}

// readConf reads a resolv.conf whole.
func readConf(path string) (text string, missing bool, err error) {
	c, err := openConf(path)
	if c == nil {
		return "", err == nil, err
	}
	defer c.close()
	return c.text, false, nil
}
