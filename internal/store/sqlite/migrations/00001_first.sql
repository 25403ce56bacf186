-- +goose Up

CREATE TABLE requests (
  id           TEXT    PRIMARY KEY CHECK (id <> ''),
  version      INTEGER NOT NULL CHECK (version > 0),
  state        TEXT    NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'cancelled', 'expired')),
  requester    TEXT    NOT NULL,
  resource     TEXT    NOT NULL,
  extends      TEXT,
  created_at   INTEGER NOT NULL,
  deadline     INTEGER,
  grant_id     TEXT    UNIQUE,
  grant_state  TEXT    CHECK (grant_state IN ('scheduled', 'activating', 'active', 'ending', 'ended')),
  starts_at    INTEGER,
  expires_at   INTEGER,
  body         TEXT    NOT NULL,
  CHECK ((grant_id IS NULL) = (grant_state IS NULL) AND (grant_id IS NULL) = (starts_at IS NULL) AND (grant_id IS NULL) = (expires_at IS NULL))
) STRICT;
CREATE INDEX requests_newest ON requests (created_at, id);
CREATE INDEX requests_requester ON requests (requester, created_at, id);
CREATE INDEX requests_resource ON requests (resource, created_at, id);
CREATE INDEX requests_state ON requests (state, created_at, id);
CREATE INDEX requests_grant_state ON requests (grant_state, created_at, id) WHERE grant_state IS NOT NULL;
CREATE INDEX requests_extends ON requests (extends, created_at, id) WHERE extends IS NOT NULL;
CREATE INDEX requests_deadline ON requests (deadline, id) WHERE deadline IS NOT NULL;
CREATE INDEX requests_pending ON requests (requester, resource) WHERE state = 'pending';

CREATE TABLE inputs (
  request TEXT PRIMARY KEY REFERENCES requests (id),
  body    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE texts (
  digest  TEXT PRIMARY KEY CHECK (digest <> ''),
  salt    BLOB NOT NULL CHECK (length(salt) = 16),
  body    TEXT NOT NULL,
  subject TEXT NOT NULL
) STRICT;
CREATE INDEX texts_subject ON texts (subject);

CREATE TABLE credentials (
  hash       BLOB    PRIMARY KEY CHECK (length(hash) = 32),
  id         TEXT    NOT NULL UNIQUE,
  grant_id   TEXT    NOT NULL REFERENCES requests (grant_id),
  request    TEXT    NOT NULL,
  kind       TEXT    NOT NULL,
  host       TEXT    NOT NULL,
  issued_at  INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX credentials_grant ON credentials (grant_id);

CREATE TABLE tokens (
  id         TEXT    PRIMARY KEY CHECK (id <> ''),
  hash       BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32),
  principal  TEXT    NOT NULL,
  name       TEXT    NOT NULL,
  created_by TEXT    NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX tokens_principal ON tokens (principal);

CREATE TABLE catalogs (
  n            INTEGER PRIMARY KEY,
  version      TEXT    NOT NULL,
  canonical    BLOB    NOT NULL,
  source       BLOB    NOT NULL,
  incarnations TEXT    NOT NULL,
  applied_at   INTEGER NOT NULL,
  applied_by   TEXT    NOT NULL
) STRICT;
CREATE INDEX catalogs_version ON catalogs (version);

CREATE TABLE settings (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE replies (
  principal TEXT    NOT NULL,
  route     TEXT    NOT NULL,
  key       TEXT    NOT NULL,
  body_hash BLOB    NOT NULL CHECK (length(body_hash) = 32),
  status    INTEGER NOT NULL,
  location  TEXT    NOT NULL,
  body      BLOB    NOT NULL,
  at        INTEGER NOT NULL,
  PRIMARY KEY (principal, route, key)
) STRICT;
CREATE INDEX replies_at ON replies (at);

CREATE TABLE jobs (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  kind     TEXT    NOT NULL,
  key      TEXT,
  payload  TEXT    NOT NULL,
  run_at   INTEGER NOT NULL,
  due_at   INTEGER NOT NULL,
  attempts INTEGER NOT NULL CHECK (attempts >= 0),
  error    TEXT    NOT NULL
) STRICT;
CREATE INDEX jobs_due ON jobs (due_at, id);
CREATE INDEX jobs_key ON jobs (key, id) WHERE key IS NOT NULL;

CREATE TABLE leaves (
  idx       INTEGER PRIMARY KEY CHECK (idx >= 0),
  first_seq INTEGER NOT NULL UNIQUE CHECK (first_seq > idx),
  count     INTEGER NOT NULL CHECK (count > 0),
  hash      BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE TABLE entries (
  seq           INTEGER PRIMARY KEY CHECK (seq > 0),
  leaf          INTEGER NOT NULL REFERENCES leaves (idx),
  pos           INTEGER NOT NULL CHECK (pos >= 0),
  id            TEXT    NOT NULL UNIQUE CHECK (id <> ''),
  at            INTEGER NOT NULL,
  type          TEXT    NOT NULL,
  actor         TEXT    NOT NULL,
  on_behalf_of  TEXT,
  principal     TEXT,
  request       TEXT,
  grant_id      TEXT,
  resource      TEXT,
  reason_digest TEXT,
  hash          BLOB    NOT NULL CHECK (length(hash) = 32),
  bytes         BLOB    NOT NULL
) STRICT;
CREATE INDEX entries_type ON entries (type, seq);
CREATE INDEX entries_request ON entries (request, seq) WHERE request IS NOT NULL;
CREATE INDEX entries_resource ON entries (resource, seq) WHERE resource IS NOT NULL;

CREATE TABLE parties (
  principal TEXT    NOT NULL,
  seq       INTEGER NOT NULL REFERENCES entries (seq),
  PRIMARY KEY (principal, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE hashes (
  idx  INTEGER PRIMARY KEY CHECK (idx >= 0),
  hash BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE TABLE head (
  id         INTEGER PRIMARY KEY CHECK (id = 1),
  seq        INTEGER NOT NULL CHECK (seq >= leaves),
  leaves     INTEGER NOT NULL CHECK (leaves >= 0),
  checkpoint BLOB    NOT NULL
) STRICT;

CREATE TABLE mark (
  id   INTEGER PRIMARY KEY CHECK (id = 1),
  at   INTEGER NOT NULL,
  boot TEXT    NOT NULL,
  up   INTEGER NOT NULL
) STRICT;
