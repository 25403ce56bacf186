package lint_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/daypass/daypass/internal/daemon"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/policy/lint"
)

// large is a catalog of 1,000 principals, 200 resources with two roles each,
// and 100 rules.
func large() []byte {
	var s strings.Builder
	s.WriteString("principals:\n")
	for i := range 1000 {
		fmt.Fprintf(&s, "  - {id: user:p%d, groups: [group:g%d, group:h%d, group:all], attributes: {level: \"%d\"}}\n", i, i%50, i%7, i%3)
	}
	s.WriteString("resources:\n")
	for i := range 200 {
		fmt.Fprintf(&s, "  - {id: r-%d, kind: http, labels: {env: e%d, n: \"%d\"}, owners: [group:g%d], http: {upstream: http://h}, roles: {read: {methods: [GET], paths: [\"/**\"]}, write: {methods: [POST], paths: [\"/**\"]}}}\n", i, i%4, i, i%50)
	}
	s.WriteString("policy:\n  guardrails:\n    - {name: prod, when: 'resource.labels.env == \"e0\"', require: {ticket: 'INC-[0-9]+', max_duration: 4h}}\n  rules:\n")
	for i := range 99 {
		fmt.Fprintf(&s, "    - {name: rule %d, kind: http, when: '\"group:g%d\" in principal.groups && resource.labels.env == \"e%d\" && scope.methods == [\"GET\"] && request.duration < duration(\"%dm\")', approve: {stages: [{name: s, from: [resource.owners], quorum: 2}]}, max_duration: 1h}\n", i, i%50, i%4, 10+i)
	}
	s.WriteString("    - {name: last, when: 'resource.owners.exists(o, o in principal.groups) || size(principal.groups) > 0', approve: {stages: [{name: s, from: [group:all], quorum: 2}]}, max_duration: 1h}\n")
	return []byte(s.String())
}

func BenchmarkCheck(b *testing.B) {
	c, err := policy.Parse(large(), daemon.PolicyKinds())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if report := lint.Check(c, lint.Options{}); report.Bounded != "" {
			b.Fatal(report.Bounded)
		}
	}
}
