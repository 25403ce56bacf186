//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// starting measures how soon a server serves, and what it weighs, without
// grants and with many.
func (b *bench) starting(ctx context.Context) error {
	info, err := os.Stat(b.binary)
	if err != nil {
		return err
	}
	b.report.tell(b.out, "binary", fmt.Sprintf("%.1f MB", float64(info.Size())/1e6))
	empty, err := newWorld(filepath.Join(b.work, "empty"), "http://127.0.0.1:9", few, few)
	if err != nil {
		return err
	}
	ready, idle, err := b.weigh(ctx, empty)
	if err != nil {
		return err
	}
	b.report.check(b.out, "ready, empty", "≤ 100 ms", ready.Round(time.Millisecond).String(), ready <= 100*time.Millisecond, "opening SQLite, reading the catalog, binding the listeners")
	b.report.check(b.out, "resident memory, idle and empty", "≤ 30 MB", megabytes(idle), idle <= 30e6, "the pages of the program itself that a quiet server goes on using, the Go runtime, SQLite")
	_, none, err := b.weighed(ctx, 0)
	if err != nil {
		return err
	}
	ready, some, err := b.weighed(ctx, b.scale.many)
	if err != nil {
		return err
	}
	each := float64(some-none) / float64(b.scale.many)
	n := fmt.Sprintf("%d live grants, each with a token", b.scale.many)
	b.report.check(b.out, "ready, "+n, "≤ 5 s", ready.Round(time.Millisecond).String(), ready <= 5*time.Second, "reading the rows out of SQLite and filling the index")
	b.report.tell(b.out, fmt.Sprintf("resident memory, no grants, %d principals, %d resources", principals, resources), megabytes(none))
	b.report.tell(b.out, "resident memory, "+n, megabytes(some))
	if !b.scale.short { // of a few grants it says nothing
		b.report.check(b.out, "bytes a live grant, its token included", "≤ 400", fmt.Sprintf("%.0f", each), each <= 400, "the collector's room to move beside what the index holds")
	}
	return nil
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// weighed weighs a server with so many live grants.
func (b *bench) weighed(ctx context.Context, n int) (time.Duration, int64, error) {
	w, err := b.seeded(ctx, n)
	if err != nil {
		return 0, 0, err
	}
	return b.weigh(ctx, w)
}

// weigh starts a server three times on a copy and returns the median of the
// times until it served, and its memory a few seconds after the last.
func (b *bench) weigh(ctx context.Context, seed *world) (time.Duration, int64, error) {
	w, err := b.copyOf(ctx, seed, "start")
	if err != nil {
		return 0, 0, err
	}
	defer w.remove()
	var took []time.Duration
	for {
		s, err := b.start(ctx, w, b.binary)
		if err != nil {
			return 0, 0, err
		}
		took = append(took, s.ready)
		if len(took) < 3 {
			s.stop()
			continue
		}
		time.Sleep(b.scale.round)
		rss, err := s.rss()
		s.stop()
		return median(took), rss, err
	}
}
