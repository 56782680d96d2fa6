-- +goose Up
CREATE TABLE invitations (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  hash    BLOB    NOT NULL UNIQUE,      -- SHA-256 of the link's secret
  role    TEXT    NOT NULL,             -- of the account that it makes
  user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE, -- who invites
  created INTEGER NOT NULL,
  expires INTEGER NOT NULL
);

-- What a sign-in was made with, to be told from others.
ALTER TABLE web_sessions ADD COLUMN agent TEXT NOT NULL DEFAULT '';
ALTER TABLE web_sessions ADD COLUMN address TEXT NOT NULL DEFAULT '';

-- +goose Down
SELECT 1;
