package daemon_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/daemon"
)

// TestFlippedBits flips single bits of the database and of its WAL, as a bad
// disk does, on copies of a store that was killed under load. Each is found by
// the verification or refused at the start; or it is of no consequence: what
// gives access and what ends it, and the record, are read as they were written.
//
// Invariant: A31
func TestFlippedBits(t *testing.T) {
	flips := 60
	if long() {
		flips = 1000
	}
	rnd := seed(t)
	s := serve(t)
	k := newAcked()
	s.life(k, 60, func() {})
	_, token := s.pass(time.Hour)
	for range 20 {
		s.through(token, "GET", "open-api", "/x").is(200)
	}
	time.Sleep(200 * time.Millisecond) // the last entries are written in batches
	s.kill()
	// Where the store was killed its end is in the WAL; where it was closed all
	// is in the database.
	whole := contents(t, s.dataFolder())
	if whole == nil {
		t.Fatal("the store cannot be read before anything is flipped")
	}
	files := map[string]int64{}
	for _, name := range []string{"daypass.db", "daypass.db-wal"} {
		info, err := os.Stat(filepath.Join(s.dataFolder(), name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = info.Size()
	}
	t.Logf("%v", files)
	verified, refused, harmless := 0, 0, 0
	for i := range flips {
		name := []string{"daypass.db", "daypass.db-wal"}[i%2]
		at, bit := rnd.Int64N(files[name]), byte(1)<<rnd.IntN(8)
		what := fmt.Sprintf("bit %d of byte %d of %s", bit, at, name)
		dir := s.flipped(t, name, at, bit)
		_, err := daemon.VerifyData(context.Background(), dir, daemon.VerifyOptions{})
		if err != nil {
			verified++
			continue
		}
		is := contents(t, dir)
		if maps.Equal(is, whole) {
			harmless++
			continue
		}
		if why := s.startRefused(t, dir); why != "" {
			refused++
			continue
		}
		for table := range whole {
			if is[table] != whole[table] {
				t.Errorf("%s was accepted silently, and what is read of %s is not what was written", what, table)
			}
		}
	}
	t.Logf("of %d flipped bits %d were found by the verification, %d more refused at the start, %d changed nothing that is read", flips, verified, refused, harmless)
	if verified == 0 {
		t.Error("the verification found nothing")
	}
}

// flipped copies the data folder and flips a bit of one of its files.
func (s *server) flipped(t *testing.T, name string, at int64, bit byte) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(dir, os.DirFS(s.dataFolder())); err != nil {
		t.Fatal(err)
	}
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, _ error) error {
		if d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	})
	file := filepath.Join(dir, name)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= bit
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// vouched is what gives access and what ends it, who decided so, and the record.
// Nothing says what else a store should hold: what was asked of a policy, the
// effects that wait, answers kept for callers who ask again. Of a body's names
// the case is of no consequence.
var vouched = map[string]string{
	"grants":      "SELECT id, state, requester, resource, grant_id, grant_state, starts_at, expires_at, lower(json_extract(body, '$.grant')), lower(json_extract(body, '$.reviews')) FROM requests",
	"credentials": "SELECT hash, id, grant_id FROM credentials",
	"tokens":      "SELECT id, hash, principal, expires_at FROM tokens",
	"entries":     "SELECT seq, id, type, actor, request, grant_id, bytes FROM entries",
	"hashes":      "SELECT idx, hash FROM hashes",
	"packs":       "SELECT first_seq, leaf, count, since, until, body FROM packs",
	"terms":       "SELECT * FROM terms",
	"head":        "SELECT * FROM head",
}

// contents is a digest of each of these; nil when they cannot all be read.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "daypass.db")+"?mode=ro&_pragma=query_only(1)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	sums := map[string]string{}
	for table, query := range vouched {
		sum, err := content(db, query)
		if err != nil {
			return nil
		}
		sums[table] = sum
	}
	return sums
}

// content is a digest of the rows of a query, in any order.
func content(db *sql.DB, query string) (string, error) {
	rows, err := db.Query(query)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	var all []string
	for rows.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return "", err
		}
		all = append(all, fmt.Sprintf("%q", values))
	}
	slices.Sort(all)
	return fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(all, "\n")))), rows.Err()
}

// startRefused starts a server on a data folder and returns why it does not
// serve; "" when it does.
func (s *server) startRefused(t *testing.T, dir string) string {
	t.Helper()
	other := &server{t: t, program: s.program, dir: s.dir, data: dir, scheme: "http", tokens: s.tokens, http: s.http}
	other.configure("")
	other.launch()
	defer other.kill()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if other.exitedNow() {
			return strings.TrimSpace(other.log.String()) + " "
		}
		if serving.MatchString(other.log.String()) {
			return ""
		}
	}
	t.Fatalf("it neither serves nor ends:\n%s", other.log)
	return ""
}
