-- +goose Up
ALTER TABLE nodes ADD COLUMN approved TEXT NOT NULL DEFAULT '[]'; -- JSON: routes that an admin has approved, offered or not

-- +goose Down
SELECT 1;
