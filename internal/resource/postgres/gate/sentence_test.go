//go:build !race

// Nothing of this package is concurrent, and under the race detector the oracle
// takes a minute to compile.

package gate

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// pieces are what sentences are made of: whole phrases, so that many sentences are
// SQL, and the places at which lexers differ.
var pieces = []string{
	"select ", "select 1 ", "select a ", "from t ", "where b ", "union ", "into x ", "into ", "values (1) ", "table t ", "for update ", "as ", "as insert ",
	"t ", "x ", "a ", "1 ", ", ", "( ", ") ", "(1) ", "(select ", "(values (1)) ", "; ", ";", ". ", "= ", "* ", "+ ", "- ", ":: ", "[ ", "] ",
	"with ", "with a as ( ", "with recursive a(x) as ( ", "with a as materialized ( ", "as not materialized ( ", ", b as ( ", "search depth first by a set b ", "cycle a set b using c ", "cycle insert set update to 1 default 2 using delete ",
	"insert ", "insert into t ", "default values ", "on conflict do nothing ", "on conflict (a) do update set a = 1 ", "returning * ", "returning a into x ",
	"update ", "update t set a = 1 ", "delete ", "delete from t ", "merge ", "merge into t using s on true ", "when matched then delete ", "when not matched then insert values (1) ", "when matched then update set a = 1 ",
	"case when a then ", "end ", "do ", "then ", "set ", "begin ", "start transaction ", "read write ", "read only ", "isolation level serializable ", "commit ", "rollback ", "abort ", "to savepoint a ", "savepoint ", "release ", "prepared 'x' ", "and chain ",
	"prepare ", "prepare p as ", "prepare p (int) as ", "prepare transaction 'x' ", "transaction ", "execute p ", "execute p ( ", "deallocate ", "deallocate all ",
	"declare c cursor for ", "declare c cursor with hold for ", "declare cursor ", "cursor ", "with hold ", "without hold ", "for ", "no scroll ", "binary ", "fetch ", "fetch all in c ", "move ", "close ", "all ",
	"explain ", "explain analyze ", "explain (analyze) ", "explain (values) ", "verbose ", "copy ", "copy t ", "copy ( ", "to stdout ", "from stdin ", "to '/x' ", "from program 'x' ", "csv ", "with (format csv) ", "(a, b) ",
	"show ", "reset ", "role ", "session ", "local ", "session authorization ", "datestyle ", "timezone ", "time zone ", "names ", "client_encoding ", "standard_conforming_strings ", "statement_timeout ", "transaction_read_only ", "search_path ", "\"datestyle\" ", "\"role\" ",
	"'utf8' ", "on ", "off ", "default ", "true ", "null ", "to ", "characteristics as transaction ", "constraints all deferred ",
	"lock ", "lock t ", "in access share mode ", "in share mode ", "nowait ", "call ", "call p() ", "listen x ", "notify x ", "unlisten * ", "discard all ", "create table x as ", "create temp table x (a int) ", "drop table t ", "truncate t ", "do 'x' ", "alter role x ", "grant x to y ", "vacuum ", "refresh materialized view x ",
	"'", "''", "'a'", "'\\'", "e'", "E'\\'", "e'a'", "te'", "n'", "b'1'", "x'1'", "u&'", "U&'\\0061'", "uescape '!' ", "\"", "\"\"", "\"a\"", "\"a\"\"\"", "u&\"a\"", "$$", "$a$", "$A$", "$1", "$", "a$", "a$b$", "$é$",
	"--", "-- x\n", "\n", "\r", "\t", "\v", "\f", "/*", "*/", "/* x */", "/* /* */ */", "*/*", "/-", "\\", "\\'", " ", " ", "1e", "1.e", ".5", "0x1", "1_0", "é", "\u00a0", "ı", "@", "~", "?", "||",
	"when matched then do nothing ", "using s ", "only ", "lateral ", "array[1] ", "f(a) ", "count(*) ", "order by 1 ", "limit 1 ", "group by a ", "join s on true ", "a.insert ", "t.into ", "as into ", "as as ", "distinct ", "exists ( ", "in ( ", "not ", "materialized ( ", "recursive ",
}

// sentence is what picks choose.
func sentence(picks []byte) string {
	var b strings.Builder
	for _, p := range picks {
		b.WriteString(pieces[int(p)%len(pieces)])
	}
	return b.String()
}

// Invariant: A25, A28, A29
// Attack: PG-06, PG-07
func TestPostgresSeesWhatTheGateSawInRandomSentences(t *testing.T) {
	if len(pieces) > 256 {
		t.Fatalf("%d pieces; a byte chooses one", len(pieces))
	}
	random := rand.New(rand.NewPCG(1, 2))
	agreed := 0
	for range 100_000 {
		picks := make([]byte, 1+random.IntN(7))
		for i := range picks {
			picks[i] = byte(random.IntN(len(pieces)))
		}
		sql, g := sentence(picks), Gate{Allowed: Actions(random.IntN(32)), Timeout: time.Minute}
		problems, _, parsed := differ(g, sql)
		if len(problems) > 0 {
			t.Errorf("%q passed: %v", sql, problems)
		}
		if parsed {
			agreed++
		}
	}
	t.Logf("%d sentences passed and are SQL", agreed)
	if agreed < 1000 {
		t.Errorf("only %d sentences were SQL that passed", agreed)
	}
}

func FuzzGateSentences(f *testing.F) {
	f.Add([]byte{1, 3}, uint8(everything))
	random := rand.New(rand.NewPCG(3, 4))
	for range 64 {
		picks := make([]byte, 6)
		for i := range picks {
			picks[i] = byte(random.IntN(len(pieces)))
		}
		f.Add(picks, uint8(random.IntN(32)))
	}
	prime(f)
	f.Fuzz(func(t *testing.T, picks []byte, allowed uint8) {
		g := Gate{Allowed: Actions(allowed) & everything, Timeout: time.Minute}
		if sql := sentence(picks); len(picks) < 64 {
			if problems, _, _ := differ(g, sql); len(problems) > 0 {
				t.Fatalf("%q passed: %v", sql, problems)
			}
		}
	})
}
