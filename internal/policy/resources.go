package policy

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/daypass/daypass/internal/config"
	"github.com/goccy/go-yaml/ast"
)

type resourceEntry struct {
	ID         text                              `yaml:"id,required"`
	Kind       text                              `yaml:"kind,required"`
	Labels     config.Located[map[string]string] `yaml:"labels"`
	Owners     []text                            `yaml:"owners"`
	Roles      ast.Node                          `yaml:"roles"`
	FreeScope  bool                              `yaml:"free_scope"`
	JWT        *bool                             `yaml:"jwt"`
	Disabled   bool                              `yaml:"disabled"`
	Introspect []text                            `yaml:"introspect"`
	Rest       []config.Entry                    `yaml:",rest"`
}

var resourceKeys = []string{"id", "kind", "labels", "owners", "roles", "free_scope", "jwt", "disabled", "introspect"}

func (k *checker) resources(entries []config.Located[resourceEntry]) {
	k.c.resources = make(map[string]*Resource, len(entries))
	for _, e := range entries {
		r := k.resource(e)
		if r == nil {
			continue
		}
		if _, twice := k.c.resources[r.ID]; twice {
			k.fault(e.Value.ID.Node, "%s is listed twice", r.ID)
			continue
		}
		k.c.resources[r.ID] = r
		k.c.resourceIDs = append(k.c.resourceIDs, r.ID)
	}
	slices.Sort(k.c.resourceIDs)
}

func (k *checker) resource(located config.Located[resourceEntry]) *Resource {
	e := located.Value
	r := &Resource{
		ID: e.ID.Value, Labels: k.labels(e.Labels, "label"), FreeScope: e.FreeScope,
		JWT: e.JWT == nil || *e.JWT, Disabled: e.Disabled,
	}
	if e.ID.Sound() && !resourceID.MatchString(r.ID) {
		k.fault(e.ID.Node, "%q is not a resource ID: use a-z, 0-9 and -, at most 63, no - at the ends: it becomes part of a host name", clip(r.ID))
	}
	r.Owners = k.owners(e.Owners)
	for _, s := range e.Introspect {
		switch {
		case !k.typed(s, "an introspecting principal", "service"):
		case k.c.principals[s.Value] == nil:
			k.fault(s.Node, "%s is not among the principals", s.Value)
		case slices.Contains(r.Introspect, s.Value):
			k.fault(s.Node, "%s is listed twice", s.Value)
		default:
			r.Introspect = append(r.Introspect, s.Value)
		}
	}
	if !e.Kind.Sound() {
		return nil
	}
	if r.Kind = k.kinds[e.Kind.Value]; r.Kind == nil {
		k.unknownKind(e.Kind)
		return nil
	}
	var block ast.Node
	for _, entry := range e.Rest {
		if entry.Key == r.Kind.Name() {
			block = entry.Value
			continue
		}
		k.errs = append(k.errs, config.UnknownKey(entry, append(slices.Clone(resourceKeys), r.Kind.Name())))
	}
	var err error
	if r.Config, err = r.Kind.ParseConfig(block); err != nil {
		at := block
		if at == nil {
			at = located.Node
		}
		k.errs = append(k.errs, config.At(at, err)...)
	}
	k.roles(r, located)
	if !e.ID.Sound() {
		return nil
	}
	return r
}

func (k *checker) unknownKind(kind text) {
	k.fault(kind.Node, "the kind %q is not in this build: it has %s", clip(kind.Value), strings.Join(slices.Sorted(maps.Keys(k.kinds)), ", "))
}

func (k *checker) owners(given []text) []string {
	out := []string{}
	for _, o := range given {
		switch {
		case !k.typed(o, "an owner", "group", "user"):
		case kindOf(o.Value) == "group" && k.groups[o.Value] == nil:
			k.fault(o.Node, "%s does not exist: list it on a principal or under groups", o.Value)
		case kindOf(o.Value) == "user" && k.c.principals[o.Value] == nil:
			k.fault(o.Node, "%s is not among the principals", o.Value)
		case slices.Contains(out, o.Value):
			k.fault(o.Node, "%s is listed twice", o.Value)
		default:
			out = append(out, o.Value)
		}
	}
	return out
}

func (k *checker) roles(r *Resource, located config.Located[resourceEntry]) {
	var entries []config.Entry
	if node := located.Value.Roles; node != nil {
		var err error
		entries, err = config.Entries(node)
		k.errs = append(k.errs, config.At(node, err)...)
	}
	if len(entries) == 0 && !r.FreeScope {
		k.fault(located.Node, "without roles nothing of this resource could be requested: give roles, or free_scope: true")
	}
	for _, e := range entries {
		if !roleName.MatchString(e.Key) {
			k.fault(e.KeyNode, "%q is not a role name: use a-z, 0-9 and . _ -, at most 63", clip(e.Key))
			continue
		}
		if e.Value == nil {
			k.fault(e.KeyNode, "the role %s has no scope", e.Key)
			continue
		}
		raw, err := config.JSON(e.Value)
		if err != nil {
			k.errs = append(k.errs, config.At(e.Value, err)...)
			continue
		}
		scope, err := r.Kind.ParseScope(raw)
		if err != nil {
			k.fault(e.Value, "the scope of role %s: %s", e.Key, message(err))
			continue
		}
		if err := r.fits(scope); err != nil {
			k.fault(e.Value, "the scope of role %s: %s", e.Key, message(err))
			continue
		}
		r.Roles = append(r.Roles, Role{Name: e.Key, Scope: scope})
	}
	slices.SortFunc(r.Roles, func(a, b Role) int { return strings.Compare(a.Name, b.Name) })
}

// fits asks the resource's own block about s, where it knows.
func (r *Resource) fits(s Scope) error {
	if c, ok := r.Config.(Fitting); ok {
		return c.Fits(s)
	}
	return nil
}

// message is err without places: those of a scope's JSON say nothing of the
// file that it came from.
func message(err error) string {
	var errs config.Errors
	if !errors.As(err, &errs) {
		return err.Error()
	}
	lines := make([]string, len(errs))
	for i, e := range errs {
		lines[i] = e.Message
	}
	return strings.Join(lines, "; ")
}
