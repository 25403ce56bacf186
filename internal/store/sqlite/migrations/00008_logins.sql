-- +goose Up

-- Who has logged in, until when: a browser by its cookie, a command line by its
-- token. Only the hash of either is here.
CREATE TABLE logins (
  id         TEXT    PRIMARY KEY,
  hash       BLOB    NOT NULL UNIQUE,
  kind       TEXT    NOT NULL,
  principal  TEXT    NOT NULL,
  issuer     TEXT    NOT NULL,
  subject    TEXT    NOT NULL,
  label      TEXT    NOT NULL,
  ip         TEXT    NOT NULL,
  created_at INTEGER NOT NULL,
  seen_at    INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What an identity provider said of somebody at the last login. The principal
-- never changes: a name that was given once is not given to another subject.
CREATE TABLE identities (
  issuer       TEXT    NOT NULL,
  subject      TEXT    NOT NULL,
  principal    TEXT    NOT NULL,
  member_of    TEXT    NOT NULL,
  admin        INTEGER NOT NULL,
  logged_in_at INTEGER NOT NULL,
  known_until  INTEGER NOT NULL,
  PRIMARY KEY (issuer, subject)
) STRICT, WITHOUT ROWID;
