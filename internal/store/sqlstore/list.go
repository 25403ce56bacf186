package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/daypass/daypass/internal/access"
)

// The lists with optional filters are written here and not in queries.sql:
// one statement with "filter IS NULL OR" for each filter would read the whole
// table whatever the index.

// Requests lists requests, newest first.
func (t *Tx) Requests(f RequestFilter) ([]*access.Request, error) {
	q := f.query("SELECT version, body FROM requests")
	q.tail("ORDER BY created_at DESC, id DESC", f.Limit)
	return list(t, "listing requests", q, scanRequest)
}

func scanRequest(rows *sql.Rows) (*access.Request, error) {
	var version int64
	var body sql.RawBytes
	if err := rows.Scan(&version, &body); err != nil {
		return nil, err
	}
	return decodeRequest("decoding a request", version, body)
}

// WaitingGrants counts the grants that are to begin of a requester or on a
// resource, or of all. They are few: it looks at them and at no others, however
// many the requester has had.
const WaitingGrants = `SELECT COUNT(*) FROM requests WHERE grant_state IN ('scheduled', 'activating') AND grant_state <> 'ended'
  AND ($1 = '' OR requester = $1) AND ($2 = '' OR resource = $2)`

// CountWaiting is what WaitingGrants counts; "" stands for any.
func (t *Tx) CountWaiting(requester, resource string) (int, error) {
	q := newQuery(WaitingGrants)
	q.args = []any{requester, resource}
	return count(t, "counting the grants that are to begin", q)
}

// CountRequests counts what Requests would list without a limit. It may read
// each of their rows: nothing that is waited for asks for it.
func (t *Tx) CountRequests(f RequestFilter) (int, error) {
	return count(t, "counting requests", f.query("SELECT COUNT(*) FROM requests"))
}

func count(t *Tx, act string, q *query) (int, error) {
	n, err := list(t, act, q, func(rows *sql.Rows) (n int, err error) {
		return n, rows.Scan(&n)
	})
	if err != nil {
		return 0, err
	}
	return n[0], nil
}

func (f RequestFilter) query(what string) *query {
	q := newQuery(what)
	state, grantState := "state", "grant_state"
	if f.Requester != "" || f.Resource != "" || f.Extends != "" {
		// One person's are fewer than all that are approved: not by that index.
		state, grantState = "state || ''", "grant_state || ''"
	}
	q.in(state, texts(f.States))
	if len(f.States) > 0 && !slices.Contains(f.States, access.Approved) {
		q.where("state <> 'approved'") // which an index leaves out
	}
	q.in(grantState, texts(f.GrantStates))
	if len(f.GrantStates) > 0 && !slices.Contains(f.GrantStates, access.Ended) {
		q.where("grant_state <> 'ended'") // likewise
	}
	if f.ReviewDue {
		q.where("review_due = 1")
	}
	if f.HasGrant {
		q.where("grant_id IS NOT NULL")
	}
	q.equal("requester", f.Requester)
	q.equal("resource", f.Resource)
	q.equal("extends", f.Extends)
	if f.Before != (Cursor{}) {
		q.where("(created_at, id) < (?, ?)", millis(f.Before.At), f.Before.ID)
	}
	return q
}

// Inputs returns the decision inputs of requests, by ID. Those that there are
// not are missing.
func (t *Tx) Inputs(requests []string) (map[string]json.RawMessage, error) {
	out := make(map[string]json.RawMessage, len(requests))
	q := newQuery("SELECT request, body FROM inputs")
	return out, t.lookUp("reading decision inputs", q, "request", requests, func(key, body string) { out[key] = json.RawMessage(body) })
}

// Texts returns personal texts by their digests. Those that were erased are
// missing.
func (t *Tx) Texts(digests []string) (map[string]string, error) {
	out := make(map[string]string, len(digests))
	q := newQuery("SELECT digest, body FROM texts")
	return out, t.lookUp("reading texts", q, "digest", digests, func(key, body string) { out[key] = body })
}

// lookUp calls each with the key and body of every row whose column is one of
// keys: a page of them, not more than a statement may have parameters.
func (t *Tx) lookUp(act string, q *query, column string, keys []string, each func(key, body string)) error {
	if len(keys) == 0 {
		return nil
	}
	q.in(column, texts(keys))
	rows, err := list(t, act, q, func(rows *sql.Rows) (row [2]string, err error) {
		err = rows.Scan(&row[0], &row[1])
		return row, err
	})
	for _, row := range rows {
		each(row[0], row[1])
	}
	return err
}

const (
	eventColumns = "SELECT e.seq, l.idx, l.first_seq, l.count, e.bytes, t.salt, t.body FROM "
	eventJoins   = " JOIN leaves AS l ON l.idx = e.leaf LEFT JOIN texts AS t ON t.digest = e.reason_digest"
	ofEntries    = eventColumns + "entries AS e" + eventJoins
	ofParty      = eventColumns + "parties AS p JOIN entries AS e ON e.seq = p.seq" + eventJoins
)

