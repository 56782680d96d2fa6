-- +goose Up
-- The number of the last change. Every transaction that writes locks this row first: the order of the numbers is that
-- of the commits, whoever writes.
CREATE TABLE numbers (
  last INTEGER NOT NULL,
  born TEXT   NOT NULL                  -- the run of the database (or of the host, of a file) that gave it; empty: of none
);
INSERT INTO numbers (last, born) SELECT coalesce(max(CAST(value AS INTEGER)), 0), '' FROM meta WHERE name = 'seq';
DELETE FROM meta WHERE name = 'seq';

-- What has changed that machines may see; the newest part of it.
CREATE TABLE changes (
  seq  INTEGER PRIMARY KEY,
  kind TEXT   NOT NULL,
  node INTEGER NOT NULL,                 -- whose; 0: no machine's
  was  TEXT   NOT NULL                  -- JSON: what the policy went by before, where that is another now; or empty
);

ALTER TABLE nodes ADD COLUMN expired    INTEGER NOT NULL DEFAULT 0; -- its peers were told that its key has expired
ALTER TABLE nodes ADD COLUMN ticket     INTEGER NOT NULL DEFAULT 0; -- until when its relay ticket holds
ALTER TABLE nodes ADD COLUMN ticket_seq INTEGER NOT NULL DEFAULT 0; -- the number under which it got that
ALTER TABLE nodes ADD COLUMN replica    INTEGER NOT NULL DEFAULT 0; -- that has its netmap stream; 0: it is offline
ALTER TABLE nodes ADD COLUMN epoch      INTEGER NOT NULL DEFAULT 0; -- how often it has come online

-- The processes that serve this network.
CREATE TABLE replicas (
  id   INTEGER PRIMARY KEY AUTOINCREMENT,
  beat INTEGER NOT NULL,                 -- rises while it lives
  seen INTEGER NOT NULL                  -- when it rose last, by its own clock
);

-- Machines that wait for a person.
CREATE TABLE logins (
  hash    BLOB   PRIMARY KEY,           -- SHA-256 of the id
  machine BLOB   NOT NULL UNIQUE,
  asked   TEXT   NOT NULL,              -- JSON: what it wants to be admitted as
  address TEXT   NOT NULL,              -- it asked from
  started INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  state   INTEGER NOT NULL,
  user_id INTEGER NOT NULL,              -- who said yes; 0: nobody yet
  code    BLOB,                         -- SHA-256 of the code that the browser carries to the machine
  tries   INTEGER NOT NULL
);
CREATE INDEX logins_address ON logins (address);

-- +goose Down
SELECT 1;
