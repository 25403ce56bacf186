package policy

import (
	"net/mail"
	"slices"
	"strings"

	"github.com/daypass/daypass/internal/config"
)

type principalEntry struct {
	ID          text                              `yaml:"id,required"`
	Groups      []text                            `yaml:"groups"`
	Owner       text                              `yaml:"owner"`
	Person      text                              `yaml:"person"`
	Email       text                              `yaml:"email"`
	Admin       bool                              `yaml:"admin"`
	Auditor     bool                              `yaml:"auditor"`
	Disabled    bool                              `yaml:"disabled"`
	Attributes  config.Located[map[string]string] `yaml:"attributes"`
	TokenSHA256 text                              `yaml:"token_sha256"`
	OIDC        config.Located[subjectEntries]    `yaml:"oidc"`
}

type groupEntry struct {
	ID      text   `yaml:"id,required"`
	Members []text `yaml:"members"`
	// FromLogin says that people also come to be members by what an identity
	// provider says of them: how many there are is known when somebody asks.
	FromLogin bool `yaml:"from_login"`
}

// principals reads everybody, then checks what they say of each other.
func (k *checker) principals(entries []config.Located[principalEntry]) {
	c := k.c
	c.principals = make(map[string]*Principal, len(entries))
	tokens := make(map[string]string)
	c.subjects = make(map[Subject]string)
	for _, e := range entries {
		p := k.principal(e.Value)
		if p == nil {
			continue
		}
		if digest := e.Value.TokenSHA256; digest.Sound() {
			k.token(p, digest, tokens)
		}
		if _, twice := c.principals[p.ID]; twice {
			k.fault(e.Value.ID.Node, "%s is listed twice", p.ID)
			continue
		}
		k.subjects(p, e.Value.OIDC)
		c.principals[p.ID] = p
		c.principalIDs = append(c.principalIDs, p.ID)
	}
	slices.Sort(c.principalIDs)
	for _, e := range entries {
		if p := c.principals[e.Value.ID.Value]; p != nil {
			k.relations(p, e)
		}
	}
	for _, p := range c.principals {
		p.DisabledBy = c.disabledBy(p)
	}
	for _, p := range c.principals {
		p.Disabled = p.DisabledBy != ""
	}
}

// disabledBy returns who of p, its person and its owners is disabled: what a
// disabled user owns does not go on without them.
func (c *Catalog) disabledBy(p *Principal) string {
	for _, id := range append([]string{p.ID, p.Owner}, c.line(p)...) {
		if q := c.principals[id]; q != nil && q.Disabled {
			return q.ID
		}
	}
	return ""
}

func (k *checker) principal(e principalEntry) *Principal {
	if !k.typed(e.ID, "a principal", "user", "service", "agent") {
		return nil
	}
	p := &Principal{
		ID: e.ID.Value, Owner: e.Owner.Value, Person: e.Person.Value, Email: e.Email.Value,
		Admin: e.Admin, Auditor: e.Auditor, Disabled: e.Disabled,
		Attributes: k.labels(e.Attributes, "attribute"),
	}
	for _, g := range e.Groups {
		if !k.typed(g, "a group", "group") {
			continue
		}
		if slices.Contains(p.Groups, g.Value) {
			k.fault(g.Node, "%s is listed twice", g.Value)
			continue
		}
		p.Groups = append(p.Groups, g.Value)
		if k.groups[g.Value] == nil {
			k.groups[g.Value] = g.Node
		}
	}
	if e.Email.Sound() {
		if a, err := mail.ParseAddress(p.Email); err != nil || a.Address != p.Email || strings.ContainsAny(p.Email, "\r\n") {
			k.fault(e.Email.Node, "%q is not a mail address", clip(p.Email))
		}
	}
	return p
}

func (k *checker) token(p *Principal, digest text, seen map[string]string) {
	value := strings.ToLower(digest.Value)
	switch {
	case !tokenDigest.MatchString(value):
		k.fault(digest.Node, "token_sha256 must be the SHA-256 of the whole dpat_… token as 64 hexadecimal digits")
		return
	case value == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855":
		k.fault(digest.Node, "token_sha256 is the digest of nothing: give the SHA-256 of a dpat_… token")
		return
	case seen[value] != "":
		k.fault(digest.Node, "token_sha256 is already that of %s: a token belongs to one principal", seen[value])
		return
	}
	seen[value] = p.ID
	p.TokenSHA256 = value
}

// relations checks owner and person.
func (k *checker) relations(p *Principal, e config.Located[principalEntry]) {
	owner, person := e.Value.Owner, e.Value.Person
	switch {
	case p.Kind() == "user" && owner.Given():
		k.fault(owner.Node, "a user has no owner: only services and agents have one")
		p.Owner = ""
	case p.Kind() == "user":
	case !owner.Given():
		k.fault(e.Node, "%s needs an owner: the user who answers for it", p.ID)
	case !k.typed(owner, "an owner", "user"):
		p.Owner = ""
	case k.c.principals[owner.Value] == nil:
		k.fault(owner.Node, "the owner %s is not among the principals", owner.Value)
		p.Owner = ""
	}
	if !person.Sound() {
		p.Person = ""
		return
	}
	other := k.c.principals[person.Value]
	switch {
	case p.Kind() != "user":
		k.fault(person.Node, "only a user stands for a person: %s has an owner instead", p.ID)
	case !k.typed(person, "a person", "user"):
	case person.Value == p.ID:
		k.fault(person.Node, "person names another account of the same person, not %s itself", p.ID)
	case other == nil:
		k.fault(person.Node, "the person %s is not among the principals", person.Value)
	case other.Person != "":
		k.fault(person.Node, "%s itself stands for %s: name that one", person.Value, other.Person)
	default:
		return
	}
	p.Person = ""
}
