package store

import (
	"strings"
	"time"
)

// Token is what a program signs its calls of the API with.
type Token struct {
	ID      int64
	Hash    [32]byte
	User    int64
	Name    string
	Scopes  []string
	Created time.Time
	Expires time.Time
	Used    time.Time
}

// Tokens is the part of Tx that is about the API's tokens.
type Tokens interface {
	Tokens(user int64) ([]Token, error) // 0: everybody's
	Token(id int64) (Token, error)
	TokenByHash(hash [32]byte) (Token, error)
	AddToken(t Token) (int64, error)
	TouchToken(id int64, now time.Time) error
	RemoveToken(id int64) error
	PurgeTokens(expiredBefore time.Time) error
}

const tokenColumns = "id, hash, user_id, name, scopes, created, expires, used"

func scanToken(r row) (k Token, err error) {
	var hash []byte
	var scopes string
	var created, expires, used int64
	err = r.Scan(&k.ID, &hash, &k.User, &k.Name, &scopes, &created, &expires, &used)
	copy(k.Hash[:], hash)
	k.Scopes = strings.Fields(scopes)
	k.Created, k.Expires, k.Used = when(created), when(expires), when(used)
	return k, err
}

func (t *tx) Tokens(user int64) ([]Token, error) {
	if user == 0 {
		return many(t, scanToken, "SELECT "+tokenColumns+" FROM tokens ORDER BY id")
	}
	return many(t, scanToken, "SELECT "+tokenColumns+" FROM tokens WHERE user_id = ? ORDER BY id", user)
}

func (t *tx) Token(id int64) (Token, error) {
	return one(t, scanToken, "SELECT "+tokenColumns+" FROM tokens WHERE id = ?", id)
}

func (t *tx) TokenByHash(hash [32]byte) (Token, error) {
	return one(t, scanToken, "SELECT "+tokenColumns+" FROM tokens WHERE hash = ?", hash[:])
}

func (t *tx) AddToken(k Token) (int64, error) {
	return t.insert("INSERT INTO tokens (hash, user_id, name, scopes, created, expires, used) VALUES (?, ?, ?, ?, ?, ?, ?)",
		k.Hash[:], k.User, k.Name, strings.Join(k.Scopes, " "), ms(k.Created), ms(k.Expires), ms(k.Used))
}

func (t *tx) TouchToken(id int64, now time.Time) error {
	return t.must("UPDATE tokens SET used = ? WHERE id = ?", ms(now), id)
}

func (t *tx) RemoveToken(id int64) error { return t.must("DELETE FROM tokens WHERE id = ?", id) }

func (t *tx) PurgeTokens(expiredBefore time.Time) error {
	_, err := t.exec("DELETE FROM tokens WHERE expires < ?", ms(expiredBefore))
	return translate(err)
}
