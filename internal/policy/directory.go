package policy

import (
	"slices"

	"github.com/daypass/daypass/internal/access"
)

// Groups returns the groups that id belongs to, directly and through others,
// sorted. Unknown and disabled principals have none.
func (c *Catalog) Groups(id string) []string {
	if _, ok := c.enabled(id); !ok {
		return nil
	}
	return slices.Clone(c.groupsOf[id])
}

// Person implements access.Directory.
func (c *Catalog) Person(id string) (string, bool) {
	p, ok := c.enabled(id)
	if !ok {
		return "", false
	}
	return p.person(), true
}

// Member implements access.Directory. Unknown and disabled principals are
// members of nothing, not even of a set that names them.
func (c *Catalog) Member(id string, set []string) bool {
	if _, ok := c.enabled(id); !ok {
		return false
	}
	groups := c.memberOf[id]
	return slices.ContainsFunc(set, func(s string) bool { return s == id || groups[s] })
}

// Related implements access.Directory. It holds for disabled principals too: a
// disabled account is still the same person's.
func (c *Catalog) Related(a, b string) bool {
	p, ok := c.principals[a]
	_, known := c.principals[b]
	return ok && known && !c.unrelatedTo(b)(p)
}

// unrelatedTo returns what tells whether somebody is not related to id, which
// must be known; nobody passes for an unknown one.
func (c *Catalog) unrelatedTo(id string) func(*Principal) bool {
	q, ok := c.principals[id]
	if !ok {
		return func(*Principal) bool { return false }
	}
	line := c.line(q)
	return func(p *Principal) bool {
		return !slices.Contains(line, p.person()) && !slices.Contains(c.line(p), q.person())
	}
}

// line is the person behind p and those who own it, directly or through others.
func (c *Catalog) line(p *Principal) []string {
	out := []string{p.person()}
	for p.Owner != "" && len(out) <= len(c.principals) {
		owner, ok := c.principals[p.Owner]
		if !ok {
			break
		}
		p = owner
		out = append(out, p.person())
	}
	return out
}

// Answerable returns the person who answers for id: the one behind it, or
// behind the last of those who own it. Accounts of one person, and all services
// and agents of theirs, have the same; an unknown one answers for itself.
func (c *Catalog) Answerable(id string) string {
	p, ok := c.principals[id]
	if !ok {
		return id
	}
	line := c.line(p)
	return line[len(line)-1]
}

func (p *Principal) person() string {
	if p.Person != "" {
		return p.Person
	}
	return p.ID
}

// Owns reports whether principal, itself or through a group, is among the
// owners of resource. Unknown and disabled principals own nothing.
func (c *Catalog) Owns(principal, resource string) bool {
	r, ok := c.resources[resource]
	return ok && c.Member(principal, r.Owners)
}

// Approvers returns the user accounts that may vote in stage on a request of
// requester, sorted: enabled, in the stage's set, and not related to the
// requester. An unknown requester has none.
func (c *Catalog) Approvers(stage access.Stage, requester string) []string {
	unrelated := c.unrelatedTo(requester)
	var out []string
	for _, id := range stage.From {
		for _, user := range c.usersOf[id] {
			if unrelated(c.principals[user]) {
				out = append(out, user)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
