// Package pgtest runs a PostgreSQL of a test's own: Debian's, in a temporary directory, on a Unix socket.
package pgtest

import (
	"bytes"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Server is a PostgreSQL, and a superuser "warren" who needs no password on its socket.
type Server struct {
	t    testing.TB
	bin  string // directory of its programs
	dir  string
	who  *syscall.Credential // as whom it runs; nil: as the test
	post *exec.Cmd
}

// startTime is how long it may take to start or to stop.
const startTime = time.Minute

// Start runs a PostgreSQL until the test ends. Without one installed it skips the test, but where CI=true or
// WARREN_NOSKIP=1 it fails it.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, bin: programs(t)}
	dir, err := os.MkdirTemp("", "pg") // short: a socket's address may have only 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	s.dir = dir
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if os.Geteuid() == 0 { // as whom it refuses to run
		s.become(t, "postgres")
	}
	s.run("initdb", "--no-sync", "--auth=trust", "--username=warren", "--encoding=UTF8", "--no-locale", "--pgdata="+s.data())
	s.Up()
	t.Cleanup(s.Down)
	return s
}

// programs finds the directory of the newest version; Debian has none of them in PATH.
func programs(t testing.TB) string {
	t.Helper()
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path)
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) > 0 {
		return filepath.Dir(slices.Max(found))
	}
	if os.Getenv("CI") == "true" || os.Getenv("WARREN_NOSKIP") == "1" {
		t.Fatal("needs PostgreSQL (Debian's package postgresql), and CI=true or WARREN_NOSKIP=1 allows no skipped test")
	}
	t.Skip("needs PostgreSQL: run `make deps`")
	return ""
}

func (s *Server) become(t testing.TB, name string) {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	s.who = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	if err := os.Chown(s.dir, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PGHOST="+s.dir, "PGUSER=warren")
	// It ends with the test, also where that is killed: SIGINT is PostgreSQL's fast shutdown.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.who, Pdeathsig: syscall.SIGINT}
	return cmd
}

func (s *Server) run(name string, args ...string) {
	s.t.Helper()
	if out, err := s.command(name, args...).CombinedOutput(); err != nil {
		s.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// Up starts it and returns when it answers.
func (s *Server) Up() {
	s.t.Helper()
	var log bytes.Buffer
	s.post = s.command("postgres", "-D", s.data(), "-k", s.dir, "-c", "listen_addresses=", "-c", "shared_buffers=16MB", "-c", "fsync=off")
	s.post.Stderr = &log
	if err := s.post.Start(); err != nil {
		s.t.Fatal(err)
	}
	for end := time.Now().Add(startTime); s.command("pg_isready", "-q").Run() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.Down()
			s.t.Fatalf("PostgreSQL does not start:\n%s", log.String())
		}
	}
}

// Down stops it. Who is connected loses the connection.
func (s *Server) Down() {
	if s.post == nil {
		return
	}
	_ = s.post.Process.Signal(syscall.SIGINT)
	kill := time.AfterFunc(startTime, func() { _ = s.post.Process.Kill() })
	_ = s.post.Wait()
	kill.Stop()
	s.post = nil
}

// Database makes an empty database and returns its URL.
func (s *Server) Database(name string) string {
	s.t.Helper()
	s.run("createdb", "--template=template0", name)
	return (&url.URL{
		Scheme: "postgres", User: url.User("warren"), Path: "/" + name,
		RawQuery: url.Values{"host": {s.dir}}.Encode(),
	}).String()
}

// Exec runs one statement in a database.
func (s *Server) Exec(database, statement string) {
	s.t.Helper()
	s.run("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname="+database, "--command="+statement)
}
