package policy

// Catalog is one immutable, checked version of principals, resources and
// policy. It is an access.Directory.
type Catalog struct{}

// Parse checks a catalog in YAML or JSON. Its error is a Problems.
func Parse(src []byte, kinds []Kind) (*Catalog, error) { panic("being written") }

// Empty is the catalog of a new server: nobody, nothing, nothing allowed.
func Empty() *Catalog { panic("being written") }

// Version is "sha256:" and the hex SHA-256 of Canonical.
func (c *Catalog) Version() string { panic("being written") }

// Canonical is the RFC 8785 form of the catalog; Parse takes it back and gives
// the same version.
func (c *Catalog) Canonical() []byte { panic("being written") }

// Principal returns a principal, also a disabled one.
func (c *Catalog) Principal(id string) (*Principal, bool) { panic("being written") }

// Principals returns all principals by ID.
func (c *Catalog) Principals() []*Principal { panic("being written") }

// Resource returns a resource, also a disabled one.
func (c *Catalog) Resource(id string) (*Resource, bool) { panic("being written") }

// Resources returns all resources by ID.
func (c *Catalog) Resources() []*Resource { panic("being written") }

// Groups returns the groups that id belongs to, directly and through others,
// sorted. Unknown and disabled principals have none.
func (c *Catalog) Groups(id string) []string { panic("being written") }

// Person implements access.Directory.
func (c *Catalog) Person(id string) (string, bool) { panic("being written") }

// Member implements access.Directory.
func (c *Catalog) Member(id string, set []string) bool { panic("being written") }

// Related implements access.Directory.
func (c *Catalog) Related(a, b string) bool { panic("being written") }

// Evaluate decides. It never fails: whatever goes wrong is a refusal.
func (c *Catalog) Evaluate(in Input) Decision { panic("being written") }

// Holds reports whether the named rule's condition is true of in (in.Groups
// included, as given): whether a grant still rests on what its rule needed.
func (c *Catalog) Holds(rule string, in Input) bool { panic("being written") }

// Requestable reports whether some rule could let principal ask for resource
// at all, and with it whether the principal may see the resource. It
// evaluates every role, and free scopes by their conditions' other parts.
func (c *Catalog) Requestable(in Input) bool { panic("being written") }
