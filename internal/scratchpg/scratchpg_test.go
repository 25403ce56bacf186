package scratchpg

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestItIsThereAndThenGone(t *testing.T) {
	bin, err := Find()
	if err != nil {
		t.Fatalf("%v: run tools/setup", err)
	}
	s, err := Start(t.Context(), bin, "secret of a test", "log_min_messages = 'error'")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context(), "postgres", "create database shop"); err != nil {
		t.Error(err)
	}
	if err := s.Run(t.Context(), "shop", "create table orders (id int)", "select from nowhere"); err == nil {
		t.Error("an error of a script was lost")
	}
	if left, err := filepath.Glob(filepath.Join(s.Dir, "password")); err != nil || len(left) != 0 {
		t.Errorf("the password lies about: %v, %v", left, err)
	}
	s.Stop()
	if _, err := os.Stat(s.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its folder is left: %v", err)
	}
	if _, err := s.Connect(t.Context(), "postgres"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("it still answers: %v", err)
	}
}

// What ends a process without asking ends its standard streams too.
func TestItEndsWithWhoStartedIt(t *testing.T) {
	bin, err := Find()
	if err != nil {
		t.Fatalf("%v: run tools/setup", err)
	}
	s, err := Start(t.Context(), bin, "secret of a test")
	if err != nil {
		t.Fatal(err)
	}
	_ = s.stop.Close() // as the kernel does for a process that was killed
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		_, err := os.Stat(s.Dir)
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("its folder is left: %v", err)
		}
	}
	_ = s.wait()
}

func TestTheNewestIsFound(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	packages := t.TempDir()
	if _, err := find(packages); !errors.Is(err, ErrNone) {
		t.Errorf("found where there is nothing: %v", err)
	}
	for _, file := range []string{"9.6/bin/postgres", "9.6/bin/initdb", "15/bin/postgres", "15/bin/initdb", "18/bin/postgres"} {
		path := filepath.Join(packages, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if dir, err := find(packages); err != nil || dir != filepath.Join(packages, "15", "bin") {
		t.Errorf("%s, %v", dir, err)
	}
	t.Setenv("PATH", filepath.Join(packages, "9.6", "bin"))
	if dir, err := find(packages); err != nil || dir != filepath.Join(packages, "9.6", "bin") {
		t.Errorf("the one on PATH: %s, %v", dir, err)
	}
}

// What Up has started ends as the first one does.
func TestItGoesDownAndUp(t *testing.T) {
	bin, err := Find()
	if err != nil {
		t.Fatalf("%v: run tools/setup", err)
	}
	s, err := Start(t.Context(), bin, "secret of a test")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	if err := s.Run(t.Context(), "postgres", "create table kept (id int)"); err != nil {
		t.Fatal(err)
	}
	if err := s.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Connect(t.Context(), "postgres"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("it still answers: %v", err)
	}
	if err := s.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context(), "postgres", "select * from kept"); err != nil {
		t.Error(err)
	}
	s.Stop()
	if _, err := os.Stat(s.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its folder is left: %v", err)
	}
	if _, err := s.Connect(t.Context(), "postgres"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("it still answers: %v", err)
	}
}
