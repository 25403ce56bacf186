//go:build !unix

package main

import "os"

// notifyHangup has no such signal here: restart the server to read the catalog
// again.
func notifyHangup(chan<- os.Signal) {}
