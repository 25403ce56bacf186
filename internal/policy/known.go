package policy

import (
	"maps"
	"slices"
)

// Known is somebody as a login has made them known: beside what a catalog says
// of them, or in its place where it says nothing.
type Known struct {
	ID     string   // user:…
	Groups []string // typed
	// Admin is for the one who sets a new server up, and only of somebody whom
	// the catalog does not know.
	Admin bool
}

// With returns the catalog with what logins say: groups beside those that it
// lists, and people whom it does not list, who have nothing but these groups.
// It is the same version of the same file; who may approve what is still the
// file's to say.
func (c *Catalog) With(people []Known) *Catalog {
	if len(people) == 0 {
		return c
	}
	out := *c
	out.principals, out.memberOf, out.groupsOf, out.usersOf = maps.Clone(c.principals), maps.Clone(c.memberOf), maps.Clone(c.groupsOf), maps.Clone(c.usersOf)
	if out.principals == nil { // of a server without a catalog
		out.principals, out.memberOf, out.groupsOf, out.usersOf = map[string]*Principal{}, map[string]map[string]bool{}, map[string][]string{}, map[string][]string{}
	}
	for _, k := range people {
		p, listed := c.principals[k.ID]
		if !listed {
			p = &Principal{ID: k.ID, Groups: slices.Clone(k.Groups), Admin: k.Admin, Attributes: map[string]string{}}
			out.principals[k.ID] = p
		}
		if p.Kind() != "user" {
			continue
		}
		out.join(p, k.Groups)
	}
	out.principalIDs = slices.Sorted(maps.Keys(out.principals))
	return &out
}

// join makes p a member of groups, and of those that these are in.
func (c *Catalog) join(p *Principal, groups []string) {
	all := maps.Clone(c.memberOf[p.ID])
	if all == nil {
		all = map[string]bool{}
	}
	added := []string{}
	for g := range c.reached(groups) {
		if !all[g] {
			all[g] = true
			added = append(added, g)
		}
	}
	c.memberOf[p.ID] = all
	c.groupsOf[p.ID] = slices.Sorted(maps.Keys(all))
	if p.Disabled {
		return
	}
	for _, id := range append(added, p.ID) {
		if users := c.usersOf[id]; !slices.Contains(users, p.ID) {
			users = append(slices.Clone(users), p.ID)
			slices.Sort(users)
			c.usersOf[id] = users
		}
	}
}

// reached are groups, and all groups that they are members of.
func (c *Catalog) reached(groups []string) map[string]bool {
	all := map[string]bool{}
	for todo := slices.Clone(groups); len(todo) > 0; {
		group := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !all[group] {
			all[group] = true
			todo = append(todo, c.parents[group]...)
		}
	}
	return all
}

// Lead reports whether a member of one of groups is in set.
func (c *Catalog) Lead(groups, set []string) bool {
	all := c.reached(groups)
	return slices.ContainsFunc(set, func(s string) bool { return all[s] })
}

// ValidUser reports whether id can be a user's ID.
func ValidUser(id string) bool { return typedID.MatchString(id) && kindOf(id) == "user" }

// ValidGroup reports whether id can be a group's ID.
func ValidGroup(id string) bool { return typedID.MatchString(id) && kindOf(id) == "group" }
