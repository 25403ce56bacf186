package scratchpg

import (
	"cmp"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
)

// ErrNone says that there are no programs of a PostgreSQL server here.
var ErrNone = errors.New("there is no PostgreSQL server on this machine")

// packaged is where Debian and its kin keep the programs of each version.
const packaged = "/usr/lib/postgresql"

// Find returns the folder of a server's programs: that of the first on PATH,
// else the newest of the packaged versions. Its error is ErrNone.
func Find() (string, error) { return find(packaged) }

func find(packaged string) (string, error) {
	if path, err := exec.LookPath("postgres"); err == nil {
		if program, err := filepath.EvalSymlinks(path); err == nil && complete(filepath.Dir(program)) {
			return filepath.Dir(program), nil
		}
	}
	found, _ := filepath.Glob(filepath.Join(packaged, "*", "bin")) // the pattern is sound
	found = slices.DeleteFunc(found, func(dir string) bool { return !complete(dir) })
	if len(found) == 0 {
		return "", ErrNone
	}
	return slices.MaxFunc(found, func(a, b string) int { return cmp.Compare(version(a), version(b)) }), nil
}

// complete reports whether a folder has both programs that Start runs.
func complete(dir string) bool {
	for _, program := range []string{"postgres", "initdb"} {
		if info, err := os.Stat(filepath.Join(dir, program)); err != nil || info.IsDir() {
			return false
		}
	}
	return true
}

// version is that in …/15/bin: 9.6 is older than 15.
func version(bin string) float64 {
	v, _ := strconv.ParseFloat(filepath.Base(filepath.Dir(bin)), 64) // what is no number is oldest
	return v
}
