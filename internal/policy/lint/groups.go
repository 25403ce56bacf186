package lint

import (
	"slices"

	"cel.dev/cel-go/common/ast"

	"github.com/daypass/daypass/internal/policy"
)

// groups finds groups that nothing uses, and used ones without a member.
func (l *linter) groups() {
	used, all := l.usedGroups()
	members := l.members()
	for _, id := range l.c.GroupIDs() {
		at := l.c.Place("group", id)
		switch {
		case used[id] && !members[id]:
			l.warn(at, "group-empty", "add members, or take it out of the policy", "%s is used, and no enabled principal is in it", id)
		case !used[id] && !all:
			l.note(at, "group-unused", "remove it, or use it", "%s is used by no stage, owner or condition", id)
		}
	}
}

// usedGroups are those that anything names, with those inside them. all says
// that a condition may look at any group.
func (l *linter) usedGroups() (used map[string]bool, all bool) {
	used = map[string]bool{}
	for _, r := range l.c.Resources() {
		for _, id := range r.Owners {
			used[id] = true
		}
	}
	conditions := []policy.When{}
	for _, g := range l.guardrails {
		conditions = append(conditions, g.When)
	}
	for _, r := range l.rules {
		conditions = append(conditions, r.When)
		if r.BreakGlass != nil {
			for _, id := range r.BreakGlass.Notify {
				used[id] = true
			}
		}
		for _, s := range r.Stages {
			for _, id := range s.From {
				used[id] = true
			}
		}
	}
	for _, w := range conditions {
		named, mentions := 0, 0
		visit(w, func(e ast.Expr) {
			if selects(e, "principal", "groups") {
				mentions++
			}
			for _, id := range compared(e, "principal", "groups") {
				used[id] = true
				named++
			}
			for _, id := range compared(e, "resource", "owners") {
				used[id] = true
			}
		})
		all = all || mentions > named
	}
	// What is inside of a used group is used with it.
	for changed := true; changed; {
		changed = false
		for _, id := range l.c.GroupIDs() {
			if !used[id] && slices.ContainsFunc(l.c.Parents(id), func(parent string) bool { return used[parent] }) {
				used[id], changed = true, true
			}
		}
	}
	return used, all
}

// members are the groups that some enabled principal is in.
func (l *linter) members() map[string]bool {
	out := map[string]bool{}
	for _, p := range l.c.Principals() {
		for _, id := range l.c.Groups(p.ID) {
			out[id] = true
		}
	}
	return out
}
