package sqlstore

import (
	"fmt"
	"time"

	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/store/sqlstore/db"
)

// PutCredential keeps a credential's hash. Its grant must be stored already.
func (t *Tx) PutCredential(c Credential) error {
	failpoint.Hit("store.credential.before")
	_, err := t.write("keeping a credential", func() (int64, error) {
		return t.q.InsertCredential(t.ctx, db.InsertCredentialParams{
			Hash: c.Hash[:], ID: c.ID, GrantID: c.Grant, Request: c.Request, Kind: c.Kind, Host: c.Host,
			IssuedAt: millis(c.IssuedAt), ExpiresAt: millis(c.ExpiresAt),
		})
	})
	failpoint.Hit("store.credential.after")
	return err
}

// Credentials lists the credentials of a grant; of all grants that are not
// ended when grant is "".
func (t *Tx) Credentials(grant string) ([]Credential, error) {
	const act = "listing credentials"
	rows, err := read(t, act, func() ([]db.Credential, error) {
		if grant == "" {
			return t.q.LiveCredentials(t.ctx)
		}
		return t.q.CredentialsOf(t.ctx, grant)
	})
	if err != nil {
		return nil, err
	}
	out := make([]Credential, len(rows))
	for i, row := range rows {
		hash, err := hash32(row.Hash)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", act, err)
		}
		out[i] = Credential{
			Hash: hash, ID: row.ID, Grant: row.GrantID, Request: row.Request, Kind: row.Kind, Host: row.Host,
			IssuedAt: instant(row.IssuedAt), ExpiresAt: instant(row.ExpiresAt),
		}
	}
	return out, nil
}

// PutVerifier keeps the verifier of a credential of grant, which is stored
// already. It goes when the credential does.
func (t *Tx) PutVerifier(grant string, v Verifier) error {
	_, err := t.write("keeping a verifier", func() (int64, error) {
		return t.q.InsertVerifier(t.ctx, db.InsertVerifierParams{Hash: v.Hash[:], GrantID: grant, StoredKey: v.StoredKey[:], ServerKey: v.ServerKey[:]})
	})
	return err
}

// Verifiers lists the verifiers of a grant's credentials.
func (t *Tx) Verifiers(grant string) ([]Verifier, error) {
	const act = "listing verifiers"
	rows, err := read(t, act, func() ([]db.Verifier, error) { return t.q.VerifiersOf(t.ctx, grant) })
	if err != nil {
		return nil, err
	}
	out := make([]Verifier, len(rows))
	for i, row := range rows {
		for _, part := range []struct {
			from []byte
			to   *[32]byte
		}{{row.Hash, &out[i].Hash}, {row.StoredKey, &out[i].StoredKey}, {row.ServerKey, &out[i].ServerKey}} {
			if *part.to, err = hash32(part.from); err != nil {
				return nil, fmt.Errorf("%s: %w", act, err)
			}
		}
	}
	return out, nil
}

// CountCredentials counts the credentials of a grant.
func (t *Tx) CountCredentials(grant string) (int, error) {
	n, err := read(t, "counting credentials", func() (int64, error) { return t.q.CountCredentials(t.ctx, grant) })
	return int(n), err
}

// PruneCredentials forgets at most limit credentials that were to end before
// an instant, of grants that have ended, and returns how many.
func (t *Tx) PruneCredentials(before time.Time, limit int) (int, error) {
	n, err := t.write("forgetting old credentials", func() (int64, error) {
		return t.q.PruneCredentials(t.ctx, millis(before), int64(limit))
	})
	return int(n), err
}

// DeleteCredential forgets one credential; ErrNotFound when there is none.
func (t *Tx) DeleteCredential(hash [32]byte) error {
	const act = "forgetting a credential"
	n, err := t.write(act, func() (int64, error) { return t.q.DeleteCredential(t.ctx, hash[:]) })
	return one(act, n, err, ErrNotFound)
}

// DeleteCredentials forgets the credentials of a grant that has ended.
func (t *Tx) DeleteCredentials(grant string) error {
	_, err := t.write("forgetting credentials", func() (int64, error) { return t.q.DeleteCredentials(t.ctx, grant) })
	return err
}

