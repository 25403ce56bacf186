package sqlstore

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/store/sqlstore/db"
)

// Append writes audit entries, each a leaf of its own, and gives them their
// sequence numbers.
func (t *Tx) Append(records ...Record) error {
	for i := range records {
		if err := t.AppendBatch(records[i : i+1]); err != nil {
			return err
		}
	}
	return nil
}

// AppendBatch writes audit entries as one leaf.
func (t *Tx) AppendBatch(records []Record) error {
	return t.appendLeaf(records, func(act string, a *audit.Addition) error {
		for i, r := range records {
			if err := t.appendEntry(act, a, i, r); err != nil {
				return err
			}
		}
		return nil
	})
}

// appendLeaf writes a leaf of audit entries, which keep keeps.
func (t *Tx) appendLeaf(records []Record, keep func(act string, a *audit.Addition) error) error {
	const act = "writing to the audit log"
	if len(records) == 0 {
		return nil
	}
	if t.log == nil {
		return fmt.Errorf("%s: %w", act, ErrReadOnly)
	}
	entries := make([]*audit.Entry, len(records))
	for i := range records {
		entries[i] = records[i].Entry
	}
	if err := failpoint.Fail("audit.append.before"); err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	a, err := audit.Append(t.log.head, t.log, entries)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	if _, err := t.write(act, func() (int64, error) {
		return t.q.InsertLeaf(t.ctx, db.InsertLeafParams{
			Idx: a.Leaf.Index, FirstSeq: a.Leaf.First, Count: int64(a.Leaf.Count), Hash: a.Hashes[0].Hash[:],
		})
	}); err != nil {
		return err
	}
	failpoint.Hit("audit.leaf.after")
	if err := keep(act, a); err != nil {
		return err
	}
	for _, h := range a.Hashes {
		if _, err := t.write(act, func() (int64, error) { return t.q.InsertHash(t.ctx, h.Index, h.Hash[:]) }); err != nil {
			return err
		}
	}
	t.log.grow(a.Head, a.Hashes)
	failpoint.Hit("audit.append.after")
	return nil
}

func (t *Tx) appendEntry(act string, a *audit.Addition, i int, r Record) error {
	e, principal := r.Entry, r.principal()
	if _, err := t.write(act, func() (int64, error) {
		return t.q.InsertEntry(t.ctx, db.InsertEntryParams{
			Seq: e.Seq, Leaf: a.Leaf.Index, Pos: int64(i), ID: e.ID, At: millis(e.Time), Type: e.Type, Actor: e.Actor,
			OnBehalfOf: optional(e.OnBehalfOf), Principal: optional(principal), Request: optional(e.Request), GrantID: optional(e.Grant),
			Resource: optional(e.Resource), ReasonDigest: optional(e.Reason.Digest), Hash: a.EntryHashes[i][:], Bytes: a.Entries[i],
		})
	}); err != nil {
		return err
	}
	parties := []string{e.Actor, e.OnBehalfOf, principal}
	slices.Sort(parties)
	for _, p := range slices.Compact(parties) {
		if p == "" {
			continue
		}
		if _, err := t.write(act, func() (int64, error) { return t.q.InsertParty(t.ctx, p, e.Seq) }); err != nil {
			return err
		}
	}
	failpoint.Hit("audit.entry.after")
	return nil
}

func (r *Record) principal() string { return cmp.Or(r.Principal, r.Entry.Principal) }

// Head returns the log's head and its signed checkpoint. Inside an Update both
// are those of the last commit.
func (t *Tx) Head() (audit.Head, []byte, error) {
	row, err := orNone(read(t, "reading the audit head", func() (db.HeadRow, error) { return t.q.Head(t.ctx) }))
	return audit.Head{Seq: row.Seq, Leaves: row.Leaves}, row.Checkpoint, err
}

// Hashes reads the tree's stored hashes.
func (t *Tx) Hashes() tlog.HashReader { return hashReader{t.ctx, t.q} }

// Proof proves that an entry is in the log that the stored checkpoint signs:
// the entry in its batch, the leaf in the tree. ErrNotFound when there is no
// such entry, or when it is not committed yet.
func (t *Tx) Proof(id string) (api.Proof, error) {
	act := "proving audit entry " + id
	seq, leaf, entries, err := t.leafOf(act, id)
	if err != nil {
		return api.Proof{}, err
	}
	head, note, err := t.Head()
	if err != nil {
		return api.Proof{}, err
	}
	if leaf.Index >= head.Leaves {
		return api.Proof{}, fmt.Errorf("%s: %w: it is not committed yet", act, ErrNotFound)
	}
	root, err := audit.Root(head, t.Hashes())
	if err != nil {
		return api.Proof{}, fmt.Errorf("%s: %w", act, err)
	}
	p, err := audit.Prove(&audit.Checkpoint{Head: head, Root: root, Note: note}, leaf, entries, seq, t.Hashes())
	if err != nil {
		return api.Proof{}, fmt.Errorf("%s: %w", act, err)
	}
	return *p, nil
}

