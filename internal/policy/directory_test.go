package policy

import (
	"testing"

	"github.com/daypass/daypass/internal/access"
	"github.com/google/go-cmp/cmp"
)

// crowd has second accounts, services, agents, nested groups and the disabled.
const crowd = `principals:
  - {id: user:ana, groups: [group:dev]}
  - {id: user:ana2, person: user:ana, groups: [group:sre]}
  - {id: user:bo}
  - {id: user:gone, disabled: true, groups: [group:dev]}
  - {id: user:gone2, person: user:gone, groups: [group:dev]}
  - {id: service:ci, owner: user:ana2, groups: [group:bots]}
  - {id: service:cd, owner: user:ana}
  - {id: agent:left, owner: user:gone}
groups:
  - {id: group:all, members: [group:dev, group:sre, service:cd]}
  - {id: group:world, members: [group:all, user:bo]}
  - {id: group:empty}
resources:
  - {id: db, kind: postgres, owners: [group:sre, user:bo], free_scope: true, postgres: {upstream: h}}
`

func TestDirectory(t *testing.T) {
	c := parse(t, crowd)
	for id, want := range map[string][]string{
		"user:ana": {"group:all", "group:dev", "group:world"}, "user:ana2": {"group:all", "group:sre", "group:world"},
		"user:bo": {"group:world"}, "service:ci": {"group:bots"}, "service:cd": {"group:all", "group:world"},
		"user:gone": nil, "user:gone2": nil, "agent:left": nil, "user:nobody": nil, "group:dev": nil, "": nil,
	} {
		if got := c.Groups(id); !cmp.Equal(got, want) {
			t.Errorf("groups of %s: %v", id, got)
		}
	}
	for id, want := range map[string]string{
		"user:ana": "user:ana", "user:ana2": "user:ana", "service:ci": "service:ci", "user:gone": "", "user:gone2": "", "agent:left": "", "x": "",
	} {
		if got, ok := c.Person(id); got != want || ok != (want != "") {
			t.Errorf("person of %s: %q, %v", id, got, ok)
		}
	}
	for _, test := range []struct {
		id   string
		set  []string
		want bool
	}{
		{"user:ana", []string{"user:ana"}, true}, {"user:ana", []string{"user:bo", "group:world"}, true},
		{"user:ana", []string{"group:sre"}, false}, {"user:ana2", []string{"user:ana"}, false},
		{"user:gone", []string{"user:gone", "group:dev"}, false}, {"user:x", []string{"user:x"}, false}, {"user:ana", nil, false},
	} {
		if got := c.Member(test.id, test.set); got != test.want {
			t.Errorf("%s in %v: %v", test.id, test.set, got)
		}
	}
	if !c.Owns("user:ana2", "db") || !c.Owns("user:bo", "db") || c.Owns("user:ana", "db") || c.Owns("user:bo", "x") {
		t.Error("owners of db")
	}
	if p, _ := c.Principal("agent:left"); !p.Disabled || p.DisabledBy != "user:gone" {
		t.Errorf("%+v is not disabled with its owner", p)
	}
}

// Invariant: A9
func TestRelated(t *testing.T) {
	c := parse(t, crowd)
	groups := [][]string{{"user:ana", "user:ana2", "service:ci", "service:cd"}, {"user:bo"}, {"user:gone", "user:gone2", "agent:left"}}
	where := map[string]int{"user:nobody": -1}
	for i, g := range groups {
		for _, id := range g {
			where[id] = i
		}
	}
	for a, i := range where {
		for b, j := range where {
			want := i == j && i >= 0
			if a != b && kindOf(a) == "service" && kindOf(b) == "service" {
				want = false // two services of one owner: neither owns the other
			}
			if got := c.Related(a, b); got != want {
				t.Errorf("%s and %s: %v", a, b, got)
			}
		}
	}
}

// Invariant: A9, A13
func TestApprovers(t *testing.T) {
	c := parse(t, crowd)
	for requester, want := range map[string][]string{
		"user:bo": {"user:ana", "user:ana2"}, "user:ana": {"user:bo"}, "service:ci": {"user:bo"}, "service:cd": {"user:bo"},
		"agent:left": {"user:ana", "user:ana2", "user:bo"}, "user:nobody": nil,
	} {
		stage := access.Stage{From: []string{"group:world", "user:ana", "service:cd", "user:gone", "group:none"}, Quorum: 1}
		if got := c.Approvers(stage, requester); !cmp.Equal(got, want) {
			t.Errorf("approvers for %s: %v", requester, got)
		}
	}
}
