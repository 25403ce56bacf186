-- +goose Up

-- Every index is written at each change of what it holds. Tables that are only
-- looked into by their key are kept in its order, which saves one; nothing
-- looks for a credential by its ID.
CREATE TABLE credentials_by_hash (
  hash       BLOB    PRIMARY KEY CHECK (length(hash) = 32),
  id         TEXT    NOT NULL,
  grant_id   TEXT    NOT NULL REFERENCES requests (grant_id),
  request    TEXT    NOT NULL,
  kind       TEXT    NOT NULL,
  host       TEXT    NOT NULL,
  issued_at  INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO credentials_by_hash SELECT hash, id, grant_id, request, kind, host, issued_at, expires_at FROM credentials ORDER BY hash;
DROP TABLE credentials;
ALTER TABLE credentials_by_hash RENAME TO credentials;
CREATE INDEX credentials_grant ON credentials (grant_id);
CREATE INDEX credentials_expires ON credentials (expires_at);

CREATE TABLE texts_by_digest (
  digest  TEXT PRIMARY KEY CHECK (digest <> ''),
  salt    BLOB NOT NULL CHECK (length(salt) = 16),
  body    TEXT NOT NULL,
  subject TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO texts_by_digest SELECT digest, salt, body, subject FROM texts ORDER BY digest;
DROP TABLE texts;
ALTER TABLE texts_by_digest RENAME TO texts;
CREATE INDEX texts_subject ON texts (subject);

-- Nearly all requests are approved and nearly all grants have ended: looking
-- for those is looking at the newest.
DROP INDEX requests_state;
CREATE INDEX requests_state ON requests (state, created_at, id) WHERE state <> 'approved';
DROP INDEX requests_grant_state;
CREATE INDEX requests_grant_state ON requests (grant_state, created_at, id) WHERE grant_state <> 'ended';

-- The end of a grant asks for the extensions that wait, and mostly none does.
CREATE INDEX requests_waiting ON requests (extends) WHERE state = 'pending' AND extends IS NOT NULL;

-- SQLite builds a table of its own for a list of more than two, at every row
-- that is written: a row took half as long again. What is allowed stays the same.
-- https://www.sqlite.org/lang_altertable.html, section 7: for changes of CHECK
-- constraints that do not touch what is stored.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(replace(sql,
  'CHECK (state IN (''pending'', ''approved'', ''denied'', ''cancelled'', ''expired''))',
  'CHECK (state = ''pending'' OR state = ''approved'' OR state = ''denied'' OR state = ''cancelled'' OR state = ''expired'')'),
  'CHECK (grant_state IN (''scheduled'', ''activating'', ''active'', ''ending'', ''ended''))',
  'CHECK (grant_state = ''scheduled'' OR grant_state = ''activating'' OR grant_state = ''active'' OR grant_state = ''ending'' OR grant_state = ''ended'')')
WHERE type = 'table' AND name = 'requests';
PRAGMA writable_schema = RESET;
