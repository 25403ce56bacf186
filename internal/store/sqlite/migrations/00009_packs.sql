-- +goose Up

-- Entries of high rate lie together, a batch a row: one by one each costs a row,
-- its indexes and its parties. since and until are of the times that lead the
-- IDs of its entries.
CREATE TABLE packs (
  first_seq INTEGER PRIMARY KEY CHECK (first_seq > 0),
  leaf      INTEGER NOT NULL REFERENCES leaves (idx),
  count     INTEGER NOT NULL CHECK (count > 0 AND count <= 1024),
  since     INTEGER NOT NULL,
  until     INTEGER NOT NULL CHECK (until >= since),
  body      BLOB    NOT NULL
) STRICT;
CREATE INDEX packs_until ON packs (until, since);

-- What the entries of a pack are found by, once for all of them.
CREATE TABLE terms (
  term      TEXT    NOT NULL,
  first_seq INTEGER NOT NULL REFERENCES packs (first_seq),
  PRIMARY KEY (term, first_seq)
) STRICT, WITHOUT ROWID;
