package store

import "time"

// PolicyVersion is a text that is, or was, the network's policy file.
type PolicyVersion struct {
	ID      int64 // rises
	Text    string
	User    int64  // who saved it; 0: the host's administrator, or the server itself
	By      string // their login then
	Note    string // where it came from, if somebody did not write it: an upgrade, or another version
	Created time.Time
}

// PolicyHistory is how many versions are kept; the oldest go.
const PolicyHistory = 200

// Policies is the part of Tx that is about the policy file.
type Policies interface {
	// Policy is the newest version, which is in force; that of a network that never had a file is the zero value.
	Policy() (PolicyVersion, error)
	PolicyVersion(id int64) (PolicyVersion, error)
	// PolicyVersions are without their texts, the newest first.
	PolicyVersions() ([]PolicyVersion, error)
	// AddPolicy puts a version in force.
	AddPolicy(p PolicyVersion) (int64, error)
}

const policyColumns = "id, content, user_id, login, note, created"

func scanPolicy(r row) (p PolicyVersion, err error) {
	var created int64
	err = r.Scan(&p.ID, &p.Text, &p.User, &p.By, &p.Note, &created)
	p.Created = when(created)
	return p, err
}

func (t *tx) Policy() (PolicyVersion, error) {
	all, err := many(t, scanPolicy, "SELECT "+policyColumns+" FROM policies ORDER BY id DESC LIMIT 1")
	if err != nil || len(all) == 0 {
		return PolicyVersion{}, err
	}
	return all[0], nil
}

func (t *tx) PolicyVersion(id int64) (PolicyVersion, error) {
	return one(t, scanPolicy, "SELECT "+policyColumns+" FROM policies WHERE id = ?", id)
}

func (t *tx) PolicyVersions() ([]PolicyVersion, error) {
	return many(t, scanPolicy, "SELECT id, '', user_id, login, note, created FROM policies ORDER BY id DESC")
}

func (t *tx) AddPolicy(p PolicyVersion) (int64, error) {
	id, err := t.insert("INSERT INTO policies (content, user_id, login, note, created) VALUES (?, ?, ?, ?, ?)", p.Text, p.User, p.By, p.Note, ms(p.Created))
	if err != nil {
		return 0, err
	}
	if _, err := t.exec("DELETE FROM policies WHERE id <= ?", id-PolicyHistory); err != nil {
		return 0, translate(err)
	}
	_, err = t.note(PolicyChanged, 0, false)
	return id, err
}
