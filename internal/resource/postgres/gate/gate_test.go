package gate

import (
	"strings"
	"testing"
	"time"
)

const everything = Select | Insert | Update | Delete | Execute

// passes are texts that go through as they are with the actions named.
var passes = []struct {
	allowed Actions
	sql     string
}{
	{0, ""},
	{0, " ; ; -- nothing\n"},
	{0, "select 1"},
	{Select, "SELECT * FROM public.orders WHERE note = 'it''s; LISTEN x' -- ; LISTEN x\n ; select 2"},
	{Select, "/* a /* nested */ LISTEN x; */ select $$ ; LISTEN x; $$, $a$ $$ ; $a$, \"; LISTEN\" from t"},
	{Select, `select e'\'; listen x; --', U&'d\0061t\+000061', U&"d\0061t"`},
	{Select, "select e'a'\n'b\\'; listen x'"}, {Select, `select 'C:\'`}, {Select, `select '\d+', 'Müller\x', n'\x'`}, {Select, "select e'\\u00fc\\''"}, {Select, "select $a$ é\n $a$, 'a' ~ '\\.'"},
	{Select, "with recursive a(x) as materialized (select 1 union all select x+1 from a) search depth first by x set o cycle x set c using p, b as not materialized (values (1)) select * from a, b"},
	{Select, "(select 1) union (table t) order by 1 for update"},
	{Select, "values (1), (2)"},
	{Select, "table public.orders"},
	{Select, "begin isolation level repeatable read, read only; start transaction; savepoint a; release a; rollback to savepoint a; rollback; commit and no chain; end work; abort"},
	{Select, "declare c no scroll cursor without hold for select 1; fetch 10 from c; move all in c; close c"},
	{Select, "explain select 1; explain (analyze, buffers) select 1; explain analyze verbose (select 1); explain execute p(1)"},
	{Select, "prepare p (int, numeric(3,1)) as select $1; execute p(1, 2); deallocate all; prepare transaction as select 1"},
	{Select, "copy public.orders (id, note) to stdout with (format csv, header)"},
	{Select, "copy orders to stdout csv; COPY BINARY orders TO STDOUT; copy (select 1) to stdout (format text)"},
	{Select, "show all; show transaction isolation level; reset all; reset datestyle; reset time zone; discard all; unlisten *"},
	{Select, "set datestyle = 'ISO, MDY'; set session extra_float_digits to 3; set local time zone 'UTC'; set timezone to -7; set names 'utf8'; set client_encoding to UTF8"},
	{Select, "set transaction read only; set session characteristics as transaction isolation level serializable; set transaction_read_only = on; SET \"DateStyle\" TO DEFAULT"},
	{Select, "lock table public.orders, only t in access share mode nowait"},
	{Insert, "insert into orders values (1) on conflict do nothing returning *"},
	{Insert, "with a as (select 1) insert into orders select * from a"},
	{Insert, "copy orders from stdin"},
	{Insert | Update, "insert into t values (1) on conflict (id) do update set n = 2"},
	{Update, "update orders set insert = 1; begin read write"},
	{Delete, "with gone as (delete from orders returning *) select count(*) from gone"},
	{Update | Delete, "merge into t using s on t.id = s.id when matched and a then update set n = 1 when matched then delete"},
	{Execute, "call p(1, (select 2))"},
	{Select, "select a.insert, b as update, case when delete then 1 end from t"},
	{Select, "set statement_timeout = '5s'"},
	{Select, "reset search_path; set local search_path to default"},
	// What pools and drivers send when they open, check and give back a connection.
	{Select, "SET extra_float_digits = 3; SET application_name = 'PostgreSQL JDBC Driver'; SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"},
	{Select, "SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;"},
	{Select, "SET client_min_messages TO 'warning'; SET standard_conforming_strings = on; SET SESSION timezone TO 'UTC'; SET intervalstyle = iso_8601"},
	{Select, "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY DEFERRABLE; ROLLBACK; DISCARD ALL; DEALLOCATE \"_pg3_0\""},
}

func TestWhatAGrantAllowsPasses(t *testing.T) {
	for _, c := range passes {
		got, refusal := Gate{Allowed: c.allowed}.Check([]byte(c.sql))
		if refusal != nil || string(got) != c.sql {
			t.Errorf("%s with %q:\n%v (%+v)", c.sql, c.allowed, string(got), refusal)
		}
	}
}