// Events lists audit entries.
func (t *Tx) Events(f EventFilter) ([]Event, error) {
	const act = "listing audit entries"
	rows, err := t.rowEvents(act, f)
	if err != nil {
		return nil, err
	}
	if f.Limit > 0 && len(rows) == f.Limit { // of packs only what comes before the last of these
		if last := rows[len(rows)-1].Seq; f.Ascending {
			f.Before = last
		} else {
			f.After = last
		}
	}
	packed, err := t.packedEvents(act, f)
	if err != nil || len(packed) == 0 {
		return rows, err
	}
	all := slices.Concat(rows, packed)
	slices.SortFunc(all, func(a, b Event) int {
		if f.Ascending {
			return cmp.Compare(a.Seq, b.Seq)
		}
		return cmp.Compare(b.Seq, a.Seq)
	})
	if f.Limit > 0 {
		all = all[:min(len(all), f.Limit)]
	}
	return all, nil
}

// rowEvents lists those that are rows of their own.
func (t *Tx) rowEvents(act string, f EventFilter) ([]Event, error) {
	q, seq := newQuery(ofEntries), "e.seq"
	if f.Principal != "" {
		q, seq = newQuery(ofParty), "p.seq" // in the order of its index
		q.where("p.principal = ?", f.Principal)
	}
	if f.After != 0 {
		q.where(seq+" > ?", f.After)
	}
	if f.Before != 0 {
		q.where(seq+" < ?", f.Before)
	}
	q.equal("e.request", f.Request)
	q.equal("e.resource", f.Resource)
	q.equal("e.type", f.Type)
	order := "ORDER BY " + seq
	if !f.Ascending {
		order += " DESC"
	}
	q.tail(order, f.Limit)
	return list(t, act, q, scanEvent)
}

// Event loads an entry by its ID.
func (t *Tx) Event(id string) (*Event, error) {
	act := "loading audit entry " + id
	q := newQuery(ofEntries)
	q.where("e.id = ?", id)
	events, err := list(t, act, q, scanEvent)
	if err != nil {
		return nil, err
	}
	if len(events) > 0 {
		return &events[0], nil
	}
	p, i, err := t.packOf(act, id)
	if err != nil {
		return nil, err
	}
	return &Event{Seq: p.first + int64(i), Leaf: p.leaf, Bytes: p.entries[i].Bytes}, nil
}

func scanEvent(rows *sql.Rows) (Event, error) {
	var e Event
	var salt []byte
	var reason *string
	if err := rows.Scan(&e.Seq, &e.Leaf.Index, &e.Leaf.First, &e.Leaf.Count, &e.Bytes, &salt, &reason); err != nil {
		return Event{}, err
	}
	if reason != nil && len(salt) == len(e.Salt) {
		e.Reason, e.Salt = *reason, [16]byte(salt)
	}
	return e, nil
}

// query is a SELECT under construction. Column names come from this file, all
// values go through placeholders.
type query struct {
	text  strings.Builder
	args  []any
	joint string // what comes before the next condition
}

func newQuery(selects string) *query {
	q := &query{joint: " WHERE "}
	q.text.WriteString(selects)
	return q
}

// where adds a condition in which each ? stands for the next of args.
func (q *query) where(condition string, args ...any) {
	q.text.WriteString(q.joint)
	q.joint = " AND "
	for _, arg := range args {
		before, after, _ := strings.Cut(condition, "?")
		q.args = append(q.args, arg)
		q.text.WriteString(before + "$" + strconv.Itoa(len(q.args)))
		condition = after
	}
	q.text.WriteString(condition)
}

// equal adds a condition unless value is "".
func (q *query) equal(column, value string) {
	if value != "" {
		q.where(column+" = ?", value)
	}
}

// in adds a condition unless values is empty.
func (q *query) in(column string, values []any) {
	if len(values) > 0 {
		q.where(column+" IN (?"+strings.Repeat(", ?", len(values)-1)+")", values...)
	}
}

func (q *query) tail(order string, limit int) {
	q.text.WriteString(" " + order)
	if limit > 0 {
		q.args = append(q.args, int64(limit))
		q.text.WriteString(" LIMIT $" + strconv.Itoa(len(q.args)))
	}
}

func texts[S ~string](values []S) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return out
}

func list[T any](t *Tx, act string, q *query, scan func(*sql.Rows) (T, error)) ([]T, error) {
	return read(t, act, func() ([]T, error) { return collect(t.ctx, t, q, scan) })
}

func collect[T any](ctx context.Context, t *Tx, q *query, scan func(*sql.Rows) (T, error)) (out []T, err error) {
	rows, err := t.conn.QueryContext(ctx, q.text.String(), q.args...)
	if err != nil {
		return nil, err
	}
	// The writer has one connection: rows left open would block it for ever.
	defer func() {
		if closing := rows.Close(); err == nil {
			err = closing
		}
	}()
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}
