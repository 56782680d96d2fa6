-- +goose Up
-- One-time codes by the clock (TOTP, RFC 6238).
CREATE TABLE second_factors (
  user_id INTEGER PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
  secret  BLOB    NOT NULL,             -- sealed under a key that is not in the database
  step    INTEGER NOT NULL,             -- the last one whose code was taken
  created INTEGER NOT NULL
);

CREATE TABLE recovery_codes (
  user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  hash    BLOB    NOT NULL,             -- HMAC-SHA256 under a key that is not in the database
  PRIMARY KEY (user_id, hash)
);

CREATE TABLE passkeys (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  credential BLOB    NOT NULL UNIQUE,
  name       TEXT    NOT NULL,
  data       TEXT    NOT NULL,          -- JSON: its public key and what it last said of itself
  created    INTEGER NOT NULL,
  used       INTEGER NOT NULL
);
CREATE INDEX passkeys_user ON passkeys (user_id);

-- OpenID Connect providers. What they know people by outlives them: the issuer stands in identities.
CREATE TABLE providers (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  name    TEXT    NOT NULL UNIQUE,
  issuer  TEXT    NOT NULL UNIQUE,
  client  TEXT    NOT NULL,
  secret  BLOB    NOT NULL,             -- sealed as above
  options TEXT    NOT NULL,             -- JSON
  created INTEGER NOT NULL
);

CREATE TABLE identities (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  issuer  TEXT    NOT NULL,
  subject TEXT    NOT NULL,
  name    TEXT    NOT NULL,             -- to be shown, and for nothing else
  created INTEGER NOT NULL,
  used    INTEGER NOT NULL,
  UNIQUE (issuer, subject)
);
CREATE INDEX identities_user ON identities (user_id);

-- What serves once, and was used: until it would be too old anyway.
CREATE TABLE spent (
  hash    BLOB    PRIMARY KEY,
  expires INTEGER NOT NULL
);

-- +goose Down
SELECT 1;
