package certificate

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// Files is a certificate in files that others renew.
type Files struct {
	cert, key string
	current   atomic.Pointer[tls.Certificate]
	seen      [2]fileStamp // as they were when they were last read
	refused   string       // why what was looked at last could not be read; empty: it could
}

// fileStamp is another one where a file is.
type fileStamp struct {
	size     int64
	modified time.Time
	inode    os.FileInfo
}

func (s fileStamp) same(o fileStamp) bool {
	return s.size == o.size && s.modified.Equal(o.modified) && os.SameFile(s.inode, o.inode)
}

func (f *Files) stamps() (st [2]fileStamp, err error) {
	for i, path := range []string{f.cert, f.key} {
		info, err := os.Stat(path) // what a link leads to, as certbot makes them
		if err != nil {
			return st, err
		}
		st[i] = fileStamp{info.Size(), info.ModTime(), info}
	}
	return st, nil
}

// OpenFiles reads a certificate with its chain, and its private key, both in PEM.
func OpenFiles(cert, key string) (*Files, error) {
	f := &Files{cert: cert, key: key}
	return f, f.Read()
}

// Current is the certificate as it was read last.
func (f *Files) Current() *tls.Certificate { return f.current.Load() }

// Read reads them now. What cannot be read changes nothing.
func (f *Files) Read() error {
	st, err := f.stamps()
	if err != nil {
		return fmt.Errorf("cannot load the TLS certificate: %w", err)
	}
	c, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return fmt.Errorf("cannot load the TLS certificate %s: %w", f.cert, err)
	}
	f.seen, f.refused = st, ""
	f.current.Store(&c)
	return nil
}

// Look reads the files again where they have changed. What cannot be read, or is half written, changes nothing: the
// certificate that there is serves on. It is tried again each time, as who may read a file changes without another date; but
// what was said of it is not repeated.
func (f *Files) Look(log *slog.Logger) {
	st, err := f.stamps()
	if err != nil || st[0].same(f.seen[0]) && st[1].same(f.seen[1]) {
		return
	}
	if err := f.Read(); err != nil {
		if f.refused == err.Error() {
			return
		}
		f.refused = err.Error()
		log.Warn("the new TLS certificate cannot be used, the one before serves on", "err", err)
		return
	}
	log.Info("another TLS certificate is served from now on", "file", f.cert)
}
