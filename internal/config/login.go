package config

import (
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// OIDC is one identity provider by which people log in (OpenID Connect).
type OIDC struct {
	Name         string            `yaml:"name,required"` // part of the redirect URL: public_url/login/callback/NAME
	Title        string            `yaml:"title"`         // what people read; the name
	Issuer       string            `yaml:"issuer,required"`
	ClientID     string            `yaml:"client_id,required"`
	ClientSecret Secret            `yaml:"client_secret"` // none: a public client, with PKCE alone
	Scopes       []string          `yaml:"scopes"`        // beside openid
	GroupsClaim  string            `yaml:"groups_claim"`  // groups
	Groups       map[string]string `yaml:"groups"`        // a value of that claim → group:…; others mean nothing
	Provision    *Provision        `yaml:"provision"`     // none: only people whom the catalog lists are let in
}

// Provision lets in people whom the catalog does not list, as user: and a
// claim. They have the groups of their login, and nothing else.
type Provision struct {
	Claim string `yaml:"claim,required"` // preferred_username, email (verified alone) or sub
	Strip string `yaml:"strip"`          // the end that the value must have, and that is taken off: "@example.com"
}

// Logins says how long people stay logged in.
type Logins struct {
	Idle     time.Duration `yaml:"idle"`      // a browser that is not used; 1h
	Absolute time.Duration `yaml:"absolute"`  // however much it is used; 12h
	Remember time.Duration `yaml:"remember"`  // what the provider said of somebody, after their last login; 168h
	TokenTTL time.Duration `yaml:"token_ttl"` // of API tokens that are made in a login; 720h
}

func defaultLogins() Logins {
	return Logins{Idle: time.Hour, Absolute: 12 * time.Hour, Remember: 168 * time.Hour, TokenTTL: 720 * time.Hour}
}

// DecodeYAML implements NodeDecoder: the defaults, then what is given.
func (o *OIDC) DecodeYAML(node ast.Node) error {
	type plainOIDC OIDC
	*o = OIDC{GroupsClaim: "groups"}
	if err := DecodeNode(node, (*plainOIDC)(o)); err != nil {
		return err
	}
	if o.Title == "" {
		o.Title = o.Name
	}
	return nil
}

const maxProviders, maxMapped, maxScopes = 16, 1000, 16

var (
	loginGroup = regexp.MustCompile(`^group:[a-z0-9][a-z0-9._@-]{0,127}$`)
	claimName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}$`)
	scopeToken = regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]{1,128}$`) // RFC 6749 section 3.3
	visibleID  = regexp.MustCompile(`^[\x20-\x7e]{1,255}$`)
	titleForm  = regexp.MustCompile(`^[^\pC]{1,60}$`)
)

// checkLogins refuses what cannot work or is not safe.
func (s *Server) checkLogins(fault func([]string, string, ...any)) {
	l, all := &s.Identity.Logins, s.Identity.OIDC
	for _, bound := range []struct {
		key     string
		value   time.Duration
		longest time.Duration
	}{{"idle", l.Idle, 24 * time.Hour}, {"absolute", l.Absolute, 168 * time.Hour}, {"remember", l.Remember, 2160 * time.Hour}, {"token_ttl", l.TokenTTL, 8760 * time.Hour}} {
		if bound.value <= 0 || bound.value > bound.longest {
			fault([]string{"identity", "logins", bound.key}, "must be more than 0 and at most %s", hours(bound.longest))
		}
	}
	if l.Remember < l.Absolute {
		fault([]string{"identity", "logins", "remember"}, "must not be shorter than absolute: groups would end before the login that brought them")
	}
	if len(all) > maxProviders {
		fault([]string{"identity", "oidc"}, "has more than %d providers", maxProviders)
		return
	}
	if u, err := url.Parse(s.PublicURL); len(all) > 0 && err == nil && u.Scheme == "http" && CheckEncrypted(s.PublicURL) != nil && u.Hostname() != "localhost" {
		fault([]string{"identity", "oidc"}, "people log in over TLS alone: public_url must begin with https:// (http:// is for this machine's own address)")
	}
	names, issuers := map[string]bool{}, map[string]bool{}
	for i := range all {
		o := &all[i]
		at := func(more ...string) []string { return append([]string{"identity", "oidc", strconv.Itoa(i)}, more...) }
		switch {
		case !proxyName.MatchString(o.Name):
			fault(at("name"), "must be a-z, 0-9 and -, such as okta")
		case names[o.Name]:
			fault(at("name"), "%s is there twice", o.Name)
		}
		switch err := CheckEncrypted(o.Issuer); {
		case err != nil:
			fault(at("issuer"), "%s", err)
		case issuers[o.Issuer]:
			fault(at("issuer"), "%s is there twice", o.Issuer)
		}
		names[o.Name], issuers[o.Issuer] = true, true
		o.check(at, fault)
	}
}

func (o *OIDC) check(at func(...string) []string, fault func([]string, string, ...any)) {
	if !visibleID.MatchString(o.ClientID) {
		fault(at("client_id"), "must be what the provider calls this server")
	}
	if !titleForm.MatchString(o.Title) {
		fault(at("title"), "must be a short line")
	}
	if len(o.Scopes) > maxScopes {
		fault(at("scopes"), "has more than %d", maxScopes)
	}
	for i, scope := range o.Scopes {
		if !scopeToken.MatchString(scope) {
			fault(at("scopes", strconv.Itoa(i)), "is not a scope")
		}
	}
	if !claimName.MatchString(o.GroupsClaim) {
		fault(at("groups_claim"), "must be the name of a claim, such as groups")
	}
	if len(o.Groups) > maxMapped {
		fault(at("groups"), "maps more than %d groups", maxMapped)
	}
	for value, group := range o.Groups {
		if !loginGroup.MatchString(group) {
			fault(at("groups", value), "%q is not a group: write group:…", clip(group))
		}
	}
	if p := o.Provision; p != nil {
		if p.Claim != "preferred_username" && p.Claim != "email" && p.Claim != "sub" {
			fault(at("provision", "claim"), "must be preferred_username, email or sub")
		}
		if p.Claim == "email" && p.Strip == "" {
			fault(at("provision", "strip"), `is needed with email: the domain whose people are let in, such as "@example.com"`)
		}
	}
}

// checkLoginFiles refuses secrets that others may read.
func (s *Server) checkLoginFiles(secret func(Secret, ...string)) {
	for i, o := range s.Identity.OIDC {
		secret(o.ClientSecret, "identity", "oidc", strconv.Itoa(i), "client_secret")
	}
}

func hours(d time.Duration) string { return strconv.Itoa(int(d/time.Hour)) + "h" }
