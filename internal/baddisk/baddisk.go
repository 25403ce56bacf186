// Package baddisk is a disk for tests that fails in the ways that real ones
// do: the power goes and what was not synced is lost or torn, there is no
// space, a sync fails once, every sync takes seconds. It is a file system in
// memory (FUSE, Linux), so that the program under test is the one that is
// released.
//
// It refuses to be kinder than POSIX: a write is safe once its file was
// synced, a name once its folder was. It is no part of the binary.
package baddisk
