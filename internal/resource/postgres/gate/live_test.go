//go:build !race

package gate

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/daypass/daypass/internal/resource/postgres/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// A text is an opening, some of what decides where a string ends, a statement that
// must never be seen, and a close.
var (
	openings = []string{"'", "e'", "E'a", "n'", "N'a", "u&'", "b'", "x'", "te'", "'a'\n'", "e'a'\n'", "e'a' -- c\n'", "e'a'\n 'b'", "'a', e'", "1, 'a", "\"a\", '", "$$a$$, '", "$Ã$", "$a$", "\"", "/*"}
	middles  = []string{"a", "'", "''", "\\", "\\'", "\\\\", ", ", " ", "\n", "e'", "n'", ", '", ", e'", "Ã", "é", "ü", "中", "\u0080", "\u0083", "𐍈", "Ã\\", "é\\'", "@", "`", "[", "|", "5", "0", "$Ã$", "$\u0083$", "$a$", "\"", "*/", "/*", "--"}
	closes   = []string{"'", "''", "\n'", "", "\\'", "\"", "$a$", "$Ã$", "*/", "\n--'"}
)

// Whatever a session has done to the two settings on which reading depends, no
// text that passes makes a server do what the gate did not see.
//
// Invariant: A25, A29
// Attack: PG-06, PG-07
func TestNoSettingMakesAServerSeeMore(t *testing.T) {
	server := pgtest.Shared(t)
	for _, conforming := range []string{"on", "off"} {
		for _, encoding := range []string{"UTF8", "SJIS", "GBK", "BIG5", "UHC", "GB18030", "JOHAB", "LATIN1", "EUC_JP"} {
			t.Run(encoding+" "+conforming, func(t *testing.T) {
				session, err := server.Try(pgtest.Superuser, pgtest.Password, "postgres")
				if err != nil {
					t.Fatal(err)
				}
				defer session.Close(t.Context())
				conn := session.PgConn()
				for _, sql := range []string{"set standard_conforming_strings = " + conforming, "set client_encoding = " + encoding} {
					if _, err := conn.Exec(t.Context(), sql).ReadAll(); err != nil {
						t.Fatal(err)
					}
				}
				// What the gate does not stand in front of does get through.
				if !listens(t, conn, "select 1; listen x") {
					t.Fatal("LISTEN is not noticed")
				}
				random := rand.New(rand.NewPCG(5, 6))
				tried := 0
				for range 10_000 {
					var b strings.Builder
					b.WriteString("select " + openings[random.IntN(len(openings))])
					for range random.IntN(5) {
						b.WriteString(middles[random.IntN(len(middles))])
					}
					b.WriteString("; listen x; --" + closes[random.IntN(len(closes))])
					sql := b.String()
					if _, refusal := (Gate{Allowed: everything}).Check([]byte(sql)); refusal != nil {
						continue
					}
					tried++
					if listens(t, conn, sql) {
						t.Errorf("%q passed", sql)
					}
				}
				t.Logf("%d texts passed", tried)
				if tried < 500 {
					t.Errorf("only %d texts with LISTEN in a string passed", tried)
				}
			})
		}
	}
}

// listens reports whether the server did a LISTEN.
func listens(t *testing.T, conn *pgconn.PgConn, sql string) (did bool) {
	t.Helper()
	results, err := conn.Exec(t.Context(), sql).ReadAll()
	for _, r := range results {
		did = did || r.CommandTag.String() == "LISTEN"
	}
	if conn.IsClosed() {
		t.Fatalf("%q ended the connection: %v", sql, err)
	}
	return did
}
