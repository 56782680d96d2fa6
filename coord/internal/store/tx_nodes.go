package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
)

const nodeColumns = "id, machine, node_key, coalesce(user_id, 0), name, base, number, tags, os, version, " +
	"created, expires, auth_key, last_seen, said, expired, ticket, ticket_seq, replica, epoch, pending, ephemeral, lasting, approved, may_relay"

func scanNode(r row) (n Node, err error) {
	var mach, nodeKey []byte
	var tags, said, approved string
	var created, expires, seen, ticket int64
	err = r.Scan(&n.ID, &mach, &nodeKey, &n.User, &n.Name, &n.Base, &n.Number, &tags, &n.OS, &n.Version,
		&created, &expires, &n.AuthKey, &seen, &said, &n.Expired, &ticket, &n.TicketSeq, &n.Replica, &n.Epoch,
		&n.Pending, &n.Ephemeral, &n.Lasting, &approved, &n.MayRelay)
	if err != nil {
		return n, err
	}
	n.Machine = machine(mach)
	copy(n.Key[:], nodeKey)
	n.Created, n.Expires, n.LastSeen, n.Ticket = when(created), when(expires), when(seen), when(ticket)
	if err := json.Unmarshal([]byte(tags), &n.Tags); err != nil {
		return n, fmt.Errorf("%w: tags of machine %d: %w", ErrDamaged, n.ID, err)
	}
	if err := json.Unmarshal([]byte(said), &n.Said); err != nil {
		return n, fmt.Errorf("%w: what machine %d said: %w", ErrDamaged, n.ID, err)
	}
	if err := json.Unmarshal([]byte(approved), &n.Approved); err != nil {
		return n, fmt.Errorf("%w: routes of machine %d: %w", ErrDamaged, n.ID, err)
	}
	return n, nil
}

// nodeKey stores no key as NULL, of which there may be many.
func nodeKey(k key.NodePublic) []byte {
	if k.IsZero() {
		return nil
	}
	return k[:]
}

func (t *tx) Nodes() ([]Node, error) {
	return many(t, scanNode, "SELECT "+nodeColumns+" FROM nodes ORDER BY id")
}

func (t *tx) NodeByMachine(m key.MachinePublic) (Node, error) {
	return one(t, scanNode, "SELECT "+nodeColumns+" FROM nodes WHERE machine = ?", m[:])
}

func (t *tx) NodeByKey(k key.NodePublic) (Node, error) {
	return one(t, scanNode, "SELECT "+nodeColumns+" FROM nodes WHERE node_key = ?", k[:])
}

func (t *tx) Node(id coord.NodeID) (Node, error) {
	return one(t, scanNode, "SELECT "+nodeColumns+" FROM nodes WHERE id = ?", id)
}

func (t *tx) NodeByName(name string) (Node, error) {
	return one(t, scanNode, "SELECT "+nodeColumns+" FROM nodes WHERE name = ?", name)
}

func (t *tx) AddNode(n Node) (coord.NodeID, error) {
	n.Expired, n.Replica, n.Epoch = n.expired(t.log.now), 0, 0
	id, err := t.insert("INSERT INTO nodes (machine, node_key, user_id, name, base, number, tags, os, version, created, "+
		"expires, auth_key, last_seen, said, expired, ticket, pending, ephemeral, lasting, approved, may_relay) "+
		"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		n.Machine[:], nodeKey(n.Key), userID(n.User), n.Name, n.Base, n.Number, text(n.Tags), n.OS, n.Version,
		ms(n.Created), ms(n.Expires), n.AuthKey, ms(n.LastSeen), text(n.Said), n.Expired, ms(n.Ticket), n.Pending, n.Ephemeral, n.Lasting,
		text(n.Approved), n.MayRelay)
	if err != nil {
		return 0, err
	}
	n.ID = coord.NodeID(id)
	if err := t.differ(Node{}, &n); err != nil {
		return 0, err
	}
	return n.ID, t.must("UPDATE nodes SET ticket_seq = ? WHERE id = ?", n.TicketSeq, n.ID)
}

