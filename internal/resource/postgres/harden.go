package pgkind

import (
	"context"
	"strings"
)

// Functions that everybody may call and that reach further than reading: other
// sessions, outgoing messages, large objects, settings, transaction numbers, the
// write-ahead log, the source of functions. Those that a server does not have
// are left out.
var reaching = []string{
	"pg_notify(text, text)", "lo_creat(integer)", "lo_create(oid)", "lo_from_bytea(oid, bytea)", "lo_open(oid, integer)", "lowrite(integer, bytea)", "lo_put(oid, bigint, bytea)", "lo_unlink(oid)",
	"pg_advisory_lock(bigint)", "pg_advisory_lock(integer, integer)", "pg_advisory_lock_shared(bigint)", "pg_advisory_lock_shared(integer, integer)",
	"pg_advisory_xact_lock(bigint)", "pg_advisory_xact_lock(integer, integer)", "pg_advisory_xact_lock_shared(bigint)", "pg_advisory_xact_lock_shared(integer, integer)",
	"pg_try_advisory_lock(bigint)", "pg_try_advisory_lock(integer, integer)", "pg_try_advisory_lock_shared(bigint)", "pg_try_advisory_lock_shared(integer, integer)",
	"pg_try_advisory_xact_lock(bigint)", "pg_try_advisory_xact_lock(integer, integer)", "pg_try_advisory_xact_lock_shared(bigint)", "pg_try_advisory_xact_lock_shared(integer, integer)",
	"set_config(text, text, boolean)", "query_to_xml(text, boolean, boolean, text)", "query_to_xmlschema(text, boolean, boolean, text)", "query_to_xml_and_xmlschema(text, boolean, boolean, text)",
	"pg_terminate_backend(integer, bigint)", "pg_cancel_backend(integer)", "txid_current()", "pg_current_xact_id()", "pg_export_snapshot()", "ts_stat(text)", "ts_stat(text, text)",
	"pg_logical_emit_message(boolean, text, text)", "pg_logical_emit_message(boolean, text, bytea)",
	"pg_logical_emit_message(boolean, text, text, boolean)", "pg_logical_emit_message(boolean, text, bytea, boolean)", // since 17
	"pg_get_functiondef(oid)", "pg_get_function_sqlbody(oid)",
}

// withheld are columns of the catalog in which secrets are found. Who selects
// all columns of such a table fails from then on; psql, pg_dump and JDBC name
// those that they need.
var withheld = []struct {
	table   string
	columns []string
	why     string
}{
	{"pg_roles", []string{"rolconfig"}, "Settings of roles often hold secrets, and this view shows them."},
	{"pg_user", []string{"useconfig"}, "The same for the view of logins."},
	{"pg_proc", []string{"prosrc", "probin", "prosqlbody"}, "The source of functions often holds secrets."},
}

// System columns are in none of the lists of columns, and are asked for by
// pg_dump and other tools.
const othersSQL = `
select string_agg(quote_ident(a.attname), ', ' order by a.attnum) from pg_attribute a
where a.attrelid = ('pg_catalog.' || $1)::regclass and a.attname <> all ($2::text[]) and (a.attnum > 0 or a.attname in ('tableoid', 'xmin')) and not a.attisdropped
  and has_table_privilege('public', a.attrelid, 'SELECT')`

// Who uses the database today: they get back what is taken from everybody.
const usersSQL = `
select rolname from pg_roles where (rolcanlogin or oid in (select relowner from pg_class) or oid in (select proowner from pg_proc))
  and not rolsuper and rolname !~ '^(pg_|daypass_)' and rolname <> $1 order by 1`

const schemasSQL = `
select n.nspname, has_schema_privilege('public', n.oid, 'CREATE'), exists (select 1 from pg_proc p where p.pronamespace = n.oid and has_function_privilege('public', p.oid, 'EXECUTE'))
from pg_namespace n where n.nspname !~ '^(pg_|information_schema$|daypass)' order by 1`

// harden plans to take from PUBLIC, which every role of a grant is part of,
// what grants should not have, and to give it to those who use the database.
func (b *planner) harden(ctx context.Context) error {
	rows, err := b.on.query(ctx, usersSQL, b.User)
	if err != nil {
		return err
	}
	users := column(rows)
	for i := range users {
		users[i] = ident(users[i])
	}
	to := strings.Join(users, ", ")
	move := func(why, what, from string) {
		sql := []string{"REVOKE " + what + " " + from + " FROM PUBLIC"}
		if to != "" {
			sql = append(sql, "GRANT "+what+" "+from+" TO "+to)
		}
		b.step(why, sql...)
	}
	row, err := b.on.one(ctx, "select has_database_privilege('public', current_database(), 'TEMP'), has_language_privilege('public', 'plpgsql', 'USAGE'), has_table_privilege('public', 'pg_catalog.pg_db_role_setting', 'SELECT')")
	if err != nil {
		return err
	}
	if yes(row[0]) {
		move("Temporary tables shadow names and fill disks.", "TEMP", "ON DATABASE "+ident(b.plan.Database))
	}
	if err := b.databases(ctx, move); err != nil {
		return err
	}
	if yes(row[1]) {
		move("Without a language there is no DO block and no temporary function, so that what the gateway refuses cannot hide in one.", "USAGE", "ON LANGUAGE plpgsql")
	}
	if err := b.functions(ctx, move, to); err != nil {
		return err
	}
	if yes(row[2]) {
		move("Settings of roles and databases often hold secrets.", "SELECT", "ON pg_catalog.pg_db_role_setting")
	}
	if err := b.columns(ctx, to); err != nil {
		return err
	}
	return b.surplus(ctx)
}

