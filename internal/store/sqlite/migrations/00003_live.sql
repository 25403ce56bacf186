-- +goose Up

-- What the index in memory needs of a grant stands in columns of its own, so
-- that a start reads it out of one index and not out of every request's body.
ALTER TABLE requests ADD COLUMN incarnation TEXT NOT NULL DEFAULT '';
ALTER TABLE requests ADD COLUMN kind TEXT NOT NULL DEFAULT '';
ALTER TABLE requests ADD COLUMN scope TEXT NOT NULL DEFAULT '';
UPDATE requests SET incarnation = body ->> '$.content.incarnation', kind = body ->> '$.content.kind', scope = body -> '$.content.scope';
CREATE INDEX requests_live ON requests (grant_state, grant_id, id, requester, resource, incarnation, kind, scope, starts_at, expires_at) WHERE grant_state = 'active';

-- Credentials are forgotten some time after they have ended.
CREATE INDEX credentials_expires ON credentials (expires_at);
