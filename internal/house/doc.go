// Package house holds the rules of the source tree itself, as tests: which
// package may import which, that every package says its duty, that every kind
// is in the daemon's list, and that docs/invariants.md names the tests that
// prove each invariant.
//
// It refuses to hold anything that runs outside tests.
package house
