-- +goose Up
-- Accounts from before roles had no say over others: the first owner is made with a set-up link or at the host.
ALTER TABLE users ADD COLUMN role TEXT NOT NULL DEFAULT 'member';

-- +goose Down
SELECT 1;
