package sqlstore

import (
	"database/sql"
	"fmt"
	"time"
)

// What a start reads is too much for a slice: it is handed on row by row. The
// texts handed to f are valid during the call alone.

// Part is a part of the rows, so that two who read can share them. It goes by a
// character of an ID that is random; rows with IDs of another shape are all in
// one part.
type Part int

// The parts.
const (
	Whole Part = iota
	OneHalf
	OtherHalf
)

// where is the condition on an ID with a prefix of so many characters.
func (p Part) where(id string, prefix int) string {
	if p == Whole {
		return "1 = 1"
	}
	is := "<"
	if p == OtherHalf {
		is = ">="
	}
	// The last character but one: the last has three bits. Half of the 32 are
	// before k.
	return fmt.Sprintf("substr(%s, %d, 1) %s 'k'", id, prefix+25, is)
}

// ActiveGrant is a grant that gives access, without what only decisions need.
type ActiveGrant struct {
	Grant, Request, Requester, Resource, Incarnation, Kind, Scope []byte
	StartsAt, ExpiresAt                                           time.Time
}

// ActiveGrants reads the grants that are active, all of it out of one index.
const ActiveGrants = "SELECT grant_id, id, requester, resource, incarnation, kind, scope, starts_at, expires_at FROM requests WHERE grant_state = 'active'"

// EachActiveGrant calls f with every grant of a part that is active.
func (t *Tx) EachActiveGrant(part Part, f func(*ActiveGrant) error) error {
	var raw [7]sql.RawBytes
	var starts, expires int64
	statement := ActiveGrants + " AND " + part.where("grant_id", len("grt_"))
	return t.each("reading the live grants", statement, []any{&raw[0], &raw[1], &raw[2], &raw[3], &raw[4], &raw[5], &raw[6], &starts, &expires}, func() error {
		return f(&ActiveGrant{
			Grant: raw[0], Request: raw[1], Requester: raw[2], Resource: raw[3], Incarnation: raw[4], Kind: raw[5], Scope: raw[6],
			StartsAt: instant(starts), ExpiresAt: instant(expires),
		})
	})
}

// StoredCredential is a credential of a grant, live or ended.
type StoredCredential struct {
	Hash                  [32]byte
	ID, Grant, Kind, Host []byte
	IssuedAt              time.Time
}

// EachCredential calls f with every credential of a part that is kept.
func (t *Tx) EachCredential(part Part, f func(*StoredCredential) error) error {
	statement := "SELECT hash, id, grant_id, kind, host, issued_at FROM credentials WHERE " + part.where("id", len("cred_"))
	var raw [5]sql.RawBytes
	var issued int64
	return t.each("reading the credentials", statement, []any{&raw[0], &raw[1], &raw[2], &raw[3], &raw[4], &issued}, func() error {
		hash, err := hash32(raw[0])
		if err != nil {
			return err
		}
		return f(&StoredCredential{Hash: hash, ID: raw[1], Grant: raw[2], Kind: raw[3], Host: raw[4], IssuedAt: instant(issued)})
	})
}

// CountLive counts what EachActiveGrant and EachCredential read.
func (t *Tx) CountLive() (grants, credentials int, err error) {
	err = t.each("counting the live grants", "SELECT COUNT(*), (SELECT COUNT(*) FROM credentials) FROM requests WHERE grant_state = 'active'",
		[]any{&grants, &credentials}, func() error { return nil })
	return grants, credentials, err
}

// each runs a query and calls f after each row was scanned into dest.
func (t *Tx) each(act, statement string, dest []any, f func() error) error {
	_, err := read(t, act, func() (_ struct{}, err error) {
		rows, err := t.conn.QueryContext(t.ctx, statement)
		if err != nil {
			return struct{}{}, err
		}
		defer func() {
			if closing := rows.Close(); err == nil {
				err = closing
			}
		}()
		for rows.Next() {
			if err := rows.Scan(dest...); err != nil {
				return struct{}{}, err
			}
			if err := f(); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, rows.Err()
	})
	return err
}