// columns takes single columns of the catalog from PUBLIC.
func (b *planner) columns(ctx context.Context, to string) error {
	both := ident(b.User)
	if to != "" {
		both += ", " + to
	}
	for _, w := range withheld {
		row, err := b.on.one(ctx, othersSQL, w.table, array(w.columns))
		if err != nil {
			return err
		}
		if row[0] == "" {
			continue
		}
		from := " ON pg_catalog." + w.table
		b.step(w.why, "REVOKE SELECT"+from+" FROM PUBLIC", "GRANT SELECT ("+row[0]+")"+from+" TO PUBLIC", "GRANT SELECT"+from+" TO "+both)
	}
	return nil
}

func (b *planner) databases(ctx context.Context, move func(why, what, from string)) error {
	rows, err := b.on.query(ctx, "select datname from pg_database where datallowconn and has_database_privilege('public', oid, 'CONNECT') order by 1")
	if err != nil {
		return err
	}
	for _, name := range column(rows) {
		move("Roles of grants connect to their own database and to no other: "+name+".", "CONNECT", "ON DATABASE "+ident(name))
	}
	return nil
}

func (b *planner) functions(ctx context.Context, move func(why, what, from string), to string) error {
	schemas, err := b.on.query(ctx, schemasSQL)
	if err != nil {
		return err
	}
	for _, s := range schemas {
		if yes(s[1]) {
			move("Who may create in a schema can put something in front of others' names.", "CREATE", "ON SCHEMA "+ident(s[0]))
		}
		if yes(s[2]) {
			move("Functions are everybody's unless they are taken back, those with their owner's rights among them: "+s[0]+".", "EXECUTE", "ON ALL ROUTINES IN SCHEMA "+ident(s[0]))
		}
	}
	owners, err := b.on.query(ctx, ownersSQL, "public", array([]string{b.User}))
	if err != nil {
		return err
	}
	for _, o := range owners {
		row, err := b.on.one(ctx, `select exists (select 1 from pg_default_acl where defaclrole = $1::oid and defaclobjtype = 'f' and defaclnamespace = 0
			and not exists (select 1 from aclexplode(defaclacl) where grantee = 0))`, o[0])
		if err != nil {
			return err
		}
		if yes(row[0]) {
			continue
		}
		on := "ALTER DEFAULT PRIVILEGES FOR ROLE " + ident(o[1])
		sql := []string{on + " REVOKE EXECUTE ON ROUTINES FROM PUBLIC"}
		if to != "" {
			sql = append(sql, on+" GRANT EXECUTE ON ROUTINES TO "+to)
		}
		b.step("The same for functions that "+o[1]+" makes from now on.", sql...)
	}
	rows, err := b.on.query(ctx, "select f from unnest($1::text[]) f where to_regprocedure(f) is not null and has_function_privilege('public', to_regprocedure(f), 'EXECUTE')", array(reaching))
	if err != nil || len(rows) == 0 {
		return err
	}
	both := ident(b.User)
	if to != "" {
		both += ", " + to
	}
	list := strings.Join(column(rows), ", pg_catalog.")
	b.step("What reaches further than reading: other sessions, messages, large objects, settings. (pg_dump with a grant needs set_config; leave that one out where it is wanted.)",
		"REVOKE EXECUTE ON FUNCTION pg_catalog."+list+" FROM PUBLIC", "GRANT EXECUTE ON FUNCTION pg_catalog."+list+" TO "+both)
	return nil
}

// Settings of the database that are an application's: those of PostgreSQL have no dot.
const sharedSettingsSQL = `
select distinct split_part(x, '=', 1) from pg_db_role_setting s, unnest(s.setconfig) x
where s.setrole = 0 and s.setdatabase in (0, (select oid from pg_database where datname = current_database())) and split_part(x, '=', 1) like '%.%' order by 1`

// surplus notes what only somebody who knows the database can decide.
func (b *planner) surplus(ctx context.Context) error {
	e, err := preview(ctx, b.on, found{})
	if err != nil {
		return err
	}
	if e.Relations > 0 {
		b.note("Everybody may read or change %s: %s. Every grant can too. Revoke what is not meant for everybody.", counted(e.Relations, "relation"), strings.Join(e.RelationNames, ", "))
	}
	rows, err := b.on.query(ctx, sharedSettingsSQL)
	if err != nil || len(rows) == 0 {
		return err
	}
	b.note("Every session in this database has the settings %s, sessions of grants too. If they are secrets, set them at the role that needs them: ALTER ROLE … IN DATABASE %s SET ….", strings.Join(column(rows), ", "), ident(b.plan.Database))
	return nil
}
