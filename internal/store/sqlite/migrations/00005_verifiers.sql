-- +goose Up

-- Of credentials whose clients prove that they hold them (SCRAM). They go when
-- the credential does.
CREATE TABLE verifiers (
  hash       BLOB PRIMARY KEY REFERENCES credentials (hash) ON DELETE CASCADE,
  grant_id   TEXT NOT NULL,
  stored_key BLOB NOT NULL,
  server_key BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX verifiers_grant ON verifiers (grant_id);
