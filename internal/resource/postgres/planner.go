package pgkind

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// planner looks at a database and collects what is to be done.
type planner struct {
	Preparation
	plan    *Plan
	on      conn
	version int
}

func (b *planner) step(why string, sql ...string) {
	if len(sql) > 0 {
		b.plan.Steps = append(b.plan.Steps, Step{Why: why, SQL: sql})
	}
}

func (b *planner) note(format string, args ...any) {
	b.plan.Notes = append(b.plan.Notes, fmt.Sprintf(format, args...))
}

func (b *planner) all(ctx context.Context) error {
	row, err := b.on.one(ctx, "select current_setting('server_version_num')::int, rolsuper from pg_roles where rolname = current_user")
	if err != nil {
		return err
	}
	if _, err := fmt.Sscan(row[0], &b.version); err != nil {
		return fmt.Errorf("asking the server for its version: %w", err)
	}
	if !yes(row[1]) {
		return errors.New(b.As + " is no superuser, and only one can see and do all that is needed: name another one with --as")
	}
	steps := []func(context.Context) error{b.login, b.owners}
	if b.Harden {
		steps = append(steps, b.harden)
	}
	for _, f := range steps {
		if err := f(ctx); err != nil {
			return err
		}
	}
	b.hba()
	return nil
}

