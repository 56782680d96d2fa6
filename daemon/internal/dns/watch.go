package dns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// files tells when files are changed, replaced, made or removed (inotify(7)).
type files struct {
	events chan struct{} // holds one token
	fd     int
	file   *os.File
	wg     sync.WaitGroup

	mu    sync.Mutex
	names map[string]bool // base names that matter, in any directory; guarded by mu
	whole map[int32]bool  // directories in which all files matter; guarded by mu
}

func watchFiles() (*files, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot watch files: %w", err)
	}
	f := &files{events: make(chan struct{}, 1), fd: fd, file: os.NewFile(uintptr(fd), "inotify"), names: make(map[string]bool), whole: make(map[int32]bool)}
	f.wg.Go(f.read)
	return f, nil
}

// Events that are waited for.
const (
	dirEvents  = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_CLOSE_WRITE | unix.IN_MODIFY
	fileEvents = unix.IN_MODIFY | unix.IN_CLOSE_WRITE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
)

// watch watches these files, from now on. The directories tell of replacing, the files themselves of writing in place,
// which a directory does not see where the file is mounted from elsewhere. Of a directory that is not there yet the making is told.
func (f *files) watch(paths ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range paths {
		if p == "" {
			continue
		}
		_, _ = unix.InotifyAddWatch(f.fd, p, fileEvents)
		f.await(p)
	}
}

// watchOpen watches a file that may have no name any more, and has it looked at now: it may have been written before.
func (f *files) watchOpen(file *os.File) {
	_, _ = unix.InotifyAddWatch(f.fd, fmt.Sprintf("/proc/self/fd/%d", file.Fd()), fileEvents)
	f.tell()
}

// tell leaves a token.
func (f *files) tell() {
	select {
	case f.events <- struct{}{}:
	default:
	}
}

// await has the next directory above a path that there is tell of it, or of the way to it.
func (f *files) await(path string) {
	for path != "/" {
		f.names[filepath.Base(path)] = true
		path = filepath.Dir(path)
		if _, err := unix.InotifyAddWatch(f.fd, path, dirEvents); !errors.Is(err, unix.ENOENT) {
			return
		}
	}
}

// watchDirs watches all files of these directories.
func (f *files) watchDirs(dirs ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, dir := range dirs {
		if wd, err := unix.InotifyAddWatch(f.fd, dir, dirEvents); err == nil {
			f.whole[int32(wd)] = true
		} else {
			f.await(dir)
		}
	}
}

// read reads events until the descriptor is closed.
func (f *files) read() {
	buf := make([]byte, 64*(unix.SizeofInotifyEvent+unix.NAME_MAX+1))
	for {
		n, err := f.file.Read(buf)
		if err != nil || n < unix.SizeofInotifyEvent {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return
		}
		if f.matters(buf[:n]) {
			f.tell()
		}
	}
}

// matters reports whether one of the events is about a file that is watched.
func (f *files) matters(buf []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(buf) >= unix.SizeofInotifyEvent {
		e := (*unix.InotifyEvent)(unsafe.Pointer(&buf[0]))
		size := unix.SizeofInotifyEvent + int(e.Len)
		if size > len(buf) {
			return true
		}
		name := unix.ByteSliceToString(buf[unix.SizeofInotifyEvent:size])
		switch {
		case e.Mask&unix.IN_IGNORED != 0:
			delete(f.whole, e.Wd)
		case e.Len == 0, f.names[name], f.whole[e.Wd], e.Mask&unix.IN_Q_OVERFLOW != 0:
			return true
		}
		buf = buf[size:]
	}
	return false
}

func (f *files) close() {
	_ = f.file.Close()
	f.wg.Wait()
}
