//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// notifyHangup delivers the signal that asks to read the catalog again.
func notifyHangup(c chan<- os.Signal) { signal.Notify(c, syscall.SIGHUP) }
