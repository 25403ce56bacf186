package pgkind

import (
	"context"
	"fmt"
	"strings"

	"github.com/daypass/daypass/internal/config"
)

// Result is one thing that was looked at.
type Result struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	Next string `json:"next,omitempty"` // what to do where it is not
}

// Checkup logs in as a resource would and says what is missing. An error means
// that it could not be asked at all.
func Checkup(ctx context.Context, upstream, user string, password config.Secret) ([]Result, error) {
	at, err := parseEndpoint(upstream)
	if err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	s := lone(at, user, password)
	defer s.close()
	var out []Result
	err = s.with(ctx, func(on conn) error {
		out = nil
		return checkup(ctx, on, user, &out)
	})
	return out, err
}

func checkup(ctx context.Context, on conn, user string, out *[]Result) error {
	const prepare = "a superuser runs: daypass postgres prepare --dry-run"
	say := func(ok bool, next, format string, args ...any) {
		r := Result{What: fmt.Sprintf(format, args...), OK: ok}
		if !ok {
			r.Next = next
		}
		*out = append(*out, r)
	}
	row, err := on.one(ctx, `select current_setting('server_version_num')::int / 10000, r.rolsuper, r.rolsuper or r.rolcreaterole,
		r.rolsuper or pg_has_role(r.rolname, 'pg_signal_backend', 'USAGE'), current_setting('server_version_num')::int < 150000 from pg_roles r where r.rolname = current_user`)
	if err != nil {
		return err
	}
	super := yes(row[1])
	say(len(row[0]) > 1 && row[0] >= "14", "PostgreSQL 14 is the oldest that ends a session whose client is gone", "PostgreSQL %s", row[0])
	say(yes(row[2]), prepare, "%s makes roles", user)
	say(yes(row[3]), prepare, "%s ends sessions of grants", user)
	spills := super
	if !super && !yes(row[4]) {
		one, err := on.one(ctx, "select has_parameter_privilege('temp_file_limit', 'SET')")
		if err != nil {
			return err
		}
		spills = yes(one[0])
	}
	say(spills, prepare, "%s limits the temporary files of grants", user)
	owners, err := on.query(ctx, ownersSQL, user, array([]string{user}))
	if err != nil {
		return err
	}
	for _, o := range owners {
		has, err := on.one(ctx, "select pg_has_role(current_user, $1::oid, 'USAGE')", o[0])
		if err != nil {
			return err
		}
		say(super || yes(has[0]) || o[3] != "", prepare, "%s grants what belongs to %s", user, o[1])
	}
	e, err := preview(ctx, on, found{})
	if err != nil {
		return err
	}
	say(e.Relations == 0, "revoke from PUBLIC what is not meant for everybody", "every grant also reaches %s%s", counted(e.Relations, "relation"), listed(e.RelationNames))
	say(e.OwnerFunctions == 0, prepare, "every grant also reaches %s with the rights of its owner%s", counted(e.OwnerFunctions, "function"), listed(e.OwnerFunctionNames))
	say(len(e.Languages) == 0, prepare, "every grant can write code in %s", counted(len(e.Languages), "language"))
	shown, err := on.one(ctx, "select has_table_privilege('public', 'pg_catalog.pg_db_role_setting', 'SELECT') or has_column_privilege('public', 'pg_catalog.pg_roles', 'rolconfig', 'SELECT') or has_column_privilege('public', 'pg_catalog.pg_proc', 'prosrc', 'SELECT')")
	if err != nil {
		return err
	}
	say(!yes(shown[0]), prepare, "settings of roles and source of functions, which may hold secrets, are not for everybody")
	say(!e.Temp, prepare, "temporary tables are for those alone who need them")
	say(len(e.Connect) <= 1, prepare, "every grant can connect to %s", counted(len(e.Connect), "database"))
	return nil
}

func listed(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return " (" + strings.Join(names, ", ") + ")"
}
