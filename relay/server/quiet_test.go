package server

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/net/nettest"
)

// quietPipe is a connection of Listen, and its client's end.
func quietPipe() (accepted, dialled net.Conn, stop func(), err error) {
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() { _ = l.Close() }()
	if dialled, err = net.Dial("tcp", l.Addr().String()); err != nil {
		return nil, nil, nil, err
	}
	if accepted, err = l.Accept(); err != nil {
		_ = dialled.Close()
		return nil, nil, nil, err
	}
	return accepted, dialled, func() { _ = accepted.Close(); _ = dialled.Close() }, nil
}

func TestAQuietConnectionIsAConnection(t *testing.T) { nettest.TestConn(t, quietPipe) }

func TestAQuietConnectionEndsAsItsPeerDoes(t *testing.T) {
	accepted, dialled, stop, err := quietPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	_ = dialled.Close()
	if n, err := accepted.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("after the end: %d bytes, %v", n, err)
	}

	accepted, dialled, stop, err = quietPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	_ = dialled.(*net.TCPConn).SetLinger(0) // its end is a reset
	_ = dialled.Close()
	if n, err := accepted.Read(make([]byte, 1)); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after a reset: %d bytes, %v", n, err)
	}
	var op *net.OpError
	if _, err := accepted.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) || !errors.As(err, &op) || op.Op != "write" {
		t.Errorf("writing after a reset: %v", err)
	}
	if n, err := accepted.Read(nil); n != 0 || err != nil {
		t.Errorf("nothing read: %d bytes, %v", n, err)
	}
}

// What is written below TLS while a message is held is one system call.
func TestTheRecordsOfAMessageAreWrittenTogether(t *testing.T) {
	accepted, dialled, stop, err := quietPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	cert, _, err := newCert()
	if err != nil {
		t.Fatal(err)
	}
	server := tls.Server(accepted, &tls.Config{Certificates: []tls.Certificate{cert}})
	client := tls.Client(dialled, &tls.Config{InsecureSkipVerify: true})
	var work sync.WaitGroup
	defer work.Wait()
	got := make([]byte, 60_000)
	work.Go(func() {
		if _, err := io.ReadFull(client, got); err != nil {
			t.Error(err)
		}
	})
	if err := server.Handshake(); err != nil {
		t.Fatal(err)
	}
	g, out := gatherer(server), &accepted.(*quietConn).out
	if g == nil || gatherer(dialled) != nil {
		t.Fatal("what gathers is not found, or where there is none")
	}
	before := out.n
	g.Hold()
	sent := bytes.Repeat([]byte("warren"), 10_000)
	if _, err := server.Write(sent); err != nil || out.n != before {
		t.Errorf("held, it wrote %d bytes: %v", out.n, err)
	}
	if err := g.Flush(); err != nil || out.n < len(sent) {
		t.Errorf("it wrote %d bytes at last: %v", out.n, err)
	}
	work.Wait()
	if !bytes.Equal(got, sent) {
		t.Error("something else came")
	}
}

func BenchmarkQuietRead(b *testing.B) {
	accepted, dialled, stop, err := quietPipe()
	if err != nil {
		b.Fatal(err)
	}
	defer stop()
	buf := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		_, err1 := dialled.Write(buf)
		_, err2 := io.ReadFull(accepted, buf)
		if err := errors.Join(err1, err2); err != nil {
			b.Fatal(err)
		}
	}
}
