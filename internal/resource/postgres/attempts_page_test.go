package pgkind

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// leftOver is how many of the 77 may still work on a database that prepare
// hardened.
const leftOver = 8

// why says of each attempt that works what it gives, and what closes it.
var why = map[string]string{
	"SECURITY DEFINER function that PUBLIC may call":                           "`EXECUTE` is everybody's by default. `prepare` takes it back.",
	"owner-rights view granted to PUBLIC":                                      "It was granted to everybody by hand. `prepare` and the preview name it; only its owner knows whether it is meant.",
	"COPY orders TO STDOUT":                                                    "Reading what was granted, all at once. `max_rows` and `max_bytes` bound it.",
	"lo_from_bytea":                                                            "Everybody may make large objects. `prepare` takes the functions back.",
	"dblink to somewhere else":                                                 "Extensions give their functions to everybody. `prepare` takes them back.",
	"dblink to the same server with a password that is known":                  "The same functions, with another login's password; that of the grant's own role is known to nobody.",
	"source of functions (pg_proc.prosrc)":                                     "The catalog is everybody's. `prepare` takes the columns with the source, and the functions that print it.",
	"secrets in the settings of roles (pg_db_role_setting, pg_roles, pg_user)": "Everybody may read them, in one table and two views. `prepare` takes the table and the columns of the views.",
	"names of all tables and columns":                                          "Drivers and psql read the catalog to work at all. Names are no secret in PostgreSQL.",
	"NOTIFY to the application":                                                "The gate refuses `NOTIFY`; `pg_notify()` is a function within a `SELECT`. `prepare` takes it back.",
	"advisory lock of the application":                                         "Functions again, which `prepare` takes back.",
	"LOCK orders IN ACCESS SHARE MODE":                                         "The lock that every `SELECT` takes and keeps until its transaction ends. It holds up a change of the table, as a long `SELECT` does, and goes with the session.",
	"SET statement_timeout = 0":                                                "The gate puts a `SET` beyond the limit back; `set_config()` is a function. `prepare` takes it back. The end of the grant does not depend on it.",
	"SET default_transaction_read_only = off":                                  "`set_config()` again. What may be written is a question of privileges, and there are none.",
	"SET work_mem = '10GB'":                                                    "`set_config()` again. `prepare` takes it back.",
	"SET application_name to that of another":                                  "Any text is a name for a program. Who it was is in the name of the role, which cannot be changed, and in Daypass's record.",
	"size of another table":                                                    "PostgreSQL has sizes in the catalog too (`relpages`).",
	"processor time (generate_series)":                                         "A query that is allowed may be a long one. `statement_timeout` of the scope bounds it.",
	"transaction numbers used up without DO":                                   "By `txid_current()` or `pg_logical_emit_message()`, one for each statement. `prepare` takes them back.",
	"two statements in one query":                                              "Each is looked at, and each is recorded: two that are allowed give nothing that one does not.",

	"secret in a setting of the database":              "`ALTER DATABASE … SET` is a setting of every session in it, those of grants too. `prepare` names it; a secret belongs to the role that needs it (`ALTER ROLE … SET`).",
	"the same by a function that runs any SQL":         "The gate refuses `EXPLAIN`; a function that somebody made for everybody runs what it is given. `prepare` takes functions from everybody. It counts, and shows no values.",
	"how many rows the table has (pg_class.reltuples)": "Sizes and counts of tables stand in PostgreSQL's catalog for every login.",

	"something left behind that belongs to the shared scope role": "`set_config('role', …)` reaches the role whose privileges the grant has, and no other. `prepare` takes it, and the making of large objects.",
	"write-ahead log filled (pg_logical_emit_message)":            "Everybody may write messages into it. `prepare` takes the functions back.",
}

// since16 are the attempts whose outcome is another one since PostgreSQL 16.
var since16 = map[string]struct {
	older, newer [2]bool // as it is, and hardened
	why          string
}{
	"lo_from_bytea": {older: [2]bool{true, false}, why: "Large objects are not written in a transaction that is read-only, as those of this grant are. On a database that is not hardened `set_config()` makes them another first."},
	"something left behind that belongs to the shared scope role": {older: [2]bool{true, false}, why: "A grant's role inherits from the scope role `WITH SET FALSE`: it can no longer become it."},
}

