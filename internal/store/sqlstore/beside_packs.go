package sqlstore

import (
	"database/sql"
	"fmt"

	"github.com/daypass/daypass/internal/audit"
)

// verifyPacks compares what packs are found by with the entries in them.
func (t *Tx) verifyPacks() error {
	const act = "reading the packs of the audit log"
	terms := 0
	q := packQuery{ascending: true, limit: 4}
	for {
		packs, err := t.packs(act, q)
		if err != nil {
			return err
		}
		for i := range packs {
			p := &packs[i]
			n, err := t.verifyPack(act, p)
			if err != nil {
				return err
			}
			terms += n
			q.after = p.first + p.count - 1
		}
		if len(packs) < q.limit {
			break
		}
	}
	if n, err := t.count(act, newQuery("SELECT COUNT(*) FROM terms")); err != nil || n != terms {
		return besides(err, 1, fmt.Sprintf("packs are found by %d terms, their entries have %d", n, terms))
	}
	// A row that claims a place which a pack has would be listed beside it.
	twice, err := list(t, act, newQuery("SELECT e.seq FROM packs AS p JOIN entries AS e ON e.seq >= p.first_seq AND e.seq < p.first_seq + p.count LIMIT 1"), func(rows *sql.Rows) (seq int64, err error) { return seq, rows.Scan(&seq) })
	if err != nil || len(twice) > 0 {
		seq := int64(1)
		if len(twice) > 0 {
			seq = twice[0]
		}
		return besides(err, seq, "is there twice, in a batch and by itself")
	}
	return nil
}

// verifyPack looks at one pack and returns how many terms it has.
func (t *Tx) verifyPack(act string, p *packRow) (terms int, err error) {
	if p.leaf.First != p.first || int64(p.leaf.Count) != p.count {
		return 0, &audit.Fault{Seq: p.first, What: fmt.Sprintf("its batch has %d entries from %d on, its leaf %d from %d on", p.count, p.first, p.leaf.Count, p.leaf.First)}
	}
	var since, until int64
	for i, packed := range p.entries {
		seq := p.first + int64(i)
		e, err := audit.DecodeEntry(packed.Bytes)
		if err != nil {
			return 0, &audit.Fault{Seq: seq, What: err.Error()}
		}
		if err := sayTheSame(seq, e, []column{
			{"type", "type", packed.Type, e.Type}, {"actor", "actor", packed.Actor, e.Actor}, {"on_behalf_of", "on_behalf_of", packed.OnBehalfOf, e.OnBehalfOf},
			{"request", "request", packed.Request, e.Request}, {"resource", "resource", packed.Resource, e.Resource},
		}); err != nil {
			return 0, err
		}
		at, ok := madeAt(e.ID)
		if !ok || e.Reason.Digest != "" {
			return 0, &audit.Fault{Seq: seq, What: "lies in a batch in which it cannot be found"}
		}
		if i == 0 {
			since, until = at, at
		}
		since, until = min(since, at), max(until, at)
	}
	if since != p.since || until != p.until {
		return 0, &audit.Fault{Seq: p.first, What: "the times that its batch is found by are not those of its entries"}
	}
	for _, term := range termsOf(p.entries) {
		q := newQuery("SELECT COUNT(*) FROM terms")
		q.where("term = ? AND first_seq = ?", term, p.first)
		if n, err := t.count(act, q); err != nil || n != 1 {
			return 0, besides(err, p.first, fmt.Sprintf("its batch cannot be found by %q", term))
		}
		terms++
	}
	return terms, nil
}

func (t *Tx) count(act string, q *query) (n int, err error) {
	_, err = list(t, act, q, func(rows *sql.Rows) (none struct{}, err error) { return none, rows.Scan(&n) })
	return n, err
}

// besides is err, or a fault where there is none.
func besides(err error, seq int64, what string) error {
	if err != nil {
		return err
	}
	return &audit.Fault{Seq: seq, What: what}
}