// PutToken keeps an API token's hash.
func (t *Tx) PutToken(token Token) error {
	_, err := t.write("keeping a token", func() (int64, error) {
		return t.q.InsertToken(t.ctx, db.InsertTokenParams{
			ID: token.ID, Hash: token.Hash[:], Principal: token.Principal, Name: token.Name, CreatedBy: token.CreatedBy,
			CreatedAt: millis(token.CreatedAt), ExpiresAt: millis(token.ExpiresAt), Workload: token.Workload,
		})
	})
	failpoint.Hit("store.token.after")
	return err
}

// Token loads an API token by its ID.
func (t *Tx) Token(id string) (*Token, error) {
	const act = "loading a token"
	row, err := read(t, act, func() (db.Token, error) { return t.q.Token(t.ctx, id) })
	if err != nil {
		return nil, err
	}
	token, err := tokenOf(row)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", act, err)
	}
	return &token, nil
}

// Tokens lists API tokens, of one principal or (with "") all, newest first.
func (t *Tx) Tokens(principal string) ([]Token, error) {
	const act = "listing tokens"
	rows, err := read(t, act, func() ([]db.Token, error) {
		if principal == "" {
			return t.q.Tokens(t.ctx)
		}
		return t.q.TokensOf(t.ctx, principal)
	})
	if err != nil {
		return nil, err
	}
	out := make([]Token, len(rows))
	for i, row := range rows {
		if out[i], err = tokenOf(row); err != nil {
			return nil, fmt.Errorf("%s: %w", act, err)
		}
	}
	return out, nil
}

func tokenOf(row db.Token) (Token, error) {
	hash, err := hash32(row.Hash)
	return Token{
		ID: row.ID, Hash: hash, Principal: row.Principal, Name: row.Name, CreatedBy: row.CreatedBy,
		CreatedAt: instant(row.CreatedAt), ExpiresAt: instant(row.ExpiresAt), Workload: row.Workload,
	}, err
}

// DeleteToken forgets an API token; ErrNotFound when there is none.
func (t *Tx) DeleteToken(id string) error {
	const act = "forgetting a token"
	n, err := t.write(act, func() (int64, error) { return t.q.DeleteToken(t.ctx, id) })
	failpoint.Hit("store.token.dropped")
	return one(act, n, err, ErrNotFound)
}

// PruneTokens forgets the tokens of jobs that ended before an instant.
func (t *Tx) PruneTokens(before time.Time) error {
	_, err := t.write("forgetting the tokens of jobs", func() (int64, error) { return t.q.PruneTokens(t.ctx, millis(before)) })
	return err
}

// PutAssertion keeps that a token of somebody else was used, until it would be
// refused as expired. It reports whether it was the first time.
func (t *Tx) PutAssertion(digest [32]byte, ends time.Time) (first bool, err error) {
	n, err := t.write("keeping that a token was used", func() (int64, error) { return t.q.InsertAssertion(t.ctx, digest[:], millis(ends)) })
	return n == 1, err
}

// PruneAssertions forgets the tokens of others that ended before an instant.
func (t *Tx) PruneAssertions(before time.Time) error {
	_, err := t.write("forgetting used tokens", func() (int64, error) { return t.q.PruneAssertions(t.ctx, millis(before)) })
	return err
}

// Reply returns the kept answer of an idempotent call; ErrNotFound.
func (t *Tx) Reply(principal, route, key string) (*Reply, error) {
	const act = "reading a kept answer"
	row, err := read(t, act, func() (db.ReplyRow, error) { return t.q.Reply(t.ctx, principal, route, key) })
	if err != nil {
		return nil, err
	}
	hash, err := hash32(row.BodyHash)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", act, err)
	}
	return &Reply{BodyHash: hash, Status: int(row.Status), Location: row.Location, Body: row.Body, At: instant(row.At)}, nil
}

// PutReply keeps one, in place of an earlier one.
func (t *Tx) PutReply(principal, route, key string, r Reply) error {
	_, err := t.write("keeping an answer", func() (int64, error) {
		return t.q.PutReply(t.ctx, db.PutReplyParams{
			Principal: principal, Route: route, Key: key, BodyHash: r.BodyHash[:],
			Status: int64(r.Status), Location: r.Location, Body: blob(r.Body), At: millis(r.At),
		})
	})
	failpoint.Hit("store.reply.after")
	return err
}

// DeleteReplies forgets the answers kept before an instant.
func (t *Tx) DeleteReplies(before time.Time) error {
	_, err := t.write("forgetting answers", func() (int64, error) { return t.q.DeleteReplies(t.ctx, millis(before)) })
	return err
}
