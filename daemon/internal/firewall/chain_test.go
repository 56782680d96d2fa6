package firewall

import (
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/warren-mesh/warren/coord"
)

// A world is what the oracle of the policy's language says of a random network: a policy file, the network, and packets
// that come to its machines, each with whether it may come in.
type world struct {
	Policy  string          `json:"policy"`
	Network json.RawMessage `json:"network"`
	Packets []struct {
		To     string       `json:"to"`
		Packet coord.Packet `json:"packet"`
		Let    bool         `json:"let"`
	} `json:"packets"`
}

// compiledWorld is what 'warren-coord policy compile --json' prints, and the network's machines.
type compiledWorld struct {
	Machines []struct {
		Name   string        `json:"name"`
		Filter *coord.Filter `json:"filter"`
	} `json:"machines"`
}

// TestFromThePolicyFileToThePacket goes the whole way: random policy files are compiled by the program, each machine's
// filter is loaded into the kernel, packets are sent, and what comes through is what the language's oracle says, which
// knows neither the parser nor the compiler nor the filter.
func TestFromThePolicyFileToThePacket(t *testing.T) {
	w, f := newWire(t), newFilter(t)
	spy(t)
	dir := t.TempDir()
	program := filepath.Join(dir, "warren-coord")
	tool(t, nil, "go", "build", "-o", program, "github.com/warren-mesh/warren/coord/warren-coord")
	oracle := filepath.Join(dir, "oracle")
	tool(t, nil, "go", "test", "-c", "-o", oracle, "github.com/warren-mesh/warren/coord/internal/policy")
	worlds := t.TempDir()
	tool(t, append(os.Environ(), "WARREN_TEST_WORLDS="+worlds), oracle, "-test.run", "^TestTheOracleSpeaksOfPacketsOnTheWire$")
	files, err := filepath.Glob(filepath.Join(worlds, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no worlds: %v", err)
	}
	let, all := 0, 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var v world
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		a, n := v.play(t, w, f, program)
		let, all = let+a, all+n
	}
	if let == 0 {
		t.Error("nothing was let in: that proves nothing")
	}
	t.Logf("%d networks, %d packets, %d let in", len(files), all, let)
}

// play compiles a world and sends its packets to one machine after another.
func (v *world) play(t *testing.T, w *wire, f *Filter, program string) (let, all int) {
	t.Helper()
	policy, network := filepath.Join(t.TempDir(), "policy.hujson"), filepath.Join(t.TempDir(), "network.json")
	for path, text := range map[string][]byte{policy: []byte(v.Policy), network: v.Network} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var c compiledWorld
	if err := json.Unmarshal(tool(t, nil, program, "policy", "compile", policy, "--network", network, "--json"), &c); err != nil {
		t.Fatal(err)
	}
	var described struct {
		Machines []struct {
			Name  string       `json:"name"`
			Addrs []netip.Addr `json:"addrs"`
		} `json:"machines"`
	}
	if err := json.Unmarshal(v.Network, &described); err != nil {
		t.Fatal(err)
	}
	addrs := make(map[string][]netip.Addr)
	for _, m := range described.Machines {
		addrs[m.Name] = m.Addrs
	}
	for _, m := range c.Machines {
		if err := f.Apply(t.Context(), Admission{Rules: m.Filter, Self: addrs[m.Name]}); err != nil {
			t.Fatal(err)
		}
		for i, p := range v.Packets {
			if p.To == m.Name {
				w.send(t, packet(p.Packet, uint16(i)))
			}
		}
		got := seen(t)
		for i, p := range v.Packets {
			if p.To != m.Name {
				continue
			}
			if all++; p.Let {
				let++
			}
			if got[uint16(i)] != p.Let {
				t.Fatalf("to %s, %+v: the kernel lets it in: %t, the oracle: %t, of\n%s\n%s\n%s", m.Name, p.Packet, got[uint16(i)], p.Let, v.Policy, v.Network, sh(t, "nft list table inet warren-filter"))
			}
		}
	}
	return let, all
}

// tool runs a program and gives what it prints.
func tool(t *testing.T, env []string, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = env
	out, err := cmd.Output()
	if err != nil {
		var stderr []byte
		if e, is := err.(*exec.ExitError); is {
			stderr = e.Stderr
		}
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, stderr)
	}
	return out
}
