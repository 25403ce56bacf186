// Package failpoint names the instants at which a test may stop, break or
// slow down a server: before and after each part of a commit, each effect, each
// reveal of a secret, each file that is put in place. A binary built with the
// tag failpoint does at a point what the environment says; any other binary
// holds nothing of this package, as its functions are empty and inlined.
//
//	DAYPASS_FAILPOINT       name=action[@hits], several apart by semicolons
//	DAYPASS_FAILPOINT_SEED  a number that draws the hit out of a range
//	DAYPASS_FAILPOINT_TRACE a file to which hits are appended, "name count"
//
// The actions are
//
//	kill          the process ends as by SIGKILL
//	error         Fail returns an error (Hit passes by)
//	sleep:200ms   the goroutine waits
//	pause:FILE    FILE is made, and the goroutine waits until it is gone
//
// and hits are 3 (the third hit alone, 1 when left out), 2-40 (one of these,
// drawn by the seed) or * (each).
//
// It refuses a point that is not in Points, an action that it does not know,
// and to be configured by anything but the environment of its process.
package failpoint

import "errors"

// ErrInjected is wrapped by what Fail returns.
var ErrInjected = errors.New("an injected failure")

// Point is one named instant.
type Point struct {
	Name string
	When Phase
}

// Phase says in which part of a server's life a point lies, so that a driver
// knows what to do to get there.
type Phase int

// The phases.
const (
	Load   Phase = iota // while it serves
	Birth               // at the first start, on an empty folder
	Start               // at each start
	Stop                // at a shutdown
	Strain              // only when something else has gone wrong
)