// leafOf is where an entry is: its seq, and its leaf with the bytes of all of
// the leaf's entries.
func (t *Tx) leafOf(act, id string) (seq int64, leaf audit.Leaf, entries [][]byte, err error) {
	at, err := read(t, act, func() (db.EventLeafRow, error) { return t.q.EventLeaf(t.ctx, id) })
	if errors.Is(err, ErrNotFound) {
		p, i, err := t.packOf(act, id)
		if err != nil {
			return 0, leaf, nil, err
		}
		for _, e := range p.entries {
			entries = append(entries, e.Bytes)
		}
		return p.first + int64(i), p.leaf, entries, nil
	}
	if err != nil {
		return 0, leaf, nil, err
	}
	entries, err = read(t, act, func() ([][]byte, error) { return t.q.LeafEntries(t.ctx, at.FirstSeq, at.FirstSeq+at.Count) })
	return at.Seq, audit.Leaf{Index: at.Idx, First: at.FirstSeq, Count: int(at.Count)}, entries, err
}

// auditChunk is how many entries AuditRows reads at once.
const auditChunk = 1000

// AuditRows calls fn with every stored entry from a sequence number on, in
// order: its leaf, the hash stored beside it, its bytes. Beside an entry of a
// pack no hash is stored, and leafHash is zero.
func (t *Tx) AuditRows(from int64, fn func(seq int64, leaf audit.Leaf, leafHash [32]byte, bytes []byte) error) error {
	const act = "reading the audit log"
	for {
		packs, err := t.packs(act, packQuery{after: from - 1, ascending: true, limit: 1})
		if err != nil {
			return err
		}
		end := int64(math.MaxInt64)
		if len(packs) > 0 {
			end = packs[0].first
		}
		if err := t.auditRows(act, from, end, fn); err != nil || len(packs) == 0 {
			return err
		}
		for i, e := range packs[0].entries {
			seq := packs[0].first + int64(i)
			if seq < from {
				continue
			}
			if err := fn(seq, packs[0].leaf, [32]byte{}, e.Bytes); err != nil {
				return err
			}
		}
		from = max(from, packs[0].first+int64(len(packs[0].entries)))
	}
}

// auditRows is AuditRows for the entries from one sequence number on to before
// another that are rows of their own.
func (t *Tx) auditRows(act string, from, end int64, fn func(seq int64, leaf audit.Leaf, leafHash [32]byte, bytes []byte) error) error {
	for {
		rows, err := read(t, act, func() ([]db.AuditRowsRow, error) {
			return t.q.AuditRows(t.ctx, from, end, auditChunk)
		})
		if err != nil {
			return err
		}
		for _, row := range rows {
			hash, err := hash32(row.Hash)
			if err != nil {
				return fmt.Errorf("%s: entry %d: %w", act, row.Seq, err)
			}
			if err := fn(row.Seq, audit.Leaf{Index: row.Idx, First: row.FirstSeq, Count: int(row.Count)}, hash, row.Bytes); err != nil {
				return err
			}
			from = row.Seq + 1
		}
		if len(rows) < auditChunk {
			return nil
		}
	}
}

// VerifyAudit checks the whole log as it is in this snapshot: every entry, the
// stored hashes, and the stored checkpoint besides those of opts. What is
// wrong with an entry is an *audit.Fault.
func (t *Tx) VerifyAudit(opts audit.VerifierOptions) (audit.Report, error) {
	if opts.Hashes == nil {
		opts.Hashes = t.Hashes()
	}
	v, err := audit.NewVerifier(opts)
	if err != nil {
		return audit.Report{}, err
	}
	err = t.AuditRows(1, func(seq int64, leaf audit.Leaf, leafHash [32]byte, bytes []byte) error {
		return v.Add(audit.Row{Seq: seq, Leaf: leaf, Bytes: bytes, LeafHash: leafHash})
	})
	if err != nil {
		return audit.Report{}, err
	}
	head, checkpoint, err := t.Head()
	if err != nil {
		return audit.Report{}, err
	}
	var last [][]byte
	if len(checkpoint) > 0 {
		last = append(last, checkpoint)
	}
	report, err := v.Finish(last...)
	if err != nil {
		return audit.Report{}, err
	}
	if report.Head != head {
		return audit.Report{}, &audit.Fault{
			Seq:  min(report.Head.Seq, head.Seq) + 1,
			What: fmt.Sprintf("the log has %d entries in %d leaves, its head says %d in %d", report.Head.Seq, report.Head.Leaves, head.Seq, head.Leaves),
		}
	}
	return report, nil
}
