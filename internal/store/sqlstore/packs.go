package sqlstore

import (
	"bytes"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/store/pack"
	"github.com/daypass/daypass/internal/store/sqlstore/db"
)

const (
	// packFrom is how many entries make a pack: of fewer each is a row, for
	// which a verification can name the one that was changed.
	packFrom = 8
	// packSpan bounds the times that lead the IDs of a pack, in milliseconds,
	// so that a search for an ID knows where to end.
	packSpan = int64(time.Minute / time.Millisecond)
)

// AppendPack writes audit entries of high rate as one leaf and, where they are
// many, as one row: what each is found by is kept once for those that share it.
// It is otherwise as AppendBatch.
func (t *Tx) AppendPack(records []Record) error {
	since, until, ok := packable(records)
	if !ok {
		return t.AppendBatch(records)
	}
	return t.appendLeaf(records, func(act string, a *audit.Addition) error {
		entries := make([]pack.Entry, len(records))
		var last pack.Columns
		for i := range records {
			if c := columnsOf(&records[i]); i == 0 || c != last {
				last = c
				entries[i].Columns = &c
			} else {
				entries[i].Columns = entries[i-1].Columns
			}
			entries[i].Bytes = a.Entries[i]
		}
		body, ok := pack.Write(entries)
		if !ok {
			return fmt.Errorf("%s: a batch of %d entries is beyond what a row takes", act, len(entries))
		}
		if _, err := t.write(act, func() (int64, error) {
			return t.q.InsertPack(t.ctx, db.InsertPackParams{FirstSeq: a.Leaf.First, Leaf: a.Leaf.Index, Count: int64(len(entries)), Since: since, Until: until, Body: body})
		}); err != nil {
			return err
		}
		for _, term := range termsOf(entries) {
			if _, err := t.write(act, func() (int64, error) { return t.q.InsertTerm(t.ctx, term, a.Leaf.First) }); err != nil {
				return err
			}
		}
		return nil
	})
}

// packable says whether records may be one row: they are found again by the
// times that lead their IDs, and by what their columns say, but not by a text.
func packable(records []Record) (since, until int64, ok bool) {
	if len(records) < packFrom || len(records) > pack.MaxEntries {
		return 0, 0, false
	}
	size := 0
	for i := range records {
		e := records[i].Entry
		at, ok := madeAt(e.ID)
		if !ok || e.Reason.Digest != "" {
			return 0, 0, false
		}
		if i == 0 {
			since, until = at, at
		}
		since, until = min(since, at), max(until, at)
		size += len(e.Actor) + len(e.OnBehalfOf) + len(records[i].principal()) + len(e.Request) + len(e.Resource)
	}
	return since, until, until-since <= packSpan && size <= pack.MaxBytes/2
}

func columnsOf(r *Record) pack.Columns {
	e := r.Entry
	return pack.Columns{Type: e.Type, Actor: e.Actor, OnBehalfOf: e.OnBehalfOf, Principal: r.principal(), Request: e.Request, Resource: e.Resource}
}

// What a pack is found by.
func typeTerm(s string) string     { return "type " + s }
func partyTerm(s string) string    { return "party " + s }
func requestTerm(s string) string  { return "request " + s }
func resourceTerm(s string) string { return "resource " + s }

// termsOf are the terms of all entries, each once.
func termsOf(entries []pack.Entry) []string {
	var terms []string
	add := func(term func(string) string, value string) {
		if value == "" {
			return
		}
		if s := term(value); !slices.Contains(terms, s) {
			terms = append(terms, s)
		}
	}
	seen := make(map[*pack.Columns]bool)
	for _, e := range entries {
		if seen[e.Columns] {
			continue
		}
		seen[e.Columns] = true
		add(typeTerm, e.Type)
		for _, party := range []string{e.Actor, e.OnBehalfOf, e.Principal} {
			add(partyTerm, party)
		}
		add(requestTerm, e.Request)
		add(resourceTerm, e.Resource)
	}
	return terms
}

// packRow is a pack as it is read.
type packRow struct {
	first, count int64
	since, until int64
	leaf         audit.Leaf
	entries      []pack.Entry
}

// packQuery selects packs: those with entries after one and before another
// sequence number, 0 for none, that have all of terms.
type packQuery struct {
	after, before int64
	ascending     bool
	terms         []string
	limit         int
}

const packColumns = "SELECT p.first_seq, p.count, p.since, p.until, p.body, l.idx, l.first_seq, l.count FROM "

