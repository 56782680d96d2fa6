package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
)

// TestASmallRun keeps the benchmark from rotting: all of it, with a network of few machines.
func TestASmallRun(t *testing.T) {
	program := filepath.Join(t.TempDir(), "warren-coord")
	build := exec.Command("go", "build", "-o", program, "..")
	build.Env = append(os.Environ(), "GOFLAGS=") // those that go with the race detector would have all be compiled again
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	stdout := os.Stdout
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout = w
	defer func() { os.Stdout = stdout }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	err = measure(ctx, options{program: program, nodes: 20, each: 5, all: 20, at: 8, changes: 3, idle: time.Second})
	_ = w.Close()
	if err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 64<<10)
	n, _ := r.Read(text)
	for _, concerned := range []string{"5", "20"} {
		for _, step := range []string{"join", "idle", "change", "restart", "kill"} {
			if !strings.Contains(string(text[:n]), "BenchmarkCoord/nodes=20/concerned="+concerned+"/"+step+"\t") {
				t.Errorf("%s is missing in\n%s", step, text[:n])
			}
		}
	}
}

func TestAChangeThatDoesNotComeIsNoticed(t *testing.T) {
	c := &news{number: 1, mark: []byte(`"198.18.0.0:1025"`), start: time.Now(), took: make([]time.Duration, 2), all: make(chan struct{})}
	c.left.Store(2)
	o := &circle{}
	o.current.Store(c)
	a, b := &node{circle: o}, &node{circle: o, place: 1}
	look := func(n *node, addr string, pack bool) {
		body := []byte(`{"changes":[` + strings.Repeat(`{"remove":1},`, 200) + `{"upsert":{"endpoints":[{"addr":"` + addr + `","kind":"stun"}]}}]}`)
		if pack {
			body = coord.Pack(body)
		}
		if err := n.look(&coord.Line{Body: body}); err != nil {
			t.Error(err)
		}
	}
	for range 3 {
		look(a, "198.18.0.0:1025", true) // counts once
	}
	look(b, "198.18.0.0:10255", false)
	select {
	case <-c.all:
		t.Error("one of two has it, and it counts as told to all")
	default:
	}
	look(b, "198.18.0.0:1025", false)
	<-c.all
}

func TestPercentilesAndSamples(t *testing.T) {
	var all []time.Duration
	for i := range 1000 {
		all = append(all, time.Duration(1000-i)*time.Millisecond)
	}
	if p := percentile(all, 50); p != 501 {
		t.Errorf("p50 = %v", p)
	}
	if p := percentile(all, 99); p != 991 {
		t.Errorf("p99 = %v", p)
	}
	took := make([]time.Duration, 1000)
	took[10], took[11] = time.Second, time.Minute // the sample is every tenth
	if h := (heard{took: took}); h.last(100) != time.Second || h.last(0) != time.Minute {
		t.Errorf("last of 100: %v, of all: %v", h.last(100), h.last(0))
	}
}

func TestAWrongServerIsSaid(t *testing.T) {
	if err := measure(t.Context(), options{program: "/nonexistent", nodes: 20, each: 5, at: 1}); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("got %v", err)
	}
	if err := measure(t.Context(), options{nodes: 1}); err == nil || errors.Is(err, coord.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}
