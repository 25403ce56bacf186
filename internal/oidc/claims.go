package oidc

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// skew is by how much a provider's clock may be before ours.
const skew = time.Minute

// person reads a verified ID token.
func (p *provider) person(id *oidc.IDToken, now time.Time) (Person, error) {
	var claims map[string]json.RawMessage
	if err := id.Claims(&claims); err != nil {
		return Person{}, fmt.Errorf("the claims: %w", err)
	}
	azp := text(claims["azp"])
	switch { // OpenID Connect Core section 3.1.3.7
	case len(id.Audience) > 1 && azp != p.ClientID, len(claims["azp"]) > 0 && azp != p.ClientID:
		return Person{}, errors.New("the ID token was made for another client")
	case id.Subject == "" || len(id.Subject) > 255:
		return Person{}, errors.New("the ID token has no subject that could be one")
	case id.IssuedAt.After(now.Add(skew)):
		return Person{}, errors.New("the ID token is from the future")
	}
	return Person{Issuer: p.Issuer, Subject: id.Subject, Provision: p.provision(claims), Groups: p.groups(claims)}, nil
}

// groups are those that the configuration maps. A claim that is missing, left
// to be fetched elsewhere (the provider had too many), or anything but a list
// of texts says nothing: there are no groups then.
func (p *provider) groups(claims map[string]json.RawMessage) []string {
	var elsewhere map[string]json.RawMessage
	if raw, ok := claims["_claim_names"]; ok {
		if json.Unmarshal(raw, &elsewhere) != nil {
			return nil
		}
		if _, there := elsewhere[p.GroupsClaim]; there {
			return nil
		}
	}
	var names []string
	raw := claims[p.GroupsClaim]
	if len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &names) != nil {
		return nil
	}
	var out []string
	for _, name := range names {
		if group, ok := p.Groups[name]; ok && !slices.Contains(out, group) {
			out = append(out, group)
		}
	}
	return out
}

// provision is the principal that somebody becomes whom the catalog does not
// know; "" for nobody. Whether the name is free is not known here.
func (p *provider) provision(claims map[string]json.RawMessage) string {
	if p.Provision == nil {
		return ""
	}
	value := text(claims[p.Provision.Claim])
	if p.Provision.Claim == "email" && string(claims["email_verified"]) != "true" {
		return ""
	}
	value, ok := strings.CutSuffix(value, p.Provision.Strip)
	if !ok || value == "" || strings.Contains(value, "@") || strings.ContainsFunc(value, func(r rune) bool { return r > '~' }) {
		return "" // some letters of other scripts are ours in small letters
	}
	return "user:" + strings.ToLower(value)
}

// text is a claim that is a text; "" for others.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

func clip(s string) string {
	if len(s) > 60 {
		s = s[:60]
	}
	return strings.ToValidUTF8(s, "")
}