func (t *tx) SetNode(n Node) error {
	was, err := t.Node(n.ID)
	if err != nil {
		return err
	}
	n.LastSeen, n.Said, n.Replica, n.Epoch, n.TicketSeq = was.LastSeen, was.Said, was.Replica, was.Epoch, was.TicketSeq
	if n.Key.IsZero() && !was.Key.IsZero() {
		n.Replica, n.LastSeen = 0, t.log.now
	}
	n.Expired = n.expiredAfter(was, t.log.now)
	if err := t.differ(was, &n); err != nil {
		return err
	}
	return t.must("UPDATE nodes SET machine = ?, node_key = ?, user_id = ?, name = ?, base = ?, number = ?, tags = ?, "+
		"os = ?, version = ?, created = ?, expires = ?, auth_key = ?, expired = ?, ticket = ?, ticket_seq = ?, replica = ?, "+
		"last_seen = ?, pending = ?, ephemeral = ?, lasting = ?, approved = ?, may_relay = ? WHERE id = ?",
		n.Machine[:], nodeKey(n.Key), userID(n.User), n.Name, n.Base, n.Number, text(n.Tags), n.OS, n.Version,
		ms(n.Created), ms(n.Expires), n.AuthKey, n.Expired, ms(n.Ticket), n.TicketSeq, n.Replica,
		ms(n.LastSeen), n.Pending, n.Ephemeral, n.Lasting, text(n.Approved), n.MayRelay, n.ID)
}

func (t *tx) RemoveNode(id coord.NodeID, now time.Time) error {
	n, err := t.Node(id)
	if err != nil {
		return err
	}
	if !n.Pending {
		if err := t.must("INSERT INTO removed (number, removed) VALUES (?, ?)", n.Number, ms(now)); err != nil {
			return err
		}
	}
	if err := t.must("DELETE FROM nodes WHERE id = ?", id); err != nil {
		return err
	}
	return t.differ(n, &Node{ID: id})
}

func (t *tx) LongestGone() (Node, error) {
	return one(t, scanNode, "SELECT "+nodeColumns+" FROM nodes WHERE node_key IS NULL ORDER BY last_seen, id LIMIT 1")
}

func count(r row) (n int, err error) { return n, r.Scan(&n) }

func (t *tx) NameTaken(name string) (bool, error) {
	n, err := one(t, count, "SELECT count(*) FROM nodes WHERE name = ?", name)
	return n > 0, err
}

func (t *tx) CountBase(base string) (int, error) {
	return one(t, count, "SELECT count(*) FROM nodes WHERE base = ?", base)
}

// FreeNumber gives the number after the highest, so that addresses come back as late as can be; when the range is
// through, the lowest that is free; and when none is, that of the machine that was removed the longest ago.
func (t *tx) FreeNumber(last uint32, skip func(uint32) bool) (uint32, error) {
	number := func(r row) (n uint32, err error) { return n, r.Scan(&n) }
	highest, err := one(t, number, "SELECT coalesce(max(n), 0) FROM "+
		"(SELECT (SELECT max(number) FROM nodes) AS n UNION ALL SELECT (SELECT max(number) FROM removed)) AS u")
	if err != nil {
		return 0, err
	}
	for n := highest + 1; n <= last; n++ {
		if !skip(n) {
			return n, nil
		}
	}
	const gap = `SELECT u.number + 1 FROM
		(SELECT 0 AS number UNION SELECT number FROM nodes UNION SELECT number FROM removed) AS u
		WHERE u.number >= ? AND u.number < ?
		AND NOT EXISTS (SELECT 1 FROM nodes WHERE number = u.number + 1)
		AND NOT EXISTS (SELECT 1 FROM removed WHERE number = u.number + 1)
		ORDER BY u.number LIMIT 1`
	for from := uint32(0); ; {
		n, err := one(t, number, gap, from, last)
		if errors.Is(err, ErrNotFound) {
			return t.oldestNumber(last, skip)
		}
		if err != nil {
			return 0, err
		}
		// A gap may be longer than one number, and its first ones not to be used.
		for ; n <= last && skip(n); n++ {
		}
		if taken, err := one(t, count, "SELECT (SELECT count(*) FROM nodes WHERE number = ?) + "+
			"(SELECT count(*) FROM removed WHERE number = ?)", n, n); err != nil || (taken == 0 && n <= last) {
			return n, err
		}
		from = n
	}
}

// oldestNumber takes the number back of the machine that was removed the longest ago.
func (t *tx) oldestNumber(last uint32, skip func(uint32) bool) (uint32, error) {
	number := func(r row) (n uint32, err error) { return n, r.Scan(&n) }
	for after := 0; ; after++ { // past those to be skipped
		n, err := one(t, number, "SELECT number FROM removed WHERE number <= ? ORDER BY removed, number LIMIT 1 OFFSET ?", last, after)
		switch {
		case errors.Is(err, ErrNotFound):
			return 0, ErrNoNumber
		case err != nil:
			return 0, err
		case !skip(n):
			return n, t.must("DELETE FROM removed WHERE number = ?", n)
		}
	}
}

