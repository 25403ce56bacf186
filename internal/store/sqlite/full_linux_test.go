package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// mount mounts a small file system for this test.
func mount(t *testing.T, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("mount", append(args, dir)...).CombinedOutput(); err != nil {
		t.Fatalf("this test fills a small file system and must be allowed to mount one (run it as root): %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("unmounting: %v: %s", err, out)
		}
	})
	return dir
}

func mountTmpfs(t *testing.T) string {
	return mount(t, "-t", "tmpfs", "-o", "size=24m", "tmpfs")
}

func mountExt4(t *testing.T) string {
	image := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(40<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-m", "0", image).CombinedOutput(); err != nil {
		t.Fatalf("this test needs mkfs.ext4: %v: %s", err, out)
	}
	return mount(t, "-o", "loop", image)
}

// fill takes what space there is, to the last byte.
func fill(t *testing.T, file string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	for block := 1 << 20; block > 0; block /= 2 {
		zeros := bytes.Repeat([]byte{'x'}, block)
		for {
			if _, err := f.Write(zeros); err != nil {
				if !errors.Is(err, syscall.ENOSPC) {
					t.Fatal(err)
				}
				break
			}
		}
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// Invariant: A20, A34, A38
func TestFullDisk(t *testing.T) {
	for name, mounted := range map[string]func(*testing.T) string{"tmpfs": mountTmpfs, "ext4": mountExt4} {
		t.Run(name, func(t *testing.T) { fullDisk(t, mounted(t)) })
	}
}

func fullDisk(t *testing.T, root string) {
	dir, filler := filepath.Join(root, "data"), filepath.Join(root, "filler")
	s := mustOpen(t, dir, testKeys(t).options())
	var acked []string
	n := 0
	write := func(class sqlstore.Class) error {
		if n++; n%5 == 0 {
			n++ // such IDs stand for failures
		}
		id := fmt.Sprint("f_", n)
		err := s.Update(t.Context(), class, func(tx *sqlstore.Tx) error { return writeWhole(tx, id) })
		if err == nil {
			acked = append(acked, id)
		}
		return err
	}
	check := func() {
		t.Helper()
		checkWhole(t, s, acked)
		if _, err := s.VerifyAudit(t.Context(), audit.VerifierOptions{Keys: []string{testKeys(t).vkey}}); err != nil {
			t.Fatal(err)
		}
	}
	for range 30 {
		if err := write(sqlstore.Normal); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, filler)

	// The margin, or else the wall: Normal writes end with ErrFull, nothing else.
	var err error
	for i := 0; err == nil; i++ {
		if i == 5000 {
			t.Fatal("5000 writes after the disk was full")
		}
		err = write(sqlstore.Normal)
	}
	if !errors.Is(err, sqlstore.ErrFull) || errors.Is(err, sqlstore.ErrFailed) {
		t.Fatalf("on a full disk: %v", err)
	}
	check()

	// Ends go on far beyond what was free, in the room of the reserve.
	for i := range 300 {
		if err := write(sqlstore.Ends); err != nil {
			t.Fatalf("revocation %d on a full disk: %v", i, err)
		}
		if i%50 == 0 {
			if err := write(sqlstore.Normal); !errors.Is(err, sqlstore.ErrFull) {
				t.Fatalf("a Normal write on a full disk: %v", err)
			}
		}
	}
	if !s.Full() || s.Failure() != nil {
		t.Fatalf("full is %v, failure %v", s.Full(), s.Failure())
	}
	check()

	// A restart on the full disk.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fill(t, filepath.Join(root, "filler2")) // what the reserve and the WAL gave back
	s = mustOpen(t, dir, testKeys(t).options())
	if err := write(sqlstore.Normal); !errors.Is(err, sqlstore.ErrFull) {
		t.Fatalf("a Normal write after a restart on a full disk: %v", err)
	}
	check()

	// Space comes back: no restart is needed.
	if err := errors.Join(os.Remove(filler), os.Remove(filler+"2")); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := write(sqlstore.Normal)
		if err == nil {
			break
		}
		if !errors.Is(err, sqlstore.ErrFull) || time.Now().After(deadline) {
			t.Fatalf("with space again: %v", err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, reserveFile))
	if err != nil {
		t.Fatal(err)
	}
	if blocks := info.Sys().(*syscall.Stat_t).Blocks * 512; info.Size() != reserveSize || blocks < reserveSize || s.Full() {
		t.Errorf("the reserve has %d bytes in %d, full is %v", info.Size(), blocks, s.Full())
	}
	check()
}

// The last bytes of the disk go while the reserve is still whole, and then the
// process restarts: it must come up, by giving up the reserve if need be.
//
// Invariant: A38
func TestOpensOnAFullDisk(t *testing.T) {
	root := mountTmpfs(t)
	dir := filepath.Join(root, "data")
	s := mustOpen(t, dir, testKeys(t).options())
	if err := s.Update(t.Context(), sqlstore.Normal, func(tx *sqlstore.Tx) error { return writeWhole(tx, "f_1") }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fill(t, filepath.Join(root, "filler"))
	s = mustOpen(t, dir, testKeys(t).options())
	for i := range 50 {
		if err := s.Update(t.Context(), sqlstore.Ends, func(tx *sqlstore.Tx) error {
			return errors.Join(tx.PutSetting("x", fmt.Sprint(i)), tx.Append(entry(fmt.Sprint(i))))
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Update(t.Context(), sqlstore.Normal, func(tx *sqlstore.Tx) error { return tx.PutSetting("y", "z") }); !errors.Is(err, sqlstore.ErrFull) {
		t.Fatalf("a Normal write: %v", err)
	}
}

// limited is a disk of so many pages, and a reserve of some more.
type limited struct {
	limit    func(pages int) error
	released int
	normal   bool
}

func (l *limited) Normal() bool { return l.normal }

func (l *limited) Release() error {
	l.released++
	l.normal = false
	return l.limit(1 << 20)
}

// One group holds Normal and Ends updates, some failing, when the wall is hit:
// the Ends alone are run again, in order, and nothing of the rest is left.
//
// Invariant: A20, A38
func TestFullDiskWithinAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		if err := createPrivate(filepath.Join(dir, dataFile)); err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		writer, err := openReader(dsn(filepath.Join(dir, dataFile), pragmasWrite))
		if err != nil {
			t.Fatal(err)
		}
		writer.SetMaxOpenConns(1)
		if err := migrate(ctx, writer); err != nil {
			t.Fatal(err)
		}
		conn, err := writer.Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		reader, err := openReader(dsn(filepath.Join(dir, dataFile), pragmasRead))
		if err != nil {
			t.Fatal(err)
		}
		disk := &limited{normal: true, limit: func(pages int) error {
			var now int
			return conn.QueryRowContext(ctx, fmt.Sprintf("PRAGMA max_page_count = %d", pages)).Scan(&now)
		}}
		db, err := sqlstore.New(ctx, sqlstore.Dialect{
			Write: conn, WriteDB: writer, Begin: "BEGIN IMMEDIATE", Read: reader, Fault: fault(dir), Space: disk, Upkeep: checkpoint,
		}, testKeys(t).options())
		if err != nil {
			t.Fatal(err)
		}
		s := &Store{DB: db}
		defer s.Close()
		if err := s.Update(ctx, sqlstore.Normal, func(tx *sqlstore.Tx) error { return writeWhole(tx, "g_1") }); err != nil {
			t.Fatal(err)
		}
		if err := disk.limit(1); err != nil { // no page more than there are
			t.Fatal(err)
		}

		var order []string
		release, held := make(chan struct{}), make(chan error, 1)
		go func() {
			held <- s.Update(ctx, sqlstore.Ends, func(*sqlstore.Tx) error { <-release; return nil })
		}()
		synctest.Wait()
		type asked struct {
			id    string
			class sqlstore.Class
			end   error
		}
		big := strings.Repeat("x", 10_000)
		updates := []asked{
			{"g_2", sqlstore.Normal, nil}, {"g_3", sqlstore.Ends, nil}, {"g_4", sqlstore.Ends, errBad}, {"g_6", sqlstore.Normal, errBad}, {"g_7", sqlstore.Ends, nil},
		}
		answers := make([]chan error, len(updates))
		for i, u := range updates {
			answers[i] = make(chan error, 1)
			go func() {
				answers[i] <- s.Update(ctx, u.class, func(tx *sqlstore.Tx) error {
					tx.AfterCommit(func() { order = append(order, u.id) })
					if err := errors.Join(tx.PutSetting("big", big), tx.PutSetting("big", ""), writeWhole(tx, u.id)); err != nil {
						return err
					}
					return u.end
				})
			}()
			synctest.Wait()
		}
		close(release)
		if err := <-held; err != nil {
			t.Fatal(err)
		}
		for i, want := range []error{sqlstore.ErrFull, nil, errBad, sqlstore.ErrFull, nil} {
			if err := <-answers[i]; !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", updates[i].id, err, want)
			}
		}
		if got := strings.Join(order, " "); got != "g_3 g_7" {
			t.Errorf("callbacks ran for %q", got)
		}
		if disk.released != 1 || !s.Full() || s.Failure() != nil {
			t.Errorf("released %d times, full is %v, failure %v", disk.released, s.Full(), s.Failure())
		}
		there := checkWhole(t, s, nil)
		if len(there) != 3 || !there["g_1"] || !there["g_3"] || !there["g_7"] {
			t.Errorf("there are %v", there)
		}
		disk.normal = true // the reserve is back
		if err := s.Update(ctx, sqlstore.Normal, func(tx *sqlstore.Tx) error { return writeWhole(tx, "g_8") }); err != nil {
			t.Error(err)
		}
		if s.Full() {
			t.Error("still full")
		}
		checkWhole(t, s, []string{"g_1", "g_3", "g_7", "g_8"})
		if _, err := s.VerifyAudit(ctx, audit.VerifierOptions{Keys: []string{testKeys(t).vkey}}); err != nil {
			t.Error(err)
		}
	})
}

// Attack: RES-03
func TestReserveIsTriedOncePerPause(t *testing.T) {
	dir := t.TempDir()
	r, err := openReserve(dir)
	if err != nil || !r.whole {
		t.Fatalf("whole is %v: %v", r.whole, err)
	}
	now := time.Unix(1000, 0)
	r.now = func() time.Time { return now }
	if !r.Normal() {
		t.Fatal("nothing is full")
	}
	if err := r.Release(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(r.file); err != nil || info.Size() != 0 {
		t.Fatalf("the reserve was not given up: %v, %v", info, err)
	}
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{{0, false}, {pause - 1, false}, {1, true}, {0, true}} {
		now = now.Add(c.after)
		if got := r.Normal(); got != c.want {
			t.Errorf("after %v: %v, want %v", c.after, got, c.want)
		}
	}
}
