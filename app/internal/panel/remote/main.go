// Command remote is a panel for tests of other components, which cannot import package panel: a session bus, whose
// address is its first line, and a panel on it. Each line that it reads is an order in JSON, and is answered by a line:
//
//	{"await":["Machines…","bob…"]}   waits for a line of the menu
//	{"click":["Disconnect"]}         waits for it, and clicks it
//
// An answer is {"shown":…}, all that a person sees then, or {"error":"…"}. It ends with its input.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/warren-mesh/warren/app/internal/panel"
)

// limit is how long an order may take.
const limit = 30 * time.Second

type order struct {
	Await []string `json:"await"`
	Click []string `json:"click"`
}

type answer struct {
	Shown *panel.Shown `json:"shown,omitempty"`
	Error string       `json:"error,omitempty"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir, err := os.MkdirTemp("", "warren-panel-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	address, wait, err := panel.Bus(ctx, dir)
	if err != nil {
		return err
	}
	defer func() {
		cancel()
		wait()
	}()
	p, err := panel.Start(ctx, address, true)
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }()
	fmt.Println(address)
	out := json.NewEncoder(os.Stdout)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var o order
		if err := json.Unmarshal(in.Bytes(), &o); err != nil {
			return err
		}
		if err := out.Encode(follow(ctx, p, o)); err != nil {
			return err
		}
	}
	return nil
}

func follow(ctx context.Context, p *panel.Panel, o order) answer {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var err error
	if o.Click != nil {
		err = p.Click(ctx, o.Click...)
	}
	if o.Await != nil && err == nil {
		_, err = p.Await(ctx, func(s panel.Shown) bool { _, ok := s.Find(o.Await...); return ok })
	}
	if err != nil {
		return answer{Error: err.Error()}
	}
	s, err := p.Shown()
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Shown: &s}
}
