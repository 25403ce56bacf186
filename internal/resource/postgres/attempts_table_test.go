package pgkind

// What somebody with "SELECT on public.orders" tries, one after the other. In a
// text $ROLE is the role of the grant, $SCOPE the one that it shares with grants
// of the same scope, $OTHER the role of another grant, $DB the database, $PORT
// that of the server.

// escapes are those that work in some design (POSTGRES.md 2.1).
var escapes = []attempt{
	{name: "RESET ROLE; SET ROLE to another grant's role", sql: []string{"reset role", "set role \"$OTHER\"", "select current_user"}, got: "^$OTHER$"},
	{name: "set_config('role', …)", sql: []string{"select set_config('role', 'none', false)", "select set_config('role', 'app_owner', false)", "select card from secrets"}, got: secret},
	{name: "SET SESSION AUTHORIZATION DEFAULT", sql: []string{"set session authorization app_owner", "set session authorization default", "select card from secrets"}, got: secret},
	{name: "session_authorization by set_config", sql: []string{"select set_config('session_authorization', 'app_owner', false)", "select set_config('session_authorization', 'default', false)", "select card from secrets"}, got: secret},
	{name: "DISCARD ALL, then read", sql: []string{"discard all", "select card from secrets"}, got: secret},
	{name: "SECURITY DEFINER function that PUBLIC may call", sql: []string{"select sd_secret()"}, got: secret},
	{name: "owner-rights view granted to PUBLIC", sql: []string{"select card from v_public"}, got: secret},
	{name: "temporary table in front of what a SECURITY DEFINER function reads", sql: []string{"create temp table admins as select '$ROLE'::text as name", "select '$ROLE'::text as name into temp admins", "grant select on admins to public", "select sd_sp()"}, got: secret},
	{name: "COPY orders TO STDOUT", act: copiesOut},
	{name: "lo_from_bytea", sql: []string{"select lo_from_bytea(0, 'left')"}, sees: "select exists (select from pg_largeobject_metadata)", undo: "select lo_unlink(oid) from pg_largeobject_metadata"},
	{name: "dblink to somewhere else", act: callsOut},
	{name: "dblink to the same server with a password that is known", sql: []string{"select who from dblink('host=127.0.0.1 port=$PORT dbname=$DB user=bob password=b', 'select current_user::text') d (who text)"}, got: "^bob$"},
	{name: "DO", sql: []string{"do $$ begin perform set_config('my.done', 'done', false); end $$", "select current_setting('my.done', true)"}, got: "^done$"},
	{name: "CREATE TEMP TABLE", sql: []string{"create temp table left_behind (a int)"}, sees: "select exists (select from pg_class where relname = 'left_behind')"},
	{name: "CREATE FUNCTION in pg_temp", sql: []string{"create function pg_temp.left_behind() returns int language sql as 'select 7'"}, sees: "select exists (select from pg_proc where proname = 'left_behind')"},
	{name: "source of functions (pg_proc.prosrc)", sql: []string{"select prosrc from pg_proc where proname = 'sd_secret'", "select pg_get_functiondef(oid) from pg_proc where proname = 'sd_secret'", "select pg_get_function_sqlbody(oid) from pg_proc where proname = 'sd_secret'"}, got: "from secrets"},
	{name: "secrets in the settings of roles (pg_db_role_setting, pg_roles, pg_user)", sql: []string{"select string_agg(setconfig::text, ' ') from pg_db_role_setting", "select string_agg(rolconfig::text, ' ') from pg_roles", "select string_agg(useconfig::text, ' ') from pg_user"}, got: "guc secret"},
	{name: "names of all tables and columns", sql: []string{"select attname from pg_attribute where attrelid = 'secrets'::regclass and attname = 'card'"}, got: "^card$"},
	{name: "RESET ROLE; another grant's query text", sql: []string{"reset role", "select string_agg(query, ' ') from pg_stat_activity where usename = '$OTHER'"}, got: "query of the other"},
	{name: "RESET ROLE; pg_terminate_backend on another grant's session", sql: []string{"reset role", "select pg_terminate_backend(pid) from pg_stat_activity where usename = '$OTHER'"}, sees: otherGone},
	{name: "LISTEN", sql: []string{"listen stolen", "select pg_listening_channels()"}, got: "^stolen$"},
	{name: "NOTIFY to the application", act: notifies("notify app_channel, 'forged'", "select pg_notify('app_channel', 'forged')")},
	{name: "advisory lock of the application", sql: []string{"select pg_advisory_lock(42)", "select pg_try_advisory_lock_shared(42)"}, sees: "select not pg_try_advisory_lock(42)"},
	{name: "LOCK orders IN ACCESS SHARE MODE", sql: []string{"begin", "lock table orders in access share mode"}, sees: "select exists (select from pg_locks where relation = 'orders'::regclass and mode = 'AccessShareLock' and granted)"},
	{name: "SET statement_timeout = 0", sql: []string{"set statement_timeout = '7d'", "set statement_timeout = 0", "select set_config('statement_timeout', '0', false)", "update pg_settings set setting = '0' where name = 'statement_timeout'", "show statement_timeout"}, got: "^(0|7d)$"},
	{name: "SET default_transaction_read_only = off", sql: []string{"set default_transaction_read_only = off", "select set_config('default_transaction_read_only', 'off', false)", "set session characteristics as transaction read write", "show default_transaction_read_only"}, got: "^off$"},
	{name: "SET work_mem = '10GB'", sql: []string{"set work_mem = '10GB'", "select set_config('work_mem', '10GB', false)", "show work_mem"}, got: "^10GB$"},
	{name: "SET application_name to that of another", sql: []string{"set application_name = 'payroll'"}, sees: "select exists (select from pg_stat_activity where application_name = 'payroll')"},
	{name: "ALTER ROLE self PASSWORD", sql: []string{"alter role \"$ROLE\" password 'known'", "alter user current_user password 'known'"}, act: logsInDirectly},
	{name: "RESET ROLE; ALTER ROLE self PASSWORD", sql: []string{"reset role", "alter role \"$ROLE\" password 'known'", "alter role session_user password 'known'"}, act: logsInDirectly},
	{name: "ALTER ROLE self SET", sql: []string{"alter role \"$ROLE\" set geqo_seed = 0.5", "alter role current_user set geqo_seed = 0.5"}, sees: "select exists (select from pg_db_role_setting where setconfig::text ~ 'geqo_seed')", undo: "alter role \"$ROLE\" reset geqo_seed"},
	{name: "ALTER DEFAULT PRIVILEGES of self", sql: []string{"alter default privileges grant select on tables to bob"}, sees: "select exists (select from pg_default_acl where defaclacl::text ~ 'bob=r/')", undo: "alter default privileges for role \"$ROLE\" revoke select on tables from bob"},
	{name: "PREPARE TRANSACTION", sql: []string{"begin", "select 1 from orders", "prepare transaction 'stays'"}, sees: "select exists (select from pg_prepared_xacts where gid = 'stays')", undo: "rollback prepared 'stays'"},
	{name: "transaction numbers used up in a DO loop", act: burns(1, "do $$ begin for i in 1..50 loop begin perform txid_current(); perform lo_create(0); exception when others then null; end; end loop; end $$")},
	{name: "size of another table", sql: []string{"select pg_total_relation_size('secrets') > 0"}, got: "^t$"},
	{name: "NOTIFY within DO", act: notifies("do $$ begin notify app_channel, 'forged'; end $$", "do $$ begin perform pg_notify('app_channel', 'forged'); end $$")},
	{name: "DECLARE … WITH HOLD", sql: []string{"begin", "declare c cursor with hold for select id from orders order by id", "commit", "fetch 1 from c"}, got: "^1$"},
	{name: "processor time (generate_series)", sql: []string{"select count(*) from generate_series(1, 2000000)"}, got: "^2000000$"},
	{name: "transaction numbers used up without DO", act: burns(25, "select txid_current()", "select pg_current_xact_id()", "select pg_logical_emit_message(true, 'a', 'b')")},
	{name: "two statements in one query", sql: []string{"select count(*) from orders; select 'second'"}, act: twoResults},
	{name: "SELECT INTO TEMP", sql: []string{"select * into temp left_behind from orders"}, sees: "select exists (select from pg_class where relname = 'left_behind')"},
}

