-- +goose Up
-- Who did what when. What a row names may be gone since, so nothing here refers to another table.
CREATE TABLE audit (
  id      INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order of the commits
  time    INTEGER NOT NULL,
  user_id INTEGER NOT NULL,             -- the account; 0: nobody's
  login   TEXT    NOT NULL,             -- what it was called then
  via     TEXT    NOT NULL,             -- console, api, host, machine, server
  address TEXT    NOT NULL,
  action  TEXT    NOT NULL,             -- such as machine.rename
  subject TEXT    NOT NULL,             -- name of what it was done to
  details TEXT    NOT NULL              -- a JSON object
);
CREATE INDEX audit_action ON audit (action, id);

-- +goose Down
SELECT 1;
