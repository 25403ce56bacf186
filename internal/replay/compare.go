package replay

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// number reads a whole number; -1 when there is none, as in entries of
// versions that did not write it.
func (d details) number(key string) int {
	switch n := d[key].(type) {
	case json.Number:
		if v, err := n.Int64(); err == nil {
			return int(v)
		}
	case int:
		return n
	}
	return -1
}

// list reads texts: as they were written, or as they were read back.
func (d details) list(key string) []string {
	switch list := d[key].(type) {
	case []string:
		return list
	case []any:
		out := make([]string, len(list))
		for i, v := range list {
			out[i], _ = v.(string)
		}
		return out
	}
	return nil
}

func (d details) stages(key string) []access.Stage {
	list, _ := d[key].([]any)
	var out []access.Stage
	for _, one := range list {
		m, _ := one.(map[string]any)
		s := access.Stage{Name: details(m).text("name"), Quorum: details(m).number("quorum")}
		s.From = details(m).list("from")
		out = append(out, s)
	}
	return out
}

// Check plays the log of a snapshot back and compares every row with it. What
// differs is a *Difference. It keeps about 1 KB of memory for each request.
func Check(tx *sqlstore.Tx) (Report, error) {
	r := New()
	err := tx.AuditRows(1, func(_ int64, _ audit.Leaf, _ [32]byte, raw []byte) error {
		e, err := audit.DecodeEntry(raw)
		if err != nil {
			return err
		}
		return r.Add(e)
	})
	if err != nil {
		return Report{}, err
	}
	return r.compare(tx)
}

// page is how many requests are read at a time.
const page = 500

func (r *Record) compare(tx *sqlstore.Tx) (Report, error) {
	var found Report
	f := sqlstore.RequestFilter{Limit: page}
	for {
		rows, err := tx.Requests(f)
		if err != nil {
			return found, err
		}
		for _, row := range rows {
			f.Before = sqlstore.Cursor{At: row.CreatedAt, ID: row.ID}
			if err := r.request(row); err != nil {
				return found, err
			}
			found.Requests++
			found.Reviews += len(row.Reviews)
			if row.Grant != nil {
				found.Grants++
			}
		}
		if len(rows) < page {
			break
		}
	}
	if found.Requests != len(r.requests) {
		return found, r.missing(tx)
	}
	var err error
	if found.Credentials, err = r.credentials(tx); err != nil {
		return found, err
	}
	if found.Tokens, err = r.apiTokens(tx); err != nil {
		return found, err
	}
	return found, r.switches(tx)
}

// missing names the first request of the record that has no row.
func (r *Record) missing(tx *sqlstore.Tx) error {
	first := &Difference{}
	for id, t := range r.requests {
		_, err := tx.Request(id)
		if errors.Is(err, sqlstore.ErrNotFound) && (first.Request == "" || t.seq < first.Seq) {
			first = &Difference{Seq: t.seq, Request: id, What: "the record tells of it, and there is no row"}
		} else if err != nil && !errors.Is(err, sqlstore.ErrNotFound) {
			return err
		}
	}
	return first
}

// request compares one row with what the record says of it.
func (r *Record) request(row *access.Request) error {
	t := r.requests[row.ID]
	if t == nil {
		return &Difference{Request: row.ID, What: "there is a row of which the record says nothing"}
	}
	if what := unlike(t.Request, row); what != "" {
		return &Difference{Seq: t.seq, Request: row.ID, What: what}
	}
	return nil
}

// unlike says what of a row is not as the record says; "" when nothing is.
// The content is compared through its hash, which covers all of it but the
// role and the kind.
func unlike(said, row *access.Request) string {
	c, have := said.Content, row.Content
	switch {
	case said.ContentHash != row.ContentHash || row.Content.Hash() != row.ContentHash:
		return "its content is not the one that was submitted"
	case c.Requester != have.Requester || c.Resource != have.Resource || c.Role != have.Role || c.Kind != "" && c.Kind != have.Kind:
		return "who asks for what is not what was submitted"
	case said.State != row.State:
		return fmt.Sprintf("it is %s, the record says %s", row.State, said.State)
	case !said.CreatedAt.Equal(row.CreatedAt) || !said.ApproveBy.Equal(row.ApproveBy):
		return "its times are not those of the record"
	case said.DecidedBy != row.DecidedBy || !known(said.DecidedAt, row.DecidedAt) || said.Outcome != row.Outcome:
		return fmt.Sprintf("it was decided by %q, the record says %q, or at another time, or for another reason", row.DecidedBy, said.DecidedBy)
	case !slices.EqualFunc(said.Reviews, row.Reviews, sameReview):
		return fmt.Sprintf("its %d reviews are not the %d of the record", len(row.Reviews), len(said.Reviews))
	case !slices.EqualFunc(said.Added, row.Added, sameStage):
		return "the stages that were added to it are not those of the record"
	case !sameDuty(said.Duty, row.Duty):
		return "the review that is due after its break-glass is not that of the record"
	}
	return unlikeGrant(said.Grant, row.Grant)
}