// design is what the design of the gateway had measured, as it is and hardened,
// with a prototype; otherwise says how what is seen here comes to differ.
var (
	design = map[string][2]bool{
		"SECURITY DEFINER function that PUBLIC may call": {true, false}, "owner-rights view granted to PUBLIC": {true, true}, "COPY orders TO STDOUT": {true, true},
		"lo_from_bytea": {true, false}, "dblink to somewhere else": {true, false}, "dblink to the same server with a password that is known": {true, false},
		"source of functions (pg_proc.prosrc)": {true, true}, "secrets in the settings of roles (pg_db_role_setting, pg_roles, pg_user)": {true, false},
		"names of all tables and columns": {true, true}, "advisory lock of the application": {true, false}, "SET application_name to that of another": {true, true},
		"size of another table": {true, true}, "processor time (generate_series)": {true, true}, "transaction numbers used up without DO": {true, false},
		"two statements in one query": {true, true}, "SELECT INTO TEMP": {true, false},
	}
	otherwise = map[string]string{
		"source of functions (pg_proc.prosrc)":    "The design left the source readable; `prepare` came to withhold it.",
		"NOTIFY to the application":               "The design tried the statement alone; here the function is tried too.",
		"LOCK orders IN ACCESS SHARE MODE":        "The design's gate refused it; the gate lets it pass to whoever may select, because `pg_dump` begins with it.",
		"SET statement_timeout = 0":               "The design tried the statement alone; here `set_config()` is tried too.",
		"SET default_transaction_read_only = off": "The design tried the statement alone.",
		"SET work_mem = '10GB'":                   "The design tried the statement alone.",
		"SELECT INTO TEMP":                        "The design's gate let it pass; the gate reads `INTO` now.",
	}
)

func attemptsPage(t *testing.T, outcomes map[string][2]bool) string {
	t.Helper()
	var table, more, newer, filtered strings.Builder
	worked := [2]int{}
	for _, a := range append(append([]attempt{}, escapes...), walls...) {
		o := outcomes[a.name]
		for i := range o {
			if o[i] {
				worked[i]++
			}
		}
		said, differs := why[a.name], otherwise[a.name]
		if (o[0] || o[1]) != (said != "") {
			t.Errorf("%s works: %v, and the reason is %q", a.name, o, said)
		}
		if (o != design[a.name]) != (differs != "") {
			t.Errorf("%s works: %v, in the design: %v, and why it differs is %q", a.name, o, design[a.name], differs)
		}
		row(&table, a.name, o, strings.TrimSpace(said+" "+differs))
	}
	for _, a := range further {
		if why[a.name] == "" {
			t.Errorf("%s has no reason", a.name)
		}
		row(&more, a.name, outcomes[a.name], why[a.name])
	}
	for _, a := range pastFilters {
		o := outcomes[a.name]
		if (o[0] || o[1]) != (why[a.name] != "") {
			t.Errorf("%s works: %v, and the reason is %q", a.name, o, why[a.name])
		}
		row(&filtered, a.name, o, why[a.name])
	}
	for _, name := range slices.Sorted(maps.Keys(since16)) {
		row(&newer, name, since16[name].newer, since16[name].why)
	}
	if worked[1] > leftOver {
		t.Errorf("%d attempts work on a hardened database; at most %d may", worked[1], leftOver)
	}
	return fmt.Sprintf(`# Ways out of a grant, tried

Written by TestAttempts; change the attempts there, and write this page with

    go test ./internal/resource/postgres -run TestAttempts -update

A client at the gateway holds a grant of %[1]sSELECT%[1]s on %[1]spublic.orders%[1]s and tries %[2]d ways to get, change, hold or leave more than that, on a PostgreSQL with functions of their owner's
rights, a view for everybody, %[1]sdblink%[1]s, %[1]spostgres_fdw%[1]s, %[1]sfile_fdw%[1]s, %[1]spg_stat_statements%[1]s, secrets in settings, and an application and another grant at work in it.
What does not work as a simple query is tried in the extended protocol too.
"Works" means that the effect was seen: a secret came back, a row or a setting had changed, a lock was held, a message arrived, something was left behind. That no error came does not count.
All but one also succeed for a superuser without the gateway, so that what looks for them can see them; nobody reads a setting of another session.

Of the %[2]d, **%[3]d** work on a database as it is, and **%[4]d** after %[1]sdaypass postgres prepare --apply%[1]s. What the design had measured otherwise is said in the last column.

| attempt | as it is | hardened | why |
|---|---|---|---|
%[5]s
Three more, which the design did not have:

| attempt | as it is | hardened | why |
|---|---|---|---|
%[6]s
Past a [row filter](postgres.md#row-filters), with a grant that shows the first 500 of the 1000 rows of %[1]spublic.orders%[1]s:

| attempt | as it is | hardened | why |
|---|---|---|---|
%[8]s
This is PostgreSQL 15. On 18, on which the same is tried in the same test (TestTheNewestPostgres), all comes out alike, but for these:

| attempt | as it is | hardened | why |
|---|---|---|---|
%[7]s`, "`", len(escapes)+len(walls), worked[0], worked[1], table.String(), more.String(), newer.String(), filtered.String())
}

func row(b *strings.Builder, name string, o [2]bool, why string) {
	cell := map[bool]string{true: "works", false: "–"}
	fmt.Fprintf(b, "| %s | %s | %s | %s |\n", strings.ReplaceAll(name, "|", `\|`), cell[o[0]], cell[o[1]], why)
}
