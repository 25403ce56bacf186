-- +goose Up

-- The job that an API token was given to, as its platform vouched for it; ''
-- for those that people make.
ALTER TABLE tokens ADD COLUMN workload TEXT NOT NULL DEFAULT '';
CREATE INDEX tokens_jobs ON tokens (expires_at) WHERE workload <> '';

-- Tokens of others that were exchanged for one of ours: none is good twice.
-- They are forgotten when they would be refused as expired.
CREATE TABLE assertions (
  digest BLOB    PRIMARY KEY CHECK (length(digest) = 32),
  ends   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX assertions_ends ON assertions (ends);
