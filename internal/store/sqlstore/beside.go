package sqlstore

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/daypass/daypass/internal/audit"
)

// VerifyBeside checks what lies beside the log's entries and is not covered by
// its tree: the columns that queries select by, the parties, and the texts that
// digests stand for. What is wrong with an entry is an *audit.Fault.
func (t *Tx) VerifyBeside() error {
	for _, step := range []func() error{t.verifyColumns, t.verifyPacks, t.verifyRequests, t.verifyLeaves, t.verifyParties, t.verifyTexts, t.verifyCatalogs} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// beside is an entry's row without what its bytes do not say.
type beside struct {
	seq                                             int64
	at                                              int64
	id, kind, actor                                 string
	onBehalfOf, request, grant, resource, reasonSum sql.NullString
	bytes                                           []byte
}

func (t *Tx) verifyColumns() error {
	for from := int64(0); ; {
		q := newQuery("SELECT seq, id, at, type, actor, on_behalf_of, request, grant_id, resource, reason_digest, bytes FROM entries")
		q.where("seq > ?", from)
		q.tail("ORDER BY seq", auditChunk)
		rows, err := list(t, "reading the columns of the audit log", q, func(rows *sql.Rows) (b beside, err error) {
			return b, rows.Scan(&b.seq, &b.id, &b.at, &b.kind, &b.actor, &b.onBehalfOf, &b.request, &b.grant, &b.resource, &b.reasonSum, &b.bytes)
		})
		if err != nil {
			return err
		}
		for i := range rows {
			if err := rows[i].verify(); err != nil {
				return err
			}
			from = rows[i].seq
		}
		if len(rows) < auditChunk {
			return nil
		}
	}
}

func (b *beside) verify() error {
	e, err := audit.DecodeEntry(b.bytes)
	if err != nil {
		return &audit.Fault{Seq: b.seq, What: err.Error()}
	}
	return sayTheSame(b.seq, e, []column{
		{"id", "id", b.id, e.ID}, {"type", "type", b.kind, e.Type}, {"actor", "actor", b.actor, e.Actor},
		{"on_behalf_of", "on_behalf_of", b.onBehalfOf.String, e.OnBehalfOf}, {"request", "request", b.request.String, e.Request},
		{"grant_id", "grant", b.grant.String, e.Grant}, {"resource", "resource", b.resource.String, e.Resource},
		{"reason_digest", "reason", b.reasonSum.String, e.Reason.Digest},
		{"at", "time", instant(b.at).Format(time.RFC3339Nano), e.Time.UTC().Format(time.RFC3339Nano)},
	})
}

// column is what a column beside an entry says, and what the entry says in that
// field.
type column struct{ name, field, column, says string }

func sayTheSame(seq int64, e *audit.Entry, columns []column) error {
	for _, c := range columns {
		if _, cut := e.Cuts[c.field]; !cut && c.column != c.says {
			return &audit.Fault{Seq: seq, What: fmt.Sprintf("its column %s says %q, the entry itself %q", c.name, c.column, c.says)}
		}
	}
	return nil
}

// verifyRequests compares the columns that requests are found by with their
// bodies, which the record is compared with elsewhere.
func (t *Tx) verifyRequests() error {
	for from := ""; ; {
		q := newQuery("SELECT id, version, state, requester, resource, created_at, deadline, grant_id, grant_state, starts_at, expires_at, body FROM requests")
		q.where("id > ?", from)
		q.tail("ORDER BY id", auditChunk)
		ids, err := list(t, "reading the columns of the requests", q, func(rows *sql.Rows) (id string, err error) {
			var version, created int64
			var state, requester, resource, body string
			var grant, grantState *string
			var deadline, starts, expires *int64
			if err := rows.Scan(&id, &version, &state, &requester, &resource, &created, &deadline, &grant, &grantState, &starts, &expires, &body); err != nil {
				return "", err
			}
			r, err := decodeRequest("decoding request "+id, version, body)
			if err != nil {
				return "", err
			}
			same := id == r.ID && state == string(r.State) && requester == r.Content.Requester && resource == r.Content.Resource && created == millis(r.CreatedAt)
			if at := r.Deadline(); at.IsZero() {
				same = same && deadline == nil
			} else {
				same = same && deadline != nil && *deadline == millis(at)
			}
			if g := r.Grant; g == nil {
				same = same && grant == nil
			} else {
				same = same && grant != nil && grantState != nil && starts != nil && expires != nil &&
					*grant == g.ID && *grantState == string(g.State) && *starts == millis(g.StartsAt) && *expires == millis(g.ExpiresAt)
			}
			if !same {
				return "", fmt.Errorf("the columns of request %s are not as its body says", id)
			}
			return id, nil
		})
		if err != nil {
			return err
		}
		if len(ids) < auditChunk {
			return nil
		}
		from = ids[len(ids)-1]
	}
}

// verifyLeaves compares each leaf with its hash in the tree.
func (t *Tx) verifyLeaves() error {
	for from := int64(-1); ; {
		q := newQuery("SELECT idx, first_seq, hash FROM leaves")
		q.where("idx > ?", from)
		q.tail("ORDER BY idx", auditChunk)
		type leaf struct {
			idx, first int64
			hash       []byte
		}
		rows, err := list(t, "reading the leaves of the audit log", q, func(rows *sql.Rows) (l leaf, err error) {
			return l, rows.Scan(&l.idx, &l.first, &l.hash)
		})
		if err != nil {
			return err
		}
		for _, l := range rows {
			in, err := t.Hashes().ReadHashes([]int64{tlog.StoredHashIndex(0, l.idx)})
			if err != nil {
				return err
			}
			if !bytes.Equal(in[0][:], l.hash) {
				return &audit.Fault{Seq: l.first, What: "its leaf has another hash than the tree"}
			}
			from = l.idx
		}
		if len(rows) < auditChunk {
			return nil
		}
	}
}

// verifyCatalogs compares each version of the catalog with its name.
func (t *Tx) verifyCatalogs() error {
	_, err := list(t, "reading the catalogs", newQuery("SELECT version, canonical FROM catalogs"), func(rows *sql.Rows) (none struct{}, err error) {
		var version string
		var canonical []byte
		if err := rows.Scan(&version, &canonical); err != nil {
			return none, err
		}
		if sum := sha256.Sum256(canonical); version != "sha256:"+hex.EncodeToString(sum[:]) {
			return none, fmt.Errorf("the catalog %s is another one", version)
		}
		return none, nil
	})
	return err
}

// verifyParties looks for parties that their entry does not have, and entries
// without theirs.
func (t *Tx) verifyParties() error {
	q := newQuery(`SELECT p.seq FROM parties AS p LEFT JOIN entries AS e ON e.seq = p.seq
WHERE e.seq IS NULL OR p.principal NOT IN (e.actor, COALESCE(e.on_behalf_of, ''), COALESCE(e.principal, ''))
UNION ALL
SELECT e.seq FROM entries AS e WHERE NOT EXISTS (SELECT 1 FROM parties AS p WHERE p.principal = e.actor AND p.seq = e.seq)
OR e.on_behalf_of IS NOT NULL AND NOT EXISTS (SELECT 1 FROM parties AS p WHERE p.principal = e.on_behalf_of AND p.seq = e.seq)
OR e.principal IS NOT NULL AND NOT EXISTS (SELECT 1 FROM parties AS p WHERE p.principal = e.principal AND p.seq = e.seq)`)
	q.tail("", 1)
	seqs, err := list(t, "reading the parties of the audit log", q, func(rows *sql.Rows) (seq int64, err error) { return seq, rows.Scan(&seq) })
	if err == nil && len(seqs) > 0 {
		err = &audit.Fault{Seq: seqs[0], What: "the list of whom it is about is not as the entry says"}
	}
	return err
}

func (t *Tx) verifyTexts() error {
	for from := ""; ; {
		q := newQuery("SELECT digest, salt, body FROM texts")
		q.where("digest > ?", from)
		q.tail("ORDER BY digest", auditChunk)
		rows, err := list(t, "reading the texts", q, func(rows *sql.Rows) (digest string, err error) {
			var salt []byte
			var body string
			if err := rows.Scan(&digest, &salt, &body); err != nil {
				return "", err
			}
			if len(salt) != 16 || audit.NewText([16]byte(salt), body).Digest != digest {
				return "", fmt.Errorf("the text that %s stands for is another one", cmp.Or(digest, "nothing"))
			}
			return digest, nil
		})
		if err != nil {
			return err
		}
		if len(rows) < auditChunk {
			return nil
		}
		from = rows[len(rows)-1]
	}
}
