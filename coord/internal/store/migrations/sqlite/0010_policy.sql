-- +goose Up
-- Texts of the policy file; the newest is in force. Where there is none, the default is.
CREATE TABLE policies (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  content TEXT   NOT NULL,
  user_id INTEGER NOT NULL,                -- who saved it; 0: no account did
  login   TEXT   NOT NULL,                 -- theirs, then
  note    TEXT   NOT NULL,
  created INTEGER NOT NULL
);

-- A network from before there were rules keeps what it had: all reach all.
INSERT INTO policies (content, user_id, login, note, created)
SELECT '// All machines of this network reach each other, and what lies behind routers: what it was before there were rules.
// To have rules, write them here in the place of this one. Without the file, the default lets each person''s machines talk.
{
  "grants": [
    {"src": ["*"], "dst": ["*"], "ip": ["*", "sctp:*", "gre:*", "esp:*", "ah:*", "4:*", "41:*"]},
  ],
}
', 0, '', 'upgrade', 0 FROM meta WHERE name = 'network';

-- Machines that come back hear of their filters: the log says that the rules have changed.
UPDATE numbers SET last = last + 1 WHERE EXISTS (SELECT 1 FROM policies);
INSERT INTO changes (seq, kind, node, was) SELECT last, 'policy', 0, '' FROM numbers WHERE EXISTS (SELECT 1 FROM policies);

-- +goose Down
SELECT 1;
