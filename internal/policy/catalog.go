package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/daypass/daypass/internal/access"
)

// Catalog is one immutable, checked version of principals, resources and
// policy. It is an access.Directory. What its methods return is shared: it must
// not be changed.
type Catalog struct {
	source    []byte
	canonical []byte
	version   string

	principals   map[string]*Principal
	principalIDs []string                   // sorted
	memberOf     map[string]map[string]bool // principal → its groups, directly or through others
	groupsOf     map[string][]string        // the same, sorted
	usersOf      map[string][]string        // user or group → enabled user accounts in it, sorted
	parents      map[string][]string        // principal or group → groups that list it
	groupIDs     []string                   // sorted
	subjects     map[Subject]string         // who logs in as which principal

	resources   map[string]*Resource
	resourceIDs []string        // sorted
	fronting    map[string]bool // principals that some resource lists under introspect

	guardrails []*guardrail
	rules      []*rule

	places map[string]Place // where things stand in the file; see Place
}

var _ access.Directory = (*Catalog)(nil)

// Empty is the catalog of a new server: nobody, nothing, nothing allowed.
func Empty() *Catalog {
	c := &Catalog{canonical: []byte("{}")}
	c.seal()
	return c
}

// seal fixes the version, once canonical is there, and who fronts what.
func (c *Catalog) seal() {
	sum := sha256.Sum256(c.canonical)
	c.version = "sha256:" + hex.EncodeToString(sum[:])
	c.fronting = map[string]bool{}
	for _, r := range c.resources {
		for _, p := range r.Introspect {
			c.fronting[p] = true
		}
	}
}

// Version is "sha256:" and the hex SHA-256 of Canonical.
func (c *Catalog) Version() string { return c.version }

// Canonical is the RFC 8785 form of the catalog; Parse takes it back and gives
// the same version. Comments, layout and the order of keys are not in it, the
// order of lists is.
func (c *Catalog) Canonical() []byte { return slices.Clone(c.canonical) }

// Source is the catalog as it was given to Parse.
func (c *Catalog) Source() []byte { return slices.Clone(c.source) }

// Principal returns a principal, also a disabled one.
func (c *Catalog) Principal(id string) (*Principal, bool) {
	p, ok := c.principals[id]
	return p, ok
}

// Principals returns all principals by ID.
func (c *Catalog) Principals() []*Principal {
	out := make([]*Principal, len(c.principalIDs))
	for i, id := range c.principalIDs {
		out[i] = c.principals[id]
	}
	return out
}

// Resource returns a resource, also a disabled one.
func (c *Catalog) Resource(id string) (*Resource, bool) {
	r, ok := c.resources[id]
	return r, ok
}

// Fronts reports whether some resource lists principal under introspect: it
// may ask about that resource.
func (c *Catalog) Fronts(principal string) bool { return c.fronting[principal] }

// Resources returns all resources by ID.
func (c *Catalog) Resources() []*Resource {
	out := make([]*Resource, len(c.resourceIDs))
	for i, id := range c.resourceIDs {
		out[i] = c.resources[id]
	}
	return out
}

// enabled returns a principal that is known and not disabled.
func (c *Catalog) enabled(id string) (*Principal, bool) {
	p, ok := c.principals[id]
	return p, ok && !p.Disabled
}