// known reports whether two times are one, where the record tells it.
func known(said, row *time.Time) bool {
	if said == nil || row == nil {
		return said == row
	}
	return said.IsZero() || said.Equal(*row)
}

func sameReview(said, row access.Review) bool {
	if said.Stage < 0 {
		said.Stage = row.Stage
	}
	at := said.At.Equal(row.At)
	said.At = row.At
	return at && said == row
}

func sameStage(a, b access.Stage) bool {
	return a.Name == b.Name && a.Quorum == b.Quorum && slices.Equal(a.From, b.From)
}

func sameDuty(said, row *access.Duty) bool {
	if said == nil || row == nil {
		return said == row
	}
	return slices.Equal(said.Told, row.Told) && said.Person == row.Person && said.Finding == row.Finding && known(said.DoneAt, row.DoneAt)
}

func unlikeGrant(said, row *access.Grant) string {
	if said == nil || row == nil {
		if said == nil && row == nil {
			return ""
		}
		return "its grant is in one of row and record only"
	}
	switch {
	case said.ID != row.ID || said.BreakGlass != row.BreakGlass || !said.StartsAt.Equal(row.StartsAt):
		return "its grant is not the one of the record"
	case said.State != row.State || said.CleanupPending != row.CleanupPending:
		return fmt.Sprintf("its grant is %s, the record says %s", row.State, said.State)
	case !said.ExpiresAt.Equal(row.ExpiresAt):
		return fmt.Sprintf("its grant ends at %s, the record says %s", api.TimeOf(row.ExpiresAt), api.TimeOf(said.ExpiresAt))
	case said.EndedReason != row.EndedReason || said.EndedBy != row.EndedBy || !known(said.EndedAt, row.EndedAt):
		return fmt.Sprintf("its grant ended (%s) otherwise than the record says (%s)", row.EndedReason, said.EndedReason)
	}
	return ""
}

// credentials compares the opaque credentials of each grant.
func (r *Record) credentials(tx *sqlstore.Tx) (int, error) {
	n := 0
	all, err := tx.Credentials("")
	if err != nil {
		return 0, err
	}
	for _, c := range all {
		if !r.issued[c.Grant][c.ID] {
			return 0, &Difference{Request: c.Request, What: "the credential " + c.ID + " was never issued on record"}
		}
	}
	for _, t := range r.requests {
		if t.Grant == nil || len(r.issued[t.Grant.ID]) == 0 {
			continue
		}
		rows, err := tx.Credentials(t.Grant.ID)
		if err != nil {
			return 0, err
		}
		kept := map[string]bool{}
		for _, c := range rows {
			kept[c.ID] = true
			if !r.issued[t.Grant.ID][c.ID] || c.Request != t.ID {
				return 0, &Difference{Seq: t.seq, Request: t.ID, What: "the credential " + c.ID + " was never issued on record"}
			}
		}
		for id := range r.issued[t.Grant.ID] {
			// Some time after the end of its grant a credential is forgotten.
			if !kept[id] && t.Grant.State != access.Ended {
				return 0, &Difference{Seq: t.seq, Request: t.ID, What: "the credential " + id + " was issued and is gone"}
			}
			n++
		}
	}
	return n, nil
}

func (r *Record) apiTokens(tx *sqlstore.Tx) (int, error) {
	rows, err := tx.Tokens("")
	if err != nil {
		return 0, err
	}
	kept := map[string]bool{}
	for _, row := range rows {
		kept[row.ID] = true
		said, ok := r.tokens[row.ID]
		if !ok {
			return 0, &Difference{What: "the API token " + row.ID + " is not on record, or was revoked there"}
		}
		if said != (token{row.Principal, row.CreatedBy, row.Name, api.TimeOf(row.ExpiresAt).String(), row.Workload}) {
			return 0, &Difference{What: "the API token " + row.ID + " is not as it was made"}
		}
	}
	mark, err := tx.ClockMark()
	if err != nil {
		return 0, err
	}
	for id, said := range r.tokens {
		// Those of jobs are forgotten some time after their end.
		forgotten := said.workload != "" && details{"at": said.expires}.time("at").Before(mark.At)
		if !kept[id] && !forgotten {
			return 0, &Difference{What: fmt.Sprintf("there are %d API tokens, and %s of the record is not among them", len(rows), id)}
		}
	}
	return len(rows), nil
}

// switches compares the catalog in force and the switch for issuing.
func (r *Record) switches(tx *sqlstore.Tx) error {
	cat, err := tx.Catalog()
	version := ""
	switch {
	case err == nil:
		version = cat.Version
	case !errors.Is(err, sqlstore.ErrNotFound):
		return err
	}
	if version != r.catalog {
		return &Difference{What: fmt.Sprintf("the catalog in force is %q, the record says %q", version, r.catalog)}
	}
	off, err := tx.Setting("issuing")
	if err != nil {
		return err
	}
	if (off != "off") != r.issuing {
		return &Difference{What: "issuing is switched otherwise than the record says"}
	}
	return nil
}
