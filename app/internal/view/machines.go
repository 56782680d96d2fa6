package view

import (
	"strconv"

	"github.com/warren-mesh/warren/ipc"
)

// maxNear is how many machines stand in the menu itself, each with a menu of what can be done. More would make it too long for
// a small screen: GNOME shows a menu that is too long not at all.
const maxNear = 5

// machines lists the others, those that are there first. The first have a menu of their own; a click on one of the rest
// copies its address.
func (d *drawer) machines() []Item {
	there := 0
	var all []*ipc.Peer
	for _, wanted := range []bool{true, false} { // the daemon has them in the order of their names
		for i := range d.s.Peers {
			if p := &d.s.Peers[i]; here(p) == wanted {
				if all = append(all, p); wanted {
					there++
				}
			}
		}
	}
	if d.s.State != ipc.StateRunning {
		return nil
	}
	items := []Item{note("machines", d.say(textMachines, d.count(there), d.count(len(all))))}
	if len(all) == 0 {
		return []Item{note("machines", d.say(textNoMachines))}
	}
	for _, p := range all[:min(len(all), maxNear)] {
		items = append(items, d.near(p))
	}
	rest := all[min(len(all), maxNear):]
	if len(rest) == 0 {
		return items
	}
	more := Item{Key: "machines-rest", Label: d.say(textMoreMachines, d.count(len(rest)))}
	for _, p := range rest[:min(len(rest), maxMachines)] {
		more.Items = append(more.Items, d.machine(p))
	}
	switch left := len(rest) - maxMachines; {
	case left > 0 && d.in.Windows:
		more.Items = append(more.Items, Item{Key: "machines-more", Label: d.say(textMoreInWindow, d.count(left)), Do: Intent{OpOpen, string(PageMachines)}})
	case left > 0:
		more.Items = append(more.Items, note("machines-more", d.say(textMoreInStatus, d.count(left))))
	}
	return append(items, more)
}

// near is a machine with all that can be done.
func (d *drawer) near(p *ipc.Peer) Item {
	id := strconv.FormatInt(p.ID, 10)
	key := "machine-" + id
	i := Item{Key: key, Label: d.say(textMachineBare, d.name(p), d.kind(p))}
	for n, a := range p.Addrs {
		i.Items = append(i.Items, Item{Key: key + "-copy-" + strconv.Itoa(n), Label: d.say(textCopy, a.String()), Do: Intent{OpCopy, a.String()}})
	}
	if name := bare(p.DNSName, maxLong); name != "" { // what is copied may be pasted into a shell
		i.Items = append(i.Items, Item{Key: key + "-name", Label: d.say(textCopy, plain(p.DNSName, maxLong)), Do: Intent{OpCopy, name}})
	}
	i.Items = append(i.Items, separator(key))
	answer, asked := d.in.Pings[p.ID]
	waits := asked && answer.Reply == nil && answer.Err == nil
	i.Items = append(i.Items, Item{Key: key + "-ping", Label: d.say(textPing), Disabled: waits, Do: Intent{OpPing, id}})
	said := note(key+"-answer", "")
	if said.Hidden = !asked; asked {
		said.Label = d.in.Language.Answer(answer)
	}
	i.Items = append(i.Items, said)
	exit := Item{
		Key: key + "-exit", Label: d.say(textUseAsExit), Toggle: ToggleCheck, Checked: d.exitUsed(p), Hidden: !p.ExitOption, Disabled: d.in.Busy,
		Do: Intent{OpExit, p.Name},
	}
	if exit.Checked {
		exit.Do.Arg = ""
	}
	i.Items = append(i.Items, exit)
	if d.in.Windows {
		i.Items = append(i.Items, Item{Key: key + "-show", Label: d.say(textShow), Do: Intent{OpOpen, string(PageOf(p.ID))}})
	}
	return i
}

// here tells whether a machine can be reached, as far as is known. A path that works says more than the coordination
// server, which may be the one that cannot be reached.
func here(p *ipc.Peer) bool {
	return p.Online || p.Path.Kind == ipc.PathDirect || p.Path.Kind == ipc.PathRelay
}

// name is what people call a machine.
func (d *drawer) name(p *ipc.Peer) string {
	if name := short(p.Name); name != "" {
		return name
	}
	return d.say(textNoName)
}

// kind says how packets reach a machine, and nothing that changes by the second: the menu would never be still.
func (d *drawer) kind(p *ipc.Peer) string {
	switch {
	case p.Path.Kind == ipc.PathDirect:
		return d.say(textDirect)
	case p.Path.Kind == ipc.PathRelay:
		return d.say(textRelayed, short(p.Path.Relay))
	case p.Online:
		return d.say(textIdle)
	}
	return d.say(textOffline)
}

// machine is a machine in a list of many.
func (d *drawer) machine(p *ipc.Peer) Item {
	i := Item{Key: "machine-" + strconv.FormatInt(p.ID, 10)}
	if len(p.Addrs) == 0 {
		i.Label, i.Disabled = d.say(textMachineBare, d.name(p), d.kind(p)), true
		return i
	}
	addr := p.Addrs[0].String()
	i.Label, i.Do = d.say(textMachine, d.name(p), addr, d.kind(p)), Intent{OpCopy, addr}
	return i
}
