package pgkind

import (
	"context"
	"fmt"
	"strings"
)

// removal is a role that is to go.
type removal struct {
	role  string
	stays bool // it is only to be looked at: what else there is to end is elsewhere
	oid   string
	gone  bool // nothing is left to be done
}

// usedSQL finds roles, and whether they have sessions or left something behind.
const usedSQL = `
select r.rolname, r.oid, r.oid in (select usesysid from pg_stat_activity where usesysid is not null)
  or exists (select 1 from pg_shdepend where refclassid = 'pg_authid'::regclass and refobjid = r.oid)
  or r.rolname in (select owner from pg_prepared_xacts)
from pg_roles r where r.rolname = any($1::name[])`

// removeAll drops, in one transaction, the roles among all that nobody uses and
// that left nothing behind: most grants end long after their last session. The
// others are left, with their OIDs, to who wants them gone.
func (s *server) removeAll(ctx context.Context, all []*removal) []error {
	err := s.with(ctx, func(on conn) error {
		names := make([]string, len(all))
		for i, m := range all {
			names[i] = m.role
			m.gone = false
		}
		rows, err := on.prepared(ctx, usedSQL, array(names))
		if err != nil {
			return err
		}
		found := map[string][]string{}
		for _, row := range rows {
			found[row[0]] = row
		}
		var drop []*removal
		for _, m := range all {
			row := found[m.role]
			if row == nil {
				m.gone = m.oid == "" // else it went just now, and nobody knows who came in before
				continue
			}
			m.oid = row[1]
			if !yes(row[2]) && !m.stays {
				drop = append(drop, m)
			}
		}
		return s.dropUnused(ctx, on, drop)
	})
	errs := make([]error, len(all))
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// dropUnused drops roles that nobody used a moment ago. One that somebody uses
// by now, or that cannot be dropped, stays with all others, and is no error. Who
// had proven a password in the instant before may have come in since: such a
// session has a role that is no more, and is ended.
func (s *server) dropUnused(ctx context.Context, on conn, all []*removal) error {
	if len(all) == 0 {
		return nil
	}
	var names, oids []string
	for _, m := range all {
		names, oids = append(names, ident(m.role)), append(oids, m.oid)
	}
	strayers, err := on.prepare(ctx, fmt.Sprintf(strayersSQL, "any($1::oid[])"))
	if err != nil {
		return err
	}
	results, err := on.Exec(ctx, "BEGIN; DROP ROLE IF EXISTS "+strings.Join(names, ", ")+"; COMMIT; EXECUTE "+strayers+"("+literal("{"+strings.Join(oids, ",")+"}")+")").ReadAll()
	if on.IsClosed() {
		return err
	}
	if on.TxStatus() != 'I' {
		err = on.exec(context.WithoutCancel(ctx), "ROLLBACK")
		return err
	}
	strayed := true
	if last := len(results) - 1; err == nil && last >= 0 && len(results[last].Rows) == 1 {
		strayed = string(results[last].Rows[0][0]) != "0"
	}
	for _, m := range all {
		m.gone = !strayed
	}
	return nil
}
