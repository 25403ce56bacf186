-- The queries of the store, for every dialect. Words that only one dialect
-- knows are refused by sqlc.lint.yaml. Lists with optional filters are in
-- list.go.

-- name: Request :one
SELECT version, body FROM requests WHERE id = @id;

-- name: RequestOfGrant :one
SELECT version, body FROM requests WHERE grant_id = @grant_id;

-- name: InsertRequest :execrows
INSERT INTO requests (id, version, state, requester, resource, extends, created_at, deadline, grant_id, grant_state, starts_at, expires_at, body, review_due, incarnation, kind, scope)
VALUES (@id, @version, @state, @requester, @resource, @extends, @created_at, @deadline, @grant_id, @grant_state, @starts_at, @expires_at, @body, @review_due, @incarnation, @kind, @scope)
ON CONFLICT (id) DO NOTHING;

-- name: UpdateRequest :execrows
UPDATE requests
SET version = @next, state = @state, requester = @requester, resource = @resource, extends = @extends, created_at = @created_at,
  deadline = @deadline, grant_id = @grant_id, grant_state = @grant_state, starts_at = @starts_at, expires_at = @expires_at, body = @body, review_due = @review_due,
  incarnation = @incarnation, kind = @kind, scope = @scope
WHERE id = @id AND version = @version;

-- Only what moves in the life of a grant: a column that is set costs its
-- indexes, changed or not.
-- name: UpdateGrant :execrows
UPDATE requests
SET version = @next, deadline = @deadline, grant_state = @grant_state, expires_at = @expires_at, body = @body, review_due = @review_due
WHERE id = @id AND version = @version AND state = @state AND grant_id = @grant_id AND starts_at = @starts_at
  AND requester = @requester AND resource = @resource AND created_at = @created_at;

-- name: PendingExtensions :many
SELECT version, body FROM requests WHERE extends = @extends AND state = 'pending' ORDER BY created_at DESC, id DESC;

-- name: AnyExtensionPending :many
SELECT extends FROM requests WHERE state = 'pending' AND extends IS NOT NULL LIMIT 1;

-- name: NextDeadline :one
SELECT deadline FROM requests WHERE deadline IS NOT NULL ORDER BY deadline LIMIT 1;

-- name: CountPending :one
SELECT COUNT(*) FROM requests WHERE state = 'pending' AND requester = @requester;

-- name: CountPendingOn :one
SELECT COUNT(*) FROM requests WHERE state = 'pending' AND requester = @requester AND resource = @resource;

-- name: InsertInput :execrows
INSERT INTO inputs (request, body) VALUES (@request, @body) ON CONFLICT (request) DO NOTHING;

-- name: Input :one
SELECT body FROM inputs WHERE request = @request;

-- name: InsertText :execrows
INSERT INTO texts (digest, salt, body, subject) VALUES (@digest, @salt, @body, @subject) ON CONFLICT (digest) DO NOTHING;

-- name: Text :one
SELECT salt, body FROM texts WHERE digest = @digest;

-- name: DeleteText :execrows
DELETE FROM texts WHERE digest = @digest;

-- name: TextsOf :many
SELECT digest FROM texts WHERE subject = @subject;

-- name: ReasonsOf :many
SELECT reason_digest FROM entries WHERE request = @request AND reason_digest IS NOT NULL AND type <> 'text.erased';

-- name: AllReplies :many
SELECT principal, route, key, body FROM replies;

-- name: BlankReply :execrows
UPDATE replies SET status = @status, location = '', body = @body WHERE principal = @principal AND route = @route AND key = @key;

-- name: ForgetJobErrors :execrows
UPDATE jobs SET error = '' WHERE error <> '';

-- name: DeleteTextsOf :execrows
DELETE FROM texts WHERE subject = @subject;

-- name: InsertCredential :execrows
INSERT INTO credentials (hash, id, grant_id, request, kind, host, issued_at, expires_at)
VALUES (@hash, @id, @grant_id, @request, @kind, @host, @issued_at, @expires_at);

-- name: InsertVerifier :execrows
INSERT INTO verifiers (hash, grant_id, stored_key, server_key) VALUES (@hash, @grant_id, @stored_key, @server_key);

-- name: VerifiersOf :many
SELECT * FROM verifiers WHERE grant_id = @grant_id ORDER BY hash;

-- name: CredentialsOf :many
SELECT * FROM credentials WHERE grant_id = @grant_id ORDER BY issued_at, id;

-- name: CountCredentials :one
SELECT COUNT(*) FROM credentials WHERE grant_id = @grant_id;