// login plans the login that makes the roles of grants, and their group.
func (b *planner) login(ctx context.Context) error {
	user := ident(b.User)
	rows, err := b.on.query(ctx, `select rolcreaterole and rolcanlogin, rolsuper, pg_has_role(rolname, 'pg_signal_backend', 'USAGE') from pg_roles where rolname = $1`, b.User)
	if err != nil {
		return err
	}
	switch {
	case len(rows) == 0:
		b.step("The login that makes a role for each grant and drops it. It is no superuser and owns nothing.",
			"CREATE ROLE "+user+" LOGIN CREATEROLE", "GRANT pg_signal_backend TO "+user)
		b.note("%s has no password yet. In psql: \\password %s", b.User, b.User)
	case yes(rows[0][1]):
		b.note("%s is a superuser, which Daypass does not need: make it a login of its own, and run this again.", b.User)
	default:
		if !yes(rows[0][0]) {
			b.step("The login makes roles.", "ALTER ROLE "+user+" LOGIN CREATEROLE")
		}
		if !yes(rows[0][2]) {
			b.step("The login ends sessions of grants that are over.", "GRANT pg_signal_backend TO "+user)
		}
	}
	if rows, err = b.on.query(ctx, "select 1 from pg_roles where rolname = $1", groupRole); err != nil {
		return err
	}
	fresh := len(rows) == 0
	if fresh {
		b.step("The group of all roles of grants, for pg_hba.conf.", "CREATE ROLE "+groupRole+" NOLOGIN")
	}
	if b.version >= 160000 {
		row, err := b.on.one(ctx, `select exists (select from pg_auth_members m join pg_roles g on g.oid = m.roleid join pg_roles u on u.oid = m.member
			where g.rolname = $1 and u.rolname = $2 and m.admin_option)`, groupRole, b.User)
		if err != nil {
			return err
		}
		if !yes(row[0]) {
			b.step("Since PostgreSQL 16 a login gives only what it may administer.", "GRANT "+groupRole+" TO "+user+" WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
		}
	}
	if b.version >= 150000 {
		set := "false"
		if len(rows) > 0 {
			if row, err := b.on.query(ctx, "select has_parameter_privilege(rolname, 'temp_file_limit', 'SET') from pg_roles where rolname = $1", b.User); err == nil && len(row) > 0 {
				set = row[0][0]
			}
		}
		if !yes(set) {
			b.step("Sessions of grants may fill no disk: only a superuser can set this limit, or whom one lets.", "GRANT SET ON PARAMETER temp_file_limit TO "+user)
		}
	}
	if err := b.lets(ctx, fresh); err != nil || !b.Rows {
		return err
	}
	may := "false"
	if rows, err := b.on.query(ctx, "select has_database_privilege(rolname, current_database(), 'CREATE') from pg_roles where rolname = $1", b.User); err != nil {
		return err
	} else if len(rows) > 0 {
		may = rows[0][0]
	}
	if !yes(may) {
		b.step("A row filter is a view in a schema of its own, which the login makes and drops.", "GRANT CREATE ON DATABASE "+ident(b.plan.Database)+" TO "+user)
	}
	return nil
}

// lets plans that the login and grants may connect at all.
func (b *planner) lets(ctx context.Context, fresh bool) error {
	row, err := b.on.one(ctx, "select has_database_privilege('public', current_database(), 'CONNECT')")
	if err != nil {
		return err
	}
	may := yes(row[0]) && !b.Harden
	if !may && !fresh {
		row, err := b.on.one(ctx, `select bool_and(exists (select 1 from aclexplode(d.datacl) a join pg_roles r on r.oid = a.grantee
			where r.rolname = name and a.privilege_type = 'CONNECT')) from pg_database d, unnest($1::text[]) name where d.datname = current_database()`, array([]string{groupRole, b.User}))
		if err != nil {
			return err
		}
		may = yes(row[0])
	}
	if !may {
		b.step("Both may connect to this database, also when not everybody may.",
			"GRANT CONNECT ON DATABASE "+ident(b.plan.Database)+" TO "+ident(b.User)+", "+groupRole)
	}
	return nil
}

// Those who own something that can be granted. What belongs to extensions is
// no table of anybody's.
const ownersSQL = `
select distinct r.oid, r.rolname, r.rolsuper, (select md5(p.prosrc) from pg_proc p join pg_namespace n on n.oid = p.pronamespace
  where n.nspname = 'daypass' and p.proname = 'grant_by_' || r.oid and p.proowner = r.oid and has_function_privilege($1, p.oid, 'EXECUTE'))
from (
  select relowner, oid, 'pg_class'::regclass, relnamespace from pg_class where relkind in ('r', 'p', 'v', 'm', 'f', 'S')
  union all select proowner, oid, 'pg_proc'::regclass, pronamespace from pg_proc
  union all select nspowner, oid, 'pg_namespace'::regclass, oid from pg_namespace
) o(owner, object, class, schema)
join pg_namespace n on n.oid = o.schema join pg_roles r on r.oid = o.owner
where n.nspname !~ '^(pg_|information_schema$|daypass)' and r.rolname <> all($2::text[]) and r.rolname !~ '^pg_'
  and not exists (select 1 from pg_depend d where d.classid = o.class and d.objid = o.object and d.deptype = 'e')
order by 2`

// owners plans a function for each owner that grants what is the owner's to
// scope roles, so that the login itself owns nothing.
func (b *planner) owners(ctx context.Context) error {
	rows, err := b.on.query(ctx, "select 1 from pg_namespace where nspname = 'daypass'")
	if err != nil {
		return err
	}
	user := ident(b.User)
	there := len(rows) > 0
	known := b.User
	if rows, err = b.on.query(ctx, "select 1 from pg_roles where rolname = $1", b.User); err != nil {
		return err
	} else if len(rows) == 0 {
		known = "public" // whoever is not there yet has nothing
	}
	owners, err := b.on.query(ctx, ownersSQL, known, array([]string{b.User}))
	if err != nil {
		return err
	}
	if !there && len(owners) > 0 {
		b.step("A schema for what owners let Daypass do.", "CREATE SCHEMA daypass", "REVOKE ALL ON SCHEMA daypass FROM PUBLIC", "GRANT USAGE ON SCHEMA daypass TO "+user)
	}
	for _, o := range owners {
		name := "grant_by_" + o[0]
		body := strings.Replace(grantBySQL, "OWNERFUNCTION", ident(name), 1)
		source := strings.Split(body, "$daypass$")[1]
		row, err := b.on.one(ctx, "select md5($1)", source)
		if err != nil {
			return err
		}
		if row[0] == o[3] {
			continue
		}
		why := o[1] + " lets Daypass grant what is its own, to scope roles alone."
		if yes(o[2]) {
			why += " It is a superuser: better give its tables an owner that is none."
		}
		full := "daypass." + ident(name) + "(text, text, oid, text, text[], boolean)"
		b.step(why, strings.TrimSpace(body), "ALTER FUNCTION "+full+" OWNER TO "+ident(o[1]),
			"REVOKE ALL ON FUNCTION "+full+" FROM PUBLIC", "GRANT EXECUTE ON FUNCTION "+full+" TO "+user)
	}
	return nil
}

func (b *planner) hba() {
	from := b.Gateways
	if len(from) == 0 {
		from = []string{"127.0.0.1/32"}
	}
	how := "hostssl"
	if b.plan.server.at.sslmode == "disable" {
		how = "host"
	}
	for _, address := range from {
		b.plan.HBA = append(b.plan.HBA,
			fmt.Sprintf("%-7s %s %s %s scram-sha-256", how, b.plan.Database, b.User, address),
			fmt.Sprintf("%-7s %s +%s %s scram-sha-256", how, b.plan.Database, groupRole, address))
	}
	b.plan.HBA = append(b.plan.HBA, fmt.Sprintf("%-7s all +%s all reject", "host", groupRole), fmt.Sprintf("%-7s all +%s reject", "local", groupRole))
}