// refusals are texts that are refused with all actions but those named.
var refusals = []struct {
	without Actions
	sql     string
}{
	{0, "listen x"}, {0, "select 1; notify x, 'y'"}, {0, "lock orders"}, {0, "lock orders in share mode"},
	{0, "lock orders in access share mode; lock orders in row share mode"},
	{0, "do $$ begin end $$"}, {Execute, "call p()"}, {0, "alter role x password 'y'"},
	{0, "grant select on t to x"}, {0, "revoke select on t from x"}, {0, "create temp table t (a int)"}, {0, "drop table t"}, {0, "truncate t"},
	{0, "set role x"}, {0, "set local role none"}, {0, "set session role x"}, {0, `set "role" = x`}, {0, "SET ROLE = x"}, {0, "reset role"},
	{0, "set session authorization default"}, {0, "set local session authorization x"}, {0, "reset session authorization"}, {0, "set session_authorization to x"},
	{0, "set search_path to x"}, {0, "set search_path = 'default'"}, {0, `set search_path to "default"`}, {0, "set schema 'x'"}, {0, "set work_mem = '10GB'"}, {0, "set app.x = 1"}, {0, "set datestyle.x = 1"}, {0, "reset work_mem"},
	{0, "set client_encoding = 'SJIS'"}, {0, "set names 'sjis'"}, {0, "set standard_conforming_strings = off"}, {0, "set standard_conforming_strings = 'of\\'"},
	{0, "set client_encoding = U&'SJIS'"}, {0, "set datestyle = (select 1)"},
	{writes, "set transaction read write"}, {writes, "begin read write"}, {writes, "set default_transaction_read_only = off"}, {writes, "set transaction_read_only to 'f'"},
	{0, "prepare transaction 'x'"}, {0, "commit prepared 'x'"}, {0, "rollback prepared 'x'"}, {0, "prepare transaction $$x$$"},
	{0, "declare c cursor with hold for select 1"}, {0, "declare cursor cursor with hold for select 1"}, {0, "explain declare c cursor with hold for select 1"},
	{0, "select 1 into x"}, {0, "select 1 as insert into x"}, {0, "select insert into x from t"}, {0, "select a.insert into x from t"}, {0, "select (1) insert into x"},
	{0, "select 1 as as into x"}, {0, "explain analyze select 1 into x"}, {0, "with a as (select 1) select 2 into x"}, {0, "(select 1 into x)"}, {0, "select 1 union select 2 into temp x"},
	{0, "select merge into x from t"}, {0, "select(1)merge into x"},
	{0, "copy t to '/tmp/x'"}, {0, "copy t from program 'x'"}, {0, "copy (select 1) to program 'x'"}, {0, "copy t from E'/etc/passwd'"},
	{Select, "copy t to stdout"}, {Insert, "copy t from stdin"},
	{Insert, "insert into t values (1)"}, {Update, "update t set a = 1"}, {Delete, "delete from t"}, {Update, "explain analyze update t set a = 1"},
	{Delete, "with a as (delete from t returning *) select 1"}, {Delete, "prepare p as delete from t"}, {Delete, "copy (delete from t returning *) to stdout"},
	{Delete, "with a as (with b as (select 1) delete from t returning *) select 1"}, {Delete, "with a as (select 1), b(delete) as (select 2) delete from t"},
	{Delete, "with a as (select 1) cycle insert set update using merge delete from t"},
	{Update, "insert into t values (1) on conflict (a) do update set a = 1"}, {Delete, "merge into t using s on true when matched then delete"},
	{0, "explain (values) delete from t"}, {0, "explain create table x as select 1"}, {0, "explain (analyze) create table x as select 1"},
	// What is on its way when a function turns standard_conforming_strings off or
	// sets an encoding in which a backslash is half of a character.
	{0, `select 'a\', '; listen x; --'`}, {0, `select n'a\', '; listen x; --'`}, {0, `select 'a\', '; set statement_timeout = 0; --'`},
	{0, `select e'Ã\'; listen x; --'`}, {0, "select $Ã$ $Ã$"},
	// Where a hand-written lexer is likely to be misled.
	{0, `select te'x\'; listen y; --'`}, {0, "e'a'\n'b\\' '; listen x; --'"}, {0, "select e'a'\n'b\\' '; listen x; --'"}, {0, "select 'a' -- c\n'b\\'; listen x; --'"},
	{0, "select e'a' -- c\n--d\n 'b\\' '; listen x; --'"}, {0, "select e'a' 'b\\'; listen x; --'"}, {0, "select e'a'/**/\n'b\\'; listen x; --'"},
	{0, `select U&'a\'; listen x; --'`}, {0, `select "a\"; listen x; --"`}, {0, `select 1e'\\'; listen x; --'`}, {0, `select $1e'x\\'; listen x; --'`},
	{0, "select a$b$; listen x; --$b$"}, {0, "select $a$ $A$; listen x $a$; listen x"}, {0, "select $1$a$ $a$; listen x"}, {0, "select $é$ $é$; listen x"},
	{0, "select 1 /* /* */ */; listen x"}, {0, "select 1 /*/**/*/; listen x"}, {0, "select 1 +--*/\n; listen x"}, {0, "select 1 --\r; listen x"},
	{0, "select u&\"a\"\"\"; listen x"}, {0, "select b'1''\\'; listen x"}, {0, "select n'\\'; listen x"}, {0, "select 1.e'\\\\'; listen x; --'"},
	{0, "select\u00a01; listen x"}, {0, "l\u0131sten x"}, {0, "select 'a"}, {0, "select \"a"}, {0, "select $$"}, {0, "select /* "}, {0, "select (1; listen x)"},
	{0, "select 1\x00; listen x"}, {0, "select '\xff'"}, {0, "select 1)"}, {0, "with a as select 1"}, {0, "with a as (listen x) select 1"}, {0, "LISTEN\fx"},
	{0, "vacuum"}, {0, "analyze"}, {0, "checkpoint"}, {0, "load 'x'"}, {0, "reindex table t"}, {0, "refresh materialized view x"}, {0, "security label on table x is 'y'"},
	{0, "comment on table t is 'x'"}, {0, "import foreign schema x from server y into z"}, {0, "\"select\" 1"}, {0, "select 1 \x01"}, {0, "'select'"},
}