-- name: LiveCredentials :many
SELECT c.hash, c.id, c.grant_id, c.request, c.kind, c.host, c.issued_at, c.expires_at
FROM credentials AS c JOIN requests AS r ON r.grant_id = c.grant_id
WHERE r.grant_state <> 'ended' ORDER BY c.issued_at, c.id;

-- Of grants that ended before an instant: the index has forgotten them.
-- name: PruneCredentials :execrows
DELETE FROM credentials WHERE hash IN (
  SELECT c.hash FROM credentials AS c JOIN requests AS r ON r.grant_id = c.grant_id
  WHERE c.expires_at < CAST(@before AS BIGINT) AND r.grant_state = 'ended' AND r.expires_at < CAST(@before AS BIGINT)
  ORDER BY c.expires_at LIMIT CAST(@lim AS BIGINT)
);

-- name: DeleteCredentials :execrows
DELETE FROM credentials WHERE grant_id = @grant_id;

-- name: DeleteCredential :execrows
DELETE FROM credentials WHERE hash = @hash;

-- name: InsertToken :execrows
INSERT INTO tokens (id, hash, principal, name, created_by, created_at, expires_at, workload)
VALUES (@id, @hash, @principal, @name, @created_by, @created_at, @expires_at, @workload);

-- name: Token :one
SELECT * FROM tokens WHERE id = @id;

-- name: Tokens :many
SELECT * FROM tokens ORDER BY created_at DESC, id DESC;

-- name: TokensOf :many
SELECT * FROM tokens WHERE principal = @principal ORDER BY created_at DESC, id DESC;

-- name: DeleteToken :execrows
DELETE FROM tokens WHERE id = @id;

-- name: PruneTokens :execrows
DELETE FROM tokens WHERE workload <> '' AND expires_at < @before;

-- name: InsertAssertion :execrows
INSERT INTO assertions (digest, ends) VALUES (@digest, @ends) ON CONFLICT DO NOTHING;

-- name: PruneAssertions :execrows
DELETE FROM assertions WHERE ends < @before;

-- name: InsertLogin :execrows
INSERT INTO logins (id, hash, kind, principal, issuer, subject, label, ip, created_at, seen_at, expires_at)
VALUES (@id, @hash, @kind, @principal, @issuer, @subject, @label, @ip, @created_at, @seen_at, @expires_at);

-- name: Logins :many
SELECT * FROM logins ORDER BY created_at DESC, id DESC;

-- name: SeenLogin :execrows
UPDATE logins SET seen_at = @seen_at WHERE id = @id;

-- name: DeleteLogin :execrows
DELETE FROM logins WHERE id = @id;

-- name: PutIdentity :execrows
INSERT INTO identities (issuer, subject, principal, member_of, admin, logged_in_at, known_until)
VALUES (@issuer, @subject, @principal, @member_of, @admin, @logged_in_at, @known_until)
ON CONFLICT (issuer, subject) DO UPDATE SET
  principal = excluded.principal, member_of = excluded.member_of, admin = excluded.admin, logged_in_at = excluded.logged_in_at, known_until = excluded.known_until;

-- name: Identities :many
SELECT * FROM identities ORDER BY issuer, subject;

-- name: LastCatalog :one
SELECT * FROM catalogs ORDER BY n DESC LIMIT 1;

-- name: CatalogVersion :one
SELECT * FROM catalogs WHERE version = @version ORDER BY n DESC LIMIT 1;

-- Incarnations are random names, so that one is found as a part of the text.
-- name: LastCatalogWith :one
SELECT * FROM catalogs WHERE incarnations LIKE CAST(@pattern AS TEXT) ORDER BY n DESC LIMIT 1;

-- name: LastCatalogNumber :one
SELECT n FROM catalogs ORDER BY n DESC LIMIT 1;

-- name: InsertCatalog :execrows
INSERT INTO catalogs (n, version, canonical, source, incarnations, applied_at, applied_by)
VALUES (@n, @version, @canonical, @source, @incarnations, @applied_at, @applied_by);

-- name: Setting :one
SELECT value FROM settings WHERE name = @name;

-- name: PutSetting :execrows
INSERT INTO settings (name, value) VALUES (@name, @value)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: Reply :one
SELECT body_hash, status, location, body, at FROM replies WHERE principal = @principal AND route = @route AND key = @key;

-- name: PutReply :execrows
INSERT INTO replies (principal, route, key, body_hash, status, location, body, at)
VALUES (@principal, @route, @key, @body_hash, @status, @location, @body, @at)
ON CONFLICT (principal, route, key) DO UPDATE
SET body_hash = excluded.body_hash, status = excluded.status, location = excluded.location, body = excluded.body, at = excluded.at;

