package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/daypass/daypass/internal/config"
)

// membership reads the groups, refuses cycles, and works out who is in what.
func (k *checker) membership(entries []config.Located[groupEntry]) {
	listed := make(map[string]bool)
	for _, e := range entries {
		id := e.Value.ID
		switch {
		case !k.typed(id, "a group", "group"):
		case listed[id.Value]:
			k.fault(id.Node, "%s is listed twice", id.Value)
		default:
			listed[id.Value] = true
			if e.Value.FromLogin {
				k.fromLogin = append(k.fromLogin, id.Value)
			}
			k.groups[id.Value] = id.Node
		}
	}
	parents := make(map[string][]string) // principal or group → groups that list it
	for _, p := range k.c.principals {
		parents[p.ID] = append(parents[p.ID], p.Groups...)
	}
	for _, e := range entries {
		var members []string
		for _, m := range e.Value.Members {
			switch {
			case !k.typed(m, "a member", "user", "service", "agent", "group"):
			case kindOf(m.Value) == "group" && k.groups[m.Value] == nil:
				k.fault(m.Node, "%s does not exist: list it on a principal or under groups", m.Value)
			case kindOf(m.Value) != "group" && k.c.principals[m.Value] == nil:
				k.fault(m.Node, "%s is not among the principals", m.Value)
			case slices.Contains(members, m.Value):
				k.fault(m.Node, "%s is listed twice", m.Value)
			default:
				members = append(members, m.Value)
				parents[m.Value] = append(parents[m.Value], e.Value.ID.Value)
			}
		}
	}
	k.c.parents, k.c.groupIDs = parents, slices.Sorted(maps.Keys(k.groups))
	k.cycles(parents)
	k.close(parents)
	k.openGroups()
}

// cycles reports each group that is a member of itself through others, once
// per cycle.
func (k *checker) cycles(parents map[string][]string) {
	const (
		open = 1
		done = 2
	)
	state := make(map[string]int)
	var path []string
	var visit func(id string)
	visit = func(id string) {
		state[id] = open
		path = append(path, id)
		for _, parent := range slices.Sorted(slices.Values(parents[id])) {
			switch state[parent] {
			case open:
				around := append(slices.Clone(path[slices.Index(path, parent):]), parent)
				k.fault(k.groups[parent], "a cycle of groups: %s", strings.Join(around, " is in "))
			case 0:
				visit(parent)
			}
		}
		path = path[:len(path)-1]
		state[id] = done
	}
	for _, id := range slices.Sorted(maps.Keys(k.groups)) {
		if state[id] == 0 {
			visit(id)
		}
	}
}

// close works out every principal's groups and every group's enabled users.
func (k *checker) close(parents map[string][]string) {
	c := k.c
	c.memberOf = make(map[string]map[string]bool, len(c.principals))
	c.groupsOf = make(map[string][]string, len(c.principals))
	c.usersOf = make(map[string][]string)
	for _, id := range c.principalIDs {
		all := make(map[string]bool)
		for todo := slices.Clone(parents[id]); len(todo) > 0; {
			group := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if !all[group] {
				all[group] = true
				todo = append(todo, parents[group]...)
			}
		}
		c.memberOf[id] = all
		c.groupsOf[id] = slices.Sorted(maps.Keys(all))
		if p := c.principals[id]; p.Kind() == "user" && !p.Disabled {
			c.usersOf[id] = []string{id}
			for _, group := range c.groupsOf[id] {
				c.usersOf[group] = append(c.usersOf[group], id)
			}
		}
	}
}