// walls are those that work in no design.
var walls = []attempt{
	{name: "SELECT of another table", sql: []string{"select card from secrets"}, got: secret},
	{name: "INSERT, UPDATE, DELETE", sql: []string{"insert into orders values (-7)", "update orders set total = -7 where id = 1", "delete from orders where id = 2"}, sees: "select count(*) <> 1000 or min(total) < 0 from orders", undo: "delete from orders where id = -7; update orders set total = 1 where id = 1; insert into orders values (2, 'c2', 2, 'card 2') on conflict do nothing"},
	{name: "SELECT FOR UPDATE", sql: []string{"begin", "begin read write", "select id from orders where id = 1 for update"}, sees: "select not exists (select from orders where id = 1 for update skip locked)"},
	{name: "RESET ROLE, then read", sql: []string{"reset role", "select card from secrets"}, got: secret},
	{name: "RESET ALL, then read", sql: []string{"reset all", "select card from secrets"}, got: secret},
	{name: "SET ROLE to the owner", sql: []string{"set role app_owner", "set local role app_owner", "select card from secrets"}, got: secret},
	{name: "view that is not granted", sql: []string{"select card from v_private"}, got: secret},
	{name: "query_to_xml of another table", sql: []string{"select query_to_xml('select card from secrets', true, false, '')", "select table_to_xml('secrets', true, false, '')"}, got: secret},
	{name: "function that runs any SQL with the caller's rights", sql: []string{"select run_any('select card from secrets')"}, got: secret},
	{name: "COPY … TO PROGRAM", sql: []string{"copy orders to program 'cat > $DIR/by_program'"}, sees: "select (pg_stat_file('$DIR/by_program', true)).size > 0", undo: "copy (select 1) to program 'cat > /dev/null; rm -f $DIR/by_program'"},
	{name: "COPY FROM a file of the server", sql: []string{"create temp table lines (l text)", "copy lines from '$DIR/data/PG_VERSION'", "select l from lines"}, got: `^1\d$`},
	{name: "COPY TO a file of the server", sql: []string{"copy orders to '$DIR/by_copy'"}, sees: "select (pg_stat_file('$DIR/by_copy', true)).size > 0", undo: "copy (select 1) to program 'rm -f $DIR/by_copy'"},
	{name: "lo_import", sql: []string{"select lo_import('$DIR/data/PG_VERSION')"}, sees: "select exists (select from pg_largeobject_metadata)", undo: "select lo_unlink(oid) from pg_largeobject_metadata"},
	{name: "pg_read_file", sql: []string{"select pg_read_file('PG_VERSION')", "select pg_read_binary_file('PG_VERSION')::text"}, got: `^(1\d\s*|\\x313\d0a)$`},
	{name: "pg_ls_dir", sql: []string{"select pg_ls_dir('.')"}, got: "^[a-zA-Z_]+$"},
	{name: "file_fdw", sql: []string{"create foreign table outside (l text) server files options (filename '$DIR/data/PG_VERSION')", "select l from outside"}, got: `^1\d$`, undo: "drop foreign table if exists outside"},
	{name: "CREATE SERVER of postgres_fdw", sql: []string{"create server away foreign data wrapper postgres_fdw"}, sees: "select exists (select from pg_foreign_server where srvname = 'away')", undo: "drop server if exists away"},
	{name: "CREATE EXTENSION that is trusted", sql: []string{"create extension lo"}, sees: "select exists (select from pg_extension where extname = 'lo')", undo: "drop extension if exists lo"},
	{name: "CREATE TABLE in public", sql: []string{"create table public.left_behind (a int)"}, sees: "select exists (select from pg_class where relname = 'left_behind')", undo: "drop table if exists left_behind"},
	{name: "CREATE SCHEMA", sql: []string{"create schema left_behind"}, sees: "select exists (select from pg_namespace where nspname = 'left_behind')", undo: "drop schema if exists left_behind"},
	{name: "verifiers of passwords (pg_authid, pg_shadow)", sql: []string{"select string_agg(rolpassword, ' ') from pg_authid", "select string_agg(passwd, ' ') from pg_shadow"}, got: "SCRAM"},
	{name: "query text of the application", sql: []string{"select string_agg(query, ' ') from pg_stat_activity where usename = 'app'", "select string_agg(query, ' ') from pg_stat_statements"}, got: "query of the app"},
	{name: "pg_terminate_backend on the application", sql: []string{"select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'"}, sees: "select not exists (select from pg_stat_activity where usename = 'app')"},
	{name: "pg_terminate_backend on another grant's session", sql: []string{"select pg_terminate_backend(pid) from pg_stat_activity where usename = '$OTHER'"}, sees: otherGone},
	{name: "LOCK orders IN ACCESS EXCLUSIVE MODE", sql: []string{"begin", "lock table orders in access exclusive mode", "lock table orders"}, sees: "select exists (select from pg_locks where relation = 'orders'::regclass and mode = 'AccessExclusiveLock')"},
	{name: "SET temp_file_limit", sql: []string{"set temp_file_limit = -1", "select set_config('temp_file_limit', '-1', false)", "select setting || setting from pg_settings where name = 'temp_file_limit' and source = 'session'"}, got: "^-1-1$"},
	{name: "SET log_statement = none", sql: []string{"set log_statement = none", "select set_config('log_statement', 'none', false)", "select source from pg_settings where name = 'log_statement'"}, got: "^session$"},
	{name: "ALTER ROLE self VALID UNTIL 'infinity'", sql: []string{"alter role \"$ROLE\" valid until 'infinity'"}, sees: "select rolvaliduntil = 'infinity' from pg_roles where rolname = '$ROLE'"},
	{name: "GRANT of the own role to an accomplice", sql: []string{"grant \"$ROLE\" to bob", "grant \"$SCOPE\" to bob"}, sees: joined, undo: "revoke \"$ROLE\", \"$SCOPE\" from bob"},
	{name: "RESET ROLE; GRANT of the own role to many", sql: []string{"reset role", "grant \"$ROLE\" to bob, app with admin option", "grant \"$SCOPE\" to bob, app with admin option"}, sees: joined, undo: "revoke \"$ROLE\", \"$SCOPE\" from bob, app"},
	{name: "replication slot", sql: []string{"select pg_create_physical_replication_slot('left_behind')", "select pg_create_logical_replication_slot('left_behind', 'test_decoding')"}, sees: "select exists (select from pg_replication_slots)", undo: "select pg_drop_replication_slot(slot_name) from pg_replication_slots"},
	{name: "LOAD of a library", sql: []string{"load 'auto_explain'", "select count(*) > 0 from pg_settings where name = 'auto_explain.log_analyze'"}, got: "^t$"},
	{name: "EXPLAIN of another table", sql: []string{"explain select * from secrets"}, got: "rows="},
	{name: "pg_stats of another table", sql: []string{"select most_common_vals::text from pg_stats where tablename = 'secrets' and attname = 'card'"}, got: "the secret"},
	{name: "setting of another session (current_setting)", sql: []string{"select current_setting('app.api_key', true)", "select setting from pg_settings where name = 'app.api_key'"}, got: "guc secret"},
	{name: "change within WITH", sql: []string{"with x as (update orders set total = -7 where id = 1 returning 1) select * from x"}, sees: "select min(total) < 0 from orders", undo: "update orders set total = 1 where id = 1"},
}

