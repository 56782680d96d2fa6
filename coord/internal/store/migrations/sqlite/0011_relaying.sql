-- +goose Up
ALTER TABLE nodes ADD COLUMN may_relay INTEGER NOT NULL DEFAULT 0; -- an admin allows it to relay for others, offered or not

-- +goose Down
SELECT 1;