-- name: DeleteReplies :execrows
DELETE FROM replies WHERE at < @before;

-- name: InsertJob :execrows
INSERT INTO jobs (kind, key, payload, run_at, due_at, attempts, error)
VALUES (@kind, @key, @payload, @run_at, @due_at, @attempts, @error);

-- name: ClaimJobs :many
UPDATE jobs SET due_at = @lease, attempts = attempts + 1
WHERE id IN (
  SELECT j.id FROM jobs AS j
  WHERE j.due_at <= CAST(@now AS BIGINT)
    AND (j.key IS NULL OR NOT EXISTS (SELECT 1 FROM jobs AS e WHERE e.key = j.key AND e.id < j.id))
  ORDER BY j.due_at, j.id
  LIMIT CAST(@lim AS BIGINT)
)
RETURNING id, kind, key, payload, run_at, due_at, attempts, error;

-- name: DeleteJob :execrows
DELETE FROM jobs WHERE id = @id;

-- name: KeepJobs :execrows
DELETE FROM jobs WHERE kind <> @kind;

-- name: RetryJob :execrows
UPDATE jobs SET run_at = @run_at, due_at = @due_at, error = @error WHERE id = @id;

-- name: NextJob :one
SELECT j.due_at FROM jobs AS j
WHERE j.key IS NULL OR NOT EXISTS (SELECT 1 FROM jobs AS e WHERE e.key = j.key AND e.id < j.id)
ORDER BY j.due_at LIMIT 1;

-- name: ReleaseJobs :execrows
UPDATE jobs SET due_at = run_at WHERE due_at <> run_at;

-- name: InsertLeaf :execrows
INSERT INTO leaves (idx, first_seq, count, hash) VALUES (@idx, @first_seq, @count, @hash);

-- name: InsertEntry :execrows
INSERT INTO entries (seq, leaf, pos, id, at, type, actor, on_behalf_of, principal, request, grant_id, resource, reason_digest, hash, bytes)
VALUES (@seq, @leaf, @pos, @id, @at, @type, @actor, @on_behalf_of, @principal, @request, @grant_id, @resource, @reason_digest, @hash, @bytes);

-- name: InsertParty :execrows
INSERT INTO parties (principal, seq) VALUES (@principal, @seq);

-- name: InsertPack :execrows
INSERT INTO packs (first_seq, leaf, count, since, until, body) VALUES (@first_seq, @leaf, @count, @since, @until, @body);

-- name: InsertTerm :execrows
INSERT INTO terms (term, first_seq) VALUES (@term, @first_seq);

-- name: InsertHash :execrows
INSERT INTO hashes (idx, hash) VALUES (@idx, @hash);

-- name: Hash :one
SELECT hash FROM hashes WHERE idx = @idx;

-- name: PutHead :execrows
INSERT INTO head (id, seq, leaves, checkpoint) VALUES (1, @seq, @leaves, @checkpoint)
ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, leaves = excluded.leaves, checkpoint = excluded.checkpoint;

-- name: Head :one
SELECT seq, leaves, checkpoint FROM head WHERE id = 1;

-- name: LastEntry :one
SELECT seq FROM entries ORDER BY seq DESC LIMIT 1;

-- name: LastLeaf :one
SELECT idx FROM leaves ORDER BY idx DESC LIMIT 1;

-- name: LastPack :one
SELECT first_seq, count FROM packs ORDER BY first_seq DESC LIMIT 1;

-- name: AuditRows :many
SELECT e.seq, l.idx, l.first_seq, l.count, e.hash, e.bytes
FROM entries AS e JOIN leaves AS l ON l.idx = e.leaf
WHERE e.seq >= CAST(@first_seq AS BIGINT) AND e.seq < CAST(@end_seq AS BIGINT) ORDER BY e.seq LIMIT CAST(@lim AS BIGINT);

-- name: EventLeaf :one
SELECT e.seq, l.idx, l.first_seq, l.count FROM entries AS e JOIN leaves AS l ON l.idx = e.leaf WHERE e.id = @id;

-- name: LeafEntries :many
SELECT bytes FROM entries WHERE seq >= @first_seq AND seq < @end_seq ORDER BY seq;

-- name: PutMark :execrows
INSERT INTO mark (id, at, boot, up) VALUES (1, @at, @boot, @up)
ON CONFLICT (id) DO UPDATE SET at = excluded.at, boot = excluded.boot, up = excluded.up WHERE excluded.at >= mark.at;

-- name: Mark :one
SELECT at, boot, up FROM mark WHERE id = 1;
