package main

import "time"

// kin names the packages whose tests belong to a package beside its own: those
// that are made of it and show what it is for. They are asked in this order,
// the cheapest first, and only about mutants that survived all before. A
// package stands here when its tests notice something: those of oauth and
// forward were asked about 81 mutants of credential and noticed none.
var kin = map[string][]string{
	"internal/policy": {"internal/policy/lint", "internal/policy/rehearse"},
}

// dear is how much of a processor a test of another package may take and still
// be asked.
const dear = 2 * time.Second
