CREATE OR REPLACE FUNCTION daypass.OWNERFUNCTION(role text, sort text, object oid, privilege text, columns text[], take boolean)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $daypass$
DECLARE
  me oid := (SELECT oid FROM pg_roles WHERE rolname = current_user);
  system text := '^(pg_|information_schema$|daypass)';
  what text;
  list text := '';
BEGIN
  IF role !~ '^daypass_[sr]_[0-9a-f]{20}$' OR NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role
      AND NOT (rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)) THEN
    RAISE EXCEPTION '% is not a scope role of Daypass', role;
  END IF;
  what := CASE sort
    WHEN 'TABLE' THEN (SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.oid = object AND c.relowner = me AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ system)
    WHEN 'SEQUENCE' THEN (SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.oid = object AND c.relowner = me AND c.relkind = 'S' AND n.nspname !~ system)
    WHEN 'ROUTINE' THEN (SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
      WHERE p.oid = object AND p.proowner = me AND n.nspname !~ system)
    WHEN 'SCHEMA' THEN (SELECT quote_ident(nspname) FROM pg_namespace WHERE oid = object AND nspowner = me AND nspname !~ system)
    WHEN 'DATABASE' THEN (SELECT quote_ident(datname) FROM pg_database WHERE oid = object AND datdba = me)
  END;
  IF what IS NULL THEN
    RAISE EXCEPTION 'the object % is none of %', object, current_user;
  END IF;
  IF NOT coalesce(CASE WHEN take THEN privilege = 'ALL' ELSE privilege = ANY (CASE sort
      WHEN 'TABLE' THEN ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE'] WHEN 'ROUTINE' THEN ARRAY['EXECUTE']
      WHEN 'DATABASE' THEN ARRAY['CONNECT'] ELSE ARRAY['USAGE'] END) END, false) THEN
    RAISE EXCEPTION '% is not granted to scope roles', privilege;
  END IF;
  IF cardinality(columns) > 0 THEN
    SELECT ' (' || string_agg(quote_ident(c), ', ') || ')' INTO list FROM unnest(columns) c;
  END IF;
  EXECUTE format(CASE WHEN take THEN 'REVOKE %s%s ON %s %s FROM %I' ELSE 'GRANT %s%s ON %s %s TO %I' END, privilege, list, sort, what, role);
END $daypass$
