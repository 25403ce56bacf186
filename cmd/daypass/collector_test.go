package main

import (
	"runtime"
	"testing"
)

func TestTheCollectorHasRoom(t *testing.T) {
	goal := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.NextGC
	}
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	before := goal()
	done := makeRoom()
	if after := goal(); after < before+room {
		t.Errorf("the heap may grow to %d, to %d before", after, before)
	}
	done()
	t.Setenv("GOMEMLIMIT", "64MiB")
	done = makeRoom()
	if after := goal(); after > before+room {
		t.Errorf("the heap may grow to %d in spite of GOMEMLIMIT", after)
	}
	done()
}
