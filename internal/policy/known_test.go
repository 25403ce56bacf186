package policy

import (
	"slices"
	"testing"

	"github.com/daypass/daypass/internal/access"
)

const loginCatalog = `
principals:
  - {id: user:ana, groups: [group:dev], oidc: {issuer: "https://id.example", subject: a1}}
  - {id: user:bo, disabled: true}
groups:
  - {id: group:dba, from_login: true}
  - {id: group:ops, members: [group:dba]}
resources: []
policy:
  rules:
    - {name: r, when: "true", approve: {stages: [{name: s, from: [group:ops], quorum: 2}]}, max_duration: 1h}
`

func TestWhatLoginsSayIsBesideTheCatalog(t *testing.T) {
	c, err := Parse([]byte(loginCatalog), kinds)
	if err != nil {
		t.Fatal(err)
	}
	if who, ok := c.SubjectOf(Subject{"https://id.example", "a1"}); !ok || who != "user:ana" {
		t.Errorf("the identity is %q", who)
	}
	with := c.With([]Known{{ID: "user:ana", Groups: []string{"group:dba"}, Admin: true}, {ID: "user:bo", Groups: []string{"group:dba"}}, {ID: "user:newt", Groups: []string{"group:dba"}}, {ID: "service:x", Groups: []string{"group:dba"}}})
	if with.Version() != c.Version() || string(with.Canonical()) != string(c.Canonical()) {
		t.Error("it is another version")
	}
	for id, want := range map[string][]string{"user:ana": {"group:dba", "group:dev", "group:ops"}, "user:newt": {"group:dba", "group:ops"}, "user:bo": nil, "service:x": nil} {
		if got := with.Groups(id); !slices.Equal(got, want) {
			t.Errorf("%s is in %v, want %v", id, got, want)
		}
	}
	stage := access.Stage{From: []string{"group:ops"}, Quorum: 1}
	if got := with.Approvers(stage, "user:ana"); !slices.Equal(got, []string{"user:newt"}) {
		t.Errorf("approvers of ana: %v", got)
	}
	if p, _ := with.Principal("user:ana"); p.Admin {
		t.Error("a login made somebody of the catalog an admin")
	}
	// What it was made from stays what it was.
	if got := c.Groups("user:ana"); !slices.Equal(got, []string{"group:dev"}) || len(c.Approvers(stage, "user:ana")) != 0 {
		t.Errorf("the catalog itself changed: %v", got)
	}
	if _, known := c.Principal("user:newt"); known {
		t.Error("the catalog itself knows who came by a login")
	}
	if !c.Lead([]string{"group:dba"}, []string{"group:ops"}) || c.Lead([]string{"group:ops"}, []string{"group:dba"}) || c.Lead(nil, []string{"group:ops"}) {
		t.Error("Lead goes from members to groups")
	}
	if again := Empty().With([]Known{{ID: "user:setup", Admin: true}}); !again.Member("user:setup", []string{"user:setup"}) {
		t.Error("nobody can be added to an empty catalog")
	}
}
