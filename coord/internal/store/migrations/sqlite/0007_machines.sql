-- +goose Up
ALTER TABLE nodes ADD COLUMN pending INTEGER NOT NULL DEFAULT 0;   -- waits for an admin's approval
ALTER TABLE nodes ADD COLUMN ephemeral INTEGER NOT NULL DEFAULT 0; -- removed a while after it went offline
ALTER TABLE nodes ADD COLUMN lasting INTEGER NOT NULL DEFAULT 0;   -- its key does not expire, whoever logs it in
ALTER TABLE auth_keys ADD COLUMN ephemeral INTEGER NOT NULL DEFAULT 0;
ALTER TABLE auth_keys ADD COLUMN approval INTEGER NOT NULL DEFAULT 0; -- what it lets in waits for an admin's approval

-- +goose Down
SELECT 1;
