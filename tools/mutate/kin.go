package main

import "time"

// kin names the packages whose tests belong to a package beside its own: those
// that are made of it and show what it is for, and its readers whose tests hold
// them to it. They are asked in this order, the cheapest first, and only about
// mutants that survived all before.
var kin = map[string][]string{
	"internal/access":     {"internal/broker"},
	"internal/policy":     {"internal/policy/lint", "internal/policy/rehearse"},
	"internal/audit":      {"internal/replay", "internal/cli", "internal/store/sqlite"},
	"internal/credential": {"internal/oauth", "internal/forward", "internal/broker"},
}

// dear is how long a test of another package may take and still be asked: a
// crash run or a stress test of the whole server is not about this package.
const dear = 2 * time.Second
