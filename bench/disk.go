//go:build linux

package main

import (
	"os"
	"path/filepath"
	"time"
)

// record is about what one cycle makes the disk write: a page of SQLite.
const record = 4096

// disk appends groups of records to a file and syncs it after each group, as
// long as d, and returns how many records a second became durable.
func (b *bench) disk(group int, d time.Duration) (float64, error) {
	f, err := os.Create(filepath.Join(b.work, "disk"))
	if err != nil {
		return 0, err
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}()
	// Written before, as a WAL is: its blocks are there when it is written over.
	const size = 64 << 20
	block := make([]byte, 1<<20)
	for range size / len(block) {
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	n, at, began := 0, int64(0), time.Now()
	for ; time.Since(began) < d; n += group {
		for range group {
			if at+record > size {
				at = 0
			}
			if _, err := f.WriteAt(block[:record], at); err != nil {
				return 0, err
			}
			at += record
		}
		if err := datasync(f); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(began).Seconds(), nil
}