// further are not in that table.
var further = []attempt{
	{name: "secret in a setting of the database", sql: []string{"select current_setting('app.region_key', true)"}, got: "region secret"},
	{name: "something left behind that belongs to the shared scope role", sql: []string{"set role \"$SCOPE\"", "select set_config('role', '$SCOPE', false)", "select lo_create(0)"}, sees: "select exists (select from pg_largeobject_metadata where lomowner::regrole::text = '$SCOPE')", undo: "select lo_unlink(oid) from pg_largeobject_metadata"},
	{name: "write-ahead log filled (pg_logical_emit_message)", sql: []string{"select pg_logical_emit_message(false, 'a', repeat('x', 1000000))", "select pg_logical_emit_message(false, 'a', 'b'::bytea)"}, got: "^[0-9A-F]+/[0-9A-F]+$"},
}

// pastFilters are tried with the first 500 of the 1000 rows of orders.
var pastFilters = []attempt{
	{name: "the table by its full name", sql: []string{"select count(*) from public.orders", "select count(*) from only public.orders"}, got: "^1000$"},
	{name: "another search_path, then the name alone", sql: []string{"set search_path = public", "select set_config('search_path', 'public', false)", "select count(*) from orders"}, got: "^1000$"},
	{name: "a condition that is looked at before the filter (a cheap function of one's own)", sql: []string{"create function pg_temp.tell(c text) returns bool language plpgsql cost 0.0000001 as $$ begin if substr(c, 6)::int > 500 then perform set_config('my.seen', c, false); end if; return true; end $$", "select count(*) from public.orders where pg_temp.tell(card)", "select count(*) from orders where pg_temp.tell(card)", "select current_setting('my.seen', true)"}, got: "^card "},
	{name: "an error that shows a value", act: showsInError},
	{name: "the role that reads for the filter", sql: []string{"set role \"$READER\"", "select set_config('role', '$READER', false)", "select count(*) from public.orders"}, got: "^1000$"},
	{name: "another view in place of the filter", sql: []string{"create or replace view \"$READER\".orders as select * from public.orders", "alter view \"$READER\".orders set (security_barrier = false)"}, sees: "select not exists (select from pg_class where relnamespace = '$READER'::regnamespace and relname = 'orders' and reloptions = '{security_barrier=true}')", undo: "alter view \"$READER\".orders set (security_barrier = true)"},
	{name: "COPY of the table", sql: []string{"copy public.orders to stdout", "create temp table all_of_it as select * from public.orders", "select count(*) from all_of_it"}, got: "^1000$"},
	{name: "statistics of the table (pg_stats)", sql: []string{"select histogram_bounds::text from pg_stats where tablename = 'orders' and attname = 'card'"}, got: "card"},
	{name: "a plan that counts rows which are not shown (EXPLAIN ANALYZE)", sql: []string{"explain (analyze, timing off) select * from orders where id = 700", "explain (analyze, timing off) select * from public.orders where id = 700"}, got: "Rows Removed by Filter: 1|actual rows=1"},
	{name: "the same by a function that runs any SQL", sql: []string{"select run_any('explain (analyze, timing off, format json) select * from orders where id = 700')"}, got: `"Rows Removed by Filter": 1|"Actual Rows": 1`},
	{name: "how many rows the table has (pg_class.reltuples)", sql: []string{"select reltuples::int from pg_class where oid = 'public.orders'::regclass", "select reltuples::int from pg_class where relname = 'orders' and relkind = 'r'"}, got: "^1000$"},
}

// nobodys work for nobody, not even for a superuser.
var nobodys = map[string]string{
	"setting of another session (current_setting)": "a session has its own settings",
}

const (
	secret    = "the secret"
	otherGone = "select not exists (select from pg_stat_activity where usename = '$OTHER')"
	joined    = "select exists (select from pg_auth_members where member = 'bob'::regrole and roleid::regrole::text in ('$ROLE', '$SCOPE'))"
)
