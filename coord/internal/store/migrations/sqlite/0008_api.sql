-- +goose Up
-- What programs sign their calls of the API with.
CREATE TABLE tokens (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  hash    BLOB    NOT NULL UNIQUE,      -- SHA-256 of the token
  user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  name    TEXT    NOT NULL,
  scopes  TEXT    NOT NULL,             -- with blanks between them
  created INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  used    INTEGER NOT NULL              -- when last, within a minute
);
CREATE INDEX tokens_user ON tokens (user_id);

-- Where lines of the audit log are sent to.
CREATE TABLE webhooks (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  url      TEXT    NOT NULL,
  events   TEXT    NOT NULL,            -- actions, with blanks between them; empty: all
  secret   BLOB    NOT NULL,            -- sealed
  created  INTEGER NOT NULL,
  position INTEGER NOT NULL,            -- the last line of the log that is done with
  tries    INTEGER NOT NULL,            -- that failed, since the last that did not
  next     INTEGER NOT NULL,            -- not before then
  status   INTEGER NOT NULL,            -- HTTP's, of the last answer; 0: none came
  problem  TEXT    NOT NULL,            -- of the last try; empty: none
  tried    INTEGER NOT NULL,            -- when last
  sent     INTEGER NOT NULL,            -- when last with success
  dropped  INTEGER NOT NULL             -- lines that could not be sent in time
);

-- Whose end of key was told of already.
CREATE TABLE expiry_notices (
  id      INTEGER PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE, -- of the machine
  expires INTEGER NOT NULL,             -- the end that was told of
  said    TEXT    NOT NULL              -- the last action that was
);

-- +goose Down
SELECT 1;
