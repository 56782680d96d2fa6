package view

import (
	"strconv"

	"github.com/warren-mesh/warren/ipc"
)

// machines lists the others, those that are there first. A click copies the address.
func (d *drawer) machines() Item {
	there := 0
	for i := range d.s.Peers {
		if here(&d.s.Peers[i]) {
			there++
		}
	}
	m := Item{Key: "machines", Label: d.say(textMachines, d.count(there), d.count(len(d.s.Peers))), Hidden: d.s.State != ipc.StateRunning}
	for _, wanted := range []bool{true, false} { // the daemon has them in the order of their names
		for i := range d.s.Peers {
			if len(m.Items) == maxMachines {
				break
			}
			if p := &d.s.Peers[i]; here(p) == wanted {
				m.Items = append(m.Items, d.machine(p))
			}
		}
	}
	switch more := len(d.s.Peers) - len(m.Items); {
	case len(d.s.Peers) == 0:
		m.Items = append(m.Items, note("machines-none", d.say(textNoMachines)))
	case more > 0 && d.in.Windows:
		m.Items = append(m.Items, Item{Key: "machines-more", Label: d.say(textMoreInWindow, d.count(more)), Do: Intent{OpOpen, string(PageMachines)}})
	case more > 0:
		m.Items = append(m.Items, note("machines-more", d.say(textMoreInStatus, d.count(more))))
	}
	return m
}

// here tells whether a machine can be reached, as far as is known. A path that works says more than the coordination
// server, which may be the one that cannot be reached.
func here(p *ipc.Peer) bool {
	return p.Online || p.Path.Kind == ipc.PathDirect || p.Path.Kind == ipc.PathRelay
}

// machine is another machine. It says nothing that changes by the second: the menu would never be still.
func (d *drawer) machine(p *ipc.Peer) Item {
	name := short(p.Name)
	if name == "" {
		name = d.say(textNoName)
	}
	how := d.say(textOffline)
	switch {
	case p.Path.Kind == ipc.PathDirect:
		how = d.say(textDirect)
	case p.Path.Kind == ipc.PathRelay:
		how = d.say(textRelayed, short(p.Path.Relay))
	case p.Online:
		how = d.say(textIdle)
	}
	i := Item{Key: "machine-" + strconv.FormatInt(p.ID, 10)}
	if len(p.Addrs) == 0 {
		i.Label, i.Disabled = d.say(textMachineBare, name, how), true
		return i
	}
	addr := p.Addrs[0].String()
	i.Label, i.Do = d.say(textMachine, name, addr, how), Intent{OpCopy, addr}
	return i
}