func (t *tx) ReleaseNumbers(before time.Time) error {
	_, err := t.exec("DELETE FROM removed WHERE removed < ?", ms(before))
	return translate(err)
}

const authKeyColumns = "id, hash, coalesce(user_id, 0), reusable, tags, created, expires, revoked, uses, used, used_by, " +
	"ephemeral, approval"

func scanAuthKey(r row) (k AuthKey, err error) {
	var hash, by []byte
	var tags string
	var created, expires, used int64
	err = r.Scan(&k.ID, &hash, &k.User, &k.Reusable, &tags, &created, &expires, &k.Revoked, &k.Uses, &used, &by, &k.Ephemeral, &k.Approval)
	if err != nil {
		return k, err
	}
	copy(k.Hash[:], hash)
	k.UsedBy = machine(by)
	k.Created, k.Expires, k.Used = when(created), when(expires), when(used)
	if err := json.Unmarshal([]byte(tags), &k.Tags); err != nil {
		return k, fmt.Errorf("%w: tags of key %d: %w", ErrDamaged, k.ID, err)
	}
	return k, nil
}

func (t *tx) AuthKeys() ([]AuthKey, error) {
	return many(t, scanAuthKey, "SELECT "+authKeyColumns+" FROM auth_keys ORDER BY id")
}

func (t *tx) AuthKeyByHash(hash [32]byte) (AuthKey, error) {
	return one(t, scanAuthKey, "SELECT "+authKeyColumns+" FROM auth_keys WHERE hash = ?", hash[:])
}

func (t *tx) AddAuthKey(k AuthKey) (int64, error) {
	return t.insert("INSERT INTO auth_keys (hash, user_id, reusable, tags, created, expires, revoked, uses, used, "+
		"ephemeral, approval) VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0, ?, ?)",
		k.Hash[:], userID(k.User), k.Reusable, text(k.Tags), ms(k.Created), ms(k.Expires), k.Ephemeral, k.Approval)
}

// UseAuthKey is one conditional statement: of many that come at once, one finds an unused key unused.
func (t *tx) UseAuthKey(id int64, by key.MachinePublic, now time.Time) (bool, error) {
	err := t.must("UPDATE auth_keys SET uses = uses + 1, used = ?, used_by = ? WHERE id = ? AND revoked = 0 "+
		"AND (expires = 0 OR expires > ?) AND (reusable <> 0 OR uses = 0)", ms(now), by[:], id, ms(now))
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (t *tx) RevokeAuthKey(id int64) error {
	return t.must("UPDATE auth_keys SET revoked = 1 WHERE id = ?", id)
}

func scanRelay(r row) (l coord.Relay, err error) {
	var k []byte
	err = r.Scan(&l.ID, &l.Name, &k, &l.UDP, &l.URL, &l.Cert)
	copy(l.Key[:], k)
	return l, err
}

func (t *tx) Relays() ([]coord.Relay, error) {
	return many(t, scanRelay, "SELECT id, name, key, udp, url, cert FROM relays ORDER BY id")
}

func (t *tx) PutRelay(l coord.Relay) (coord.RelayID, error) {
	was, err := one(t, scanRelay, "SELECT id, name, key, udp, url, cert FROM relays WHERE name = ?", l.Name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return 0, err
	}
	if l.ID = was.ID; err == nil && text(l) == text(was) {
		return l.ID, nil
	}
	if _, err := t.note(RelaysChanged, 0, false); err != nil {
		return 0, err
	}
	return one(t, func(r row) (id coord.RelayID, err error) { return id, r.Scan(&id) },
		"INSERT INTO relays (name, key, udp, url, cert) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "+
			"key = excluded.key, udp = excluded.udp, url = excluded.url, cert = excluded.cert RETURNING id",
		l.Name, l.Key[:], l.UDP, l.URL, l.Cert)
}

func (t *tx) RemoveRelay(name string) error {
	if err := t.must("DELETE FROM relays WHERE name = ?", name); err != nil {
		return err
	}
	_, err := t.note(RelaysChanged, 0, false)
	return err
}
