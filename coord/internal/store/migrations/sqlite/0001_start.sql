-- +goose Up
CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
);

CREATE TABLE users (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  login    TEXT    NOT NULL UNIQUE,
  password TEXT    NOT NULL,            -- argon2id, encoded with its parameters
  created  INTEGER NOT NULL             -- Unix milliseconds, as all times here; 0 is none
);

-- A machine that has logged out keeps its row, and with it its id, name and address.
CREATE TABLE nodes (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  machine   BLOB    NOT NULL UNIQUE,
  node_key  BLOB    UNIQUE,             -- null while logged out
  user_id   INTEGER REFERENCES users (id),
  name      TEXT    NOT NULL UNIQUE,
  base      TEXT    NOT NULL,           -- name without the number that makes it unique
  number    INTEGER NOT NULL UNIQUE,    -- of its addresses within the network's prefixes
  tags      TEXT    NOT NULL,           -- JSON
  os        TEXT    NOT NULL,
  version   TEXT    NOT NULL,
  created   INTEGER NOT NULL,
  expires   INTEGER NOT NULL,
  auth_key  INTEGER NOT NULL,           -- the pre-auth key that let it in; 0: a person did
  last_seen INTEGER NOT NULL,
  said      TEXT    NOT NULL            -- JSON: what it last said of itself; may be older than that
);
CREATE INDEX nodes_base ON nodes (base);
CREATE INDEX nodes_user ON nodes (user_id);

-- Addresses of removed machines, which stay free for a while.
CREATE TABLE removed (
  number  INTEGER PRIMARY KEY,
  removed INTEGER NOT NULL
);

CREATE TABLE auth_keys (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  hash     BLOB    NOT NULL UNIQUE,     -- SHA-256
  user_id  INTEGER REFERENCES users (id) ON DELETE CASCADE,
  reusable INTEGER NOT NULL,
  tags     TEXT    NOT NULL,
  created  INTEGER NOT NULL,
  expires  INTEGER NOT NULL,
  revoked  INTEGER NOT NULL,
  uses     INTEGER NOT NULL,
  used     INTEGER NOT NULL,            -- when last
  used_by  BLOB                         -- the machine that last used it
);

CREATE TABLE relays (
  id   INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  key  BLOB NOT NULL,
  udp  TEXT NOT NULL,
  url  TEXT NOT NULL,
  cert BLOB
);

CREATE TABLE web_sessions (
  hash    BLOB    PRIMARY KEY,          -- SHA-256 of the cookie
  user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  created INTEGER NOT NULL,
  seen    INTEGER NOT NULL
);
CREATE INDEX web_sessions_user ON web_sessions (user_id);

-- +goose Down
SELECT 1;
