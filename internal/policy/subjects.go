package policy

import (
	"net/netip"
	"net/url"
	"slices"

	"github.com/goccy/go-yaml/ast"

	"github.com/daypass/daypass/internal/config"
)

// maxSubject is how long an issuer or a subject may be (OpenID Connect Core
// section 2: a subject has at most 255 characters).
const maxSubject = 255

// subjectEntry is who logs in as a principal.
type subjectEntry struct {
	Issuer  text `yaml:"issuer,required"`
	Subject text `yaml:"subject,required"`
}

// subjectEntries are one, or a list of them.
type subjectEntries []config.Located[subjectEntry]

// DecodeYAML implements config.NodeDecoder.
func (s *subjectEntries) DecodeYAML(node ast.Node) error {
	if _, many := node.(*ast.SequenceNode); many {
		return config.DecodeNode(node, (*[]config.Located[subjectEntry])(s))
	}
	var one config.Located[subjectEntry]
	err := one.DecodeYAML(node)
	*s = subjectEntries{one}
	return err
}

// subjects reads who logs in as p. An identity belongs to one principal.
func (k *checker) subjects(p *Principal, entries config.Located[subjectEntries]) {
	if entries.Given() && p.Kind() != "user" {
		k.fault(entries.Node, "only a user logs in: %s works with a token, or as a workload", p.ID)
		return
	}
	for _, e := range entries.Value {
		issuer, subject := e.Value.Issuer, e.Value.Subject
		if !issuer.Sound() || !subject.Sound() {
			continue
		}
		s := Subject{Issuer: issuer.Value, Subject: subject.Value}
		switch whose, taken := k.c.subjects[s]; {
		case !issuerURL(s.Issuer):
			k.fault(issuer.Node, "the issuer must be the https URL that the identity provider calls itself, letter for letter, such as https://id.example.com")
		case s.Subject == "" || len(s.Subject) > maxSubject || !printable(s.Subject):
			k.fault(subject.Node, "the subject must be the sub claim of the person, 1 to %d visible characters; it is not a mail address", maxSubject)
		case taken && whose == p.ID:
			k.fault(e.Node, "this identity is listed twice")
		case taken:
			k.fault(e.Node, "this identity is already that of %s: one person is one principal", whose)
		default:
			k.c.subjects[s] = p.ID
			p.OIDC = append(p.OIDC, s)
		}
	}
}

// issuerURL reports whether s can be an issuer: https, or http to a loopback
// address that is written out, for trying things.
func issuerURL(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || len(s) > maxSubject {
		return false
	}
	if u.Scheme == "http" {
		a, err := netip.ParseAddr(u.Hostname())
		return err == nil && a.IsLoopback()
	}
	return u.Scheme == "https"
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s[0] != ' ' && s[len(s)-1] != ' '
}

// SubjectOf returns which principal logs in as s.
func (c *Catalog) SubjectOf(s Subject) (principal string, ok bool) {
	principal, ok = c.subjects[s]
	return principal, ok
}

// openGroups works out which groups a login may fill: those that say so, and
// those that have one of them as a member.
func (k *checker) openGroups() {
	k.open = map[string]bool{}
	for todo := k.fromLogin; len(todo) > 0; {
		group := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !k.open[group] {
			k.open[group] = true
			todo = append(slices.Clone(todo), k.c.parents[group]...)
		}
	}
}

// filledByLogin reports whether who is in a set can only be known when somebody
// asks. Too few are refused then, with the reason.
func (k *checker) filledByLogin(set []string) bool {
	return slices.ContainsFunc(set, func(id string) bool { return k.open[id] })
}
