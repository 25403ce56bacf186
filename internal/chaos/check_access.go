package chaos

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/audit"
)

// late is by how much the last byte may pass the end (A4).
const late = time.Second

// ends is when a grant was over, at the latest, in true time: its expiry, and
// when somebody was told that it is revoked.
func (c *checker) ends() map[string]time.Time {
	ends := map[string]time.Time{}
	for id, r := range c.grants {
		ends[id] = r.Grant.ExpiresAt
	}
	sooner := func(id string, at time.Time) {
		if e, ok := ends[id]; ok && at.Before(e) {
			ends[id] = at
		}
	}
	for _, k := range c.calls {
		if !k.Acknowledged() {
			continue
		}
		if k.Is("POST", "/v1/grants/*/revoke") {
			sooner(k.ID(), k.End)
		}
		var all api.Revocation
		if k.Is("POST", "/v1/revocations") && k.Into(&all) {
			for _, g := range all.Grants {
				sooner(g.ID, k.End)
			}
		}
	}
	return ends
}

// access judges what the gateway let through, by true time.
func (c *checker) access() {
	ends := c.ends()
	for _, u := range c.uses {
		end, known := ends[u.Grant]
		if !known {
			if u.Status == 200 {
				c.violated("no access without a grant [A7]", "the token of %s was let through", u.Grant)
			}
			continue
		}
		r := c.grants[u.Grant]
		switch {
		case u.Status == 200 && !u.Start.Before(end):
			c.violated("no access after the end [A1, A2, A5]", "%s, over since %s, was let through at %s", u.Grant, stamp(end), stamp(u.Start))
		case u.Status == 200 && !u.Introspection && u.End.After(end.Add(late)):
			c.violated("the last byte comes within a second of the end [A4]", "%s ended at %s, a byte came at %s", u.Grant, stamp(end), stamp(u.End))
		case u.Status == 401 && u.Start.After(r.Grant.StartsAt) && u.End.Before(over(r)):
			c.violated(present, "%s is live and its token was refused at %s", u.Grant, stamp(u.Start))
		}
	}
	recorded := map[string]bool{}
	for _, e := range c.entries {
		if e.Type == audit.AccessAllowed {
			recorded[e.Grant] = true
		}
	}
	unrecorded := map[string]bool{}
	for _, a := range c.History.reached() {
		end, known := ends[a.Grant]
		switch {
		case !known:
			c.violated("no access without a grant [A7]", "the service was reached with %s", a.Grant)
		case a.At.After(end.Add(late)):
			c.violated("the last byte comes within a second of the end [A4]", "the service got a byte of %s at %s, over since %s", a.Grant, stamp(a.At), stamp(end))
		case !recorded[a.Grant] && !unrecorded[a.Grant]:
			unrecorded[a.Grant] = true
			c.violated("no access without a record [A20]", "the service was reached with %s, of which no entry speaks", a.Grant)
		}
	}
}

// over is when access by a grant's row was over.
func over(r *access.Request) time.Time {
	if at := r.Grant.EndedAt; at != nil {
		return *at
	}
	return r.Grant.ExpiresAt
}

func stamp(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// takenUntil is until when, by the record's own time, an entry may let somebody
// in. An expiry is exact. A revocation bears the instant at which it was begun,
// and is in force when it is answered: the histories of the clients say whether
// anything passed after that, and here it must be within the bound.
func takenUntil(g *access.Grant) time.Time {
	if g.EndedReason == access.EndExpired {
		return *g.EndedAt
	}
	return g.EndedAt.Add(revocationBound)
}

// revocationBound is limits.revocation_bound of the servers that are run.
const revocationBound = 5 * time.Second

// whose is what an entry of an access and that of its refusal right after have in
// common: the session, or the grant where somebody only asked about it.
func whose(e *audit.Entry) string {
	if e.Session != "" {
		return e.Session
	}
	return e.Grant
}

// issuedFirst: before a credential was let in, its issue was on record; and
// nothing was let in, by the record's own time, at the end or after it unless
// the same session was refused right then.
func (c *checker) issuedFirst() {
	issued, refused := map[string]bool{}, map[string]int64{}
	seen := map[string]int{}
	for _, e := range c.entries {
		if e.Type == audit.AccessDenied {
			refused[whose(e)] = e.Seq // the last one: earlier ones do not speak of what came after them
		}
	}
	for _, e := range c.entries {
		switch e.Type {
		case audit.CredentialIssued:
			issued[e.Grant] = true
			id := fmt.Sprint(e.Details["jti"])
			if seen[id]++; seen[id] > 1 {
				c.violated("exactly one entry for each credential [A20, A30]", "%s has %d", id, seen[id])
			}
		case audit.AccessAllowed:
			if !issued[e.Grant] {
				c.violated("issued before it is used [A20]", "entry %d allows %s, which has no credential yet", e.Seq, e.Grant)
			}
			if r := c.grants[e.Grant]; r != nil && r.Grant.EndedAt != nil && !e.Time.Before(takenUntil(r.Grant)) && refused[whose(e)] < e.Seq {
				c.violated("no access after the end [A1]", "entry %d allows %s at %s, ended at %s", e.Seq, e.Grant, stamp(e.Time), stamp(*r.Grant.EndedAt))
			}
		}
	}
}

// notices: who must be told of a request was told, or it still waits to be.
func (c *checker) notices(ctx context.Context) error {
	dsn := (&url.URL{Scheme: "file", OmitHost: true, Path: filepath.Join(c.Dir, "data", "daypass.db"), RawQuery: "mode=ro"}).String()
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // it was only read
	rows, err := db.QueryContext(ctx, "SELECT payload FROM jobs")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // it was only read
	waiting := map[string]bool{}
	for rows.Next() {
		var payload string
		if err := rows.Scan(&payload); err != nil {
			return err
		}
		var p struct {
			Request string `json:"request"`
		}
		if json.Unmarshal([]byte(payload), &p) == nil {
			waiting[p.Request] = true
		}
	}
	for id, r := range c.requests {
		// One that was cancelled before the message went out needs none.
		if !r.Content.Terms.Auto && r.State != access.Cancelled && c.History.told(id) == 0 && !waiting[id] {
			c.violated("an effect happens at least once [A36]", "nobody was told of %s, and nothing waits to tell it", id)
		}
	}
	return rows.Err()
}