func (t *Tx) packs(act string, f packQuery) ([]packRow, error) {
	q, seq := newQuery(packColumns+"packs AS p JOIN leaves AS l ON l.idx = p.leaf"), "p.first_seq"
	if len(f.terms) > 0 {
		q, seq = newQuery(packColumns+"terms AS t JOIN packs AS p ON p.first_seq = t.first_seq JOIN leaves AS l ON l.idx = p.leaf"), "t.first_seq"
		q.where("t.term = ?", f.terms[0])
		for _, term := range f.terms[1:] {
			q.where("EXISTS (SELECT 1 FROM terms AS o WHERE o.term = ? AND o.first_seq = t.first_seq)", term)
		}
	}
	if f.after > 0 {
		q.where(seq+" > ?", f.after-pack.MaxEntries)
		q.where("p.first_seq + p.count - 1 > ?", f.after)
	}
	if f.before > 0 {
		q.where(seq+" < ?", f.before)
	}
	order := "ORDER BY " + seq
	if !f.ascending {
		order += " DESC"
	}
	q.tail(order, f.limit)
	return list(t, act, q, scanPack)
}

func scanPack(rows *sql.Rows) (packRow, error) {
	var p packRow
	var body sql.RawBytes
	err := rows.Scan(&p.first, &p.count, &p.since, &p.until, &body, &p.leaf.Index, &p.leaf.First, &p.leaf.Count)
	if err == nil {
		p.entries, err = pack.Read(body)
	}
	if err == nil && int64(len(p.entries)) != p.count {
		err = fmt.Errorf("it has %d entries, not %d", len(p.entries), p.count)
	}
	if err != nil {
		return p, &audit.Fault{Seq: p.first, What: fmt.Sprintf("its batch cannot be read: %v", err)}
	}
	return p, nil
}

// packedEvents lists those entries of a filter that lie in packs.
func (t *Tx) packedEvents(act string, f EventFilter) (out []Event, err error) {
	// The one first that the fewest packs will have.
	q := packQuery{after: f.After, before: f.Before, ascending: f.Ascending, limit: 4}
	for _, c := range []struct {
		term  func(string) string
		value string
	}{{requestTerm, f.Request}, {partyTerm, f.Principal}, {resourceTerm, f.Resource}, {typeTerm, f.Type}} {
		if c.value != "" {
			q.terms = append(q.terms, c.term(c.value))
		}
	}
	for {
		packs, err := t.packs(act, q)
		if err != nil {
			return nil, err
		}
		for i := range packs {
			p := &packs[i]
			if out = p.events(out, f); f.Limit > 0 && len(out) >= f.Limit {
				return out[:f.Limit], nil
			}
			if q.ascending {
				q.after = p.first + p.count - 1
			} else {
				q.before = p.first
			}
		}
		if len(packs) < q.limit || !q.ascending && q.before <= 1 {
			return out, nil
		}
	}
}

// events appends those of p that a filter selects, in its order.
func (p *packRow) events(out []Event, f EventFilter) []Event {
	for n := range p.entries {
		i := n
		if !f.Ascending {
			i = len(p.entries) - 1 - n
		}
		e, seq := &p.entries[i], p.first+int64(i)
		if (f.After == 0 || seq > f.After) && (f.Before == 0 || seq < f.Before) && (f.Type == "" || f.Type == e.Type) &&
			(f.Request == "" || f.Request == e.Request) && (f.Resource == "" || f.Resource == e.Resource) &&
			(f.Principal == "" || f.Principal == e.Actor || f.Principal == e.OnBehalfOf || f.Principal == e.Principal) {
			out = append(out, Event{Seq: seq, Leaf: p.leaf, Bytes: e.Bytes})
		}
	}
	return out
}

// packOf finds the pack that has an ID, and which of its entries that is.
func (t *Tx) packOf(act, id string) (*packRow, int, error) {
	none := fmt.Errorf("%s: %w", act, ErrNotFound)
	at, ok := madeAt(id)
	if !ok {
		return nil, 0, none
	}
	q := newQuery(packColumns + "packs AS p JOIN leaves AS l ON l.idx = p.leaf")
	q.where("p.until >= ? AND p.until <= ? AND p.since <= ?", at, at+packSpan, at)
	q.tail("ORDER BY p.until", 0)
	packs, err := list(t, act, q, scanPack)
	if err != nil {
		return nil, 0, err
	}
	spelt := []byte(`"id":"` + id + `"`)
	for i := range packs {
		for k, e := range packs[i].entries {
			if !bytes.Contains(e.Bytes, spelt) {
				continue
			}
			// Details may spell it too.
			if is, err := audit.DecodeEntry(e.Bytes); err == nil && is.ID == id {
				return &packs[i], k, nil
			}
		}
	}
	return nil, 0, none
}

// madeAt is the time that leads an ID of credential.NewIDAt, in Unix
// milliseconds; of any other ID it is some number.
func madeAt(id string) (ms int64, ok bool) {
	const led = 10 // digits of five bits, the first 48 of which are the time
	_, body, _ := strings.Cut(id, "_")
	if len(body) < led {
		return 0, false
	}
	for i := range led {
		switch c := body[i]; {
		case 'a' <= c && c <= 'z':
			ms = ms<<5 | int64(c-'a')
		case '2' <= c && c <= '7':
			ms = ms<<5 | int64(c-'2'+26)
		default:
			return 0, false
		}
	}
	return ms >> 2, true
}