// Invariant: A28, A29
// Attack: PG-06, PG-07
func TestWhatAGrantDoesNotAllowIsRefused(t *testing.T) {
	for _, c := range refusals {
		got, refusal := Gate{Allowed: everything &^ c.without}.Check([]byte(c.sql))
		if refusal == nil || got != nil {
			t.Errorf("%q passed without %q", c.sql, c.without)
			continue
		}
		if refusal.Message == "" || len(refusal.Code) != 5 || strings.HasSuffix(refusal.Message, ".") {
			t.Errorf("%q: %+v", c.sql, refusal)
		}
		if c.without != 0 { // it is the action that is missing, and nothing else
			if _, refusal := (Gate{Allowed: everything}).Check([]byte(c.sql)); refusal != nil {
				t.Errorf("%q is refused with all actions: %v", c.sql, refusal)
			}
		}
	}
}

// Invariant: A29
// Attack: PG-06
func TestLimitsAreNotLifted(t *testing.T) {
	for sql, want := range map[string]string{
		"SET statement_timeout = 0":                                               "SET statement_timeout = DEFAULT",
		"SET LOCAL statement_timeout TO '2min'; select 1":                         "SET LOCAL statement_timeout TO DEFAULT; select 1",
		"set statement_timeout = 60001":                                           "set statement_timeout = DEFAULT",
		"set statement_timeout = 60000":                                           "set statement_timeout = 60000",
		"set statement_timeout = '1min'":                                          "set statement_timeout = '1min'",
		"set statement_timeout = ' 1 min'":                                        "set statement_timeout = DEFAULT",
		"set statement_timeout = -1":                                              "set statement_timeout = DEFAULT",
		"set statement_timeout = E'\\x30'":                                        "set statement_timeout = DEFAULT",
		"set statement_timeout = 1e9":                                             "set statement_timeout = DEFAULT",
		"set idle_in_transaction_session_timeout = 0;set transaction_timeout='0'": "set idle_in_transaction_session_timeout = DEFAULT;set transaction_timeout=DEFAULT",
		"set statement_timeout to default":                                        "set statement_timeout to default",
		"set statement_timeout to \"default\"":                                    "set statement_timeout to DEFAULT",
	} {
		got, refusal := Gate{Allowed: Select, Timeout: time.Minute}.Check([]byte(sql))
		if refusal != nil || string(got) != want {
			t.Errorf("%s: %s %v", sql, got, refusal)
		}
	}
}

func BenchmarkGate(b *testing.B) {
	for name, sql := range map[string]string{
		"simple":  "SELECT abalance FROM pgbench_accounts WHERE aid = 4711;",
		"complex": "WITH recent AS (SELECT id, customer, total FROM public.orders WHERE at > now() - interval '7 days' AND note <> 'it''s; done'), best AS (SELECT customer, sum(total) AS total FROM recent GROUP BY customer) SELECT c.name, b.total, CASE WHEN b.total > 100 THEN 'large' ELSE 'small' END FROM best b JOIN public.customers c ON c.id = b.customer /* by name */ WHERE c.country = ANY ($1::text[]) ORDER BY b.total DESC, c.name LIMIT 100",
	} {
		b.Run(name, func(b *testing.B) {
			g, in := Gate{Allowed: Select}, []byte(sql)
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if _, refusal := g.Check(in); refusal != nil {
					b.Fatal(refusal)
				}
			}
		})
	}
}
