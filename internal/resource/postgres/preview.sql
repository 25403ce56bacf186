-- What a role would reach that has the scope's own privileges and, as every
-- role does, those of PUBLIC. $1: tables of the scope, $2: their schemas,
-- $3: functions of the scope.
with usable as (
  select oid, nspname from pg_namespace
  where nspname !~ '^pg_' and nspname <> 'information_schema'
    and (has_schema_privilege('public', oid, 'USAGE') or nspname = any($2::text[]))
), relations as (
  select u.nspname || '.' || c.relname as name
  from pg_class c join usable u on u.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'v', 'm', 'f') and c.oid <> all($1::oid[])
    and (has_table_privilege('public', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')
      or has_any_column_privilege('public', c.oid, 'SELECT, INSERT, UPDATE'))
), owners as (
  select u.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' as name
  from pg_proc p join usable u on u.oid = p.pronamespace
  where p.prosecdef and p.oid <> all($3::oid[]) and has_function_privilege('public', p.oid, 'EXECUTE')
), risky as (
  select p.oid
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace
  where (n.nspname = 'pg_catalog' or n.oid in (select oid from usable))
    and p.proname ~ '^(lo_|dblink|pg_(try_)?advisory_|pg_notify$|set_config$|(query|table|cursor|schema|database)_to_xml|txid_current|pg_current_xact_id|pg_terminate_backend$|pg_cancel_backend$|pg_export_snapshot$|pg_logical|pg_create_|pg_replication_|pg_read_|pg_ls_|pg_stat_file$|lowrite$|loread$|pg_sleep|postgres_fdw_|ts_stat$)'
    and has_function_privilege('public', p.oid, 'EXECUTE')
)
select json_build_object(
  'relations', (select count(*) from relations) + cardinality($1::oid[]),
  'relation_names', (select coalesce(json_agg(name order by name), '[]') from (select name from relations order by name limit 20) r),
  'owner_functions', (select count(*) from owners),
  'owner_function_names', (select coalesce(json_agg(name order by name), '[]') from (select name from owners order by name limit 20) o),
  'risky_functions', (select count(*) from risky),
  'languages', (select coalesce(json_agg(lanname order by lanname), '[]') from pg_language
    where lanname not in ('internal', 'c', 'sql') and lanpltrusted and has_language_privilege('public', oid, 'USAGE')),
  'connect', (select coalesce(json_agg(datname order by datname), '[]') from pg_database
    where datallowconn and (datname = current_database() or has_database_privilege('public', oid, 'CONNECT'))),
  'temp', has_database_privilege('public', current_database(), 'TEMP'))
