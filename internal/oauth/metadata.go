package oauth

import (
	"encoding/json"
	"net/http"
)

// metadata is RFC 8414 section 2. What proves a grant is issued under /v1, to
// callers whom a policy or people have approved. A token endpoint is there where
// the server takes tokens of jobs, or command lines get logins, and for these
// alone; an authorization endpoint for the second.
type metadata struct {
	Issuer                    string   `json:"issuer"`
	Authorization             string   `json:"authorization_endpoint,omitempty"`
	Device                    string   `json:"device_authorization_endpoint,omitempty"`
	Token                     string   `json:"token_endpoint,omitempty"`
	TokenAuth                 []string `json:"token_endpoint_auth_methods_supported,omitempty"`
	JWKS                      string   `json:"jwks_uri"`
	ResponseTypes             []string `json:"response_types_supported"`
	Challenges                []string `json:"code_challenge_methods_supported,omitempty"`
	SaysIssuer                bool     `json:"authorization_response_iss_parameter_supported,omitempty"`
	GrantTypes                []string `json:"grant_types_supported"`
	Introspection             string   `json:"introspection_endpoint"`
	IntrospectionAuth         []string `json:"introspection_endpoint_auth_methods_supported"`
	Revocation                string   `json:"revocation_endpoint"`
	RevocationAuth            []string `json:"revocation_endpoint_auth_methods_supported"`
	AuthorizationDetailsTypes []string `json:"authorization_details_types_supported"`
	Documentation             string   `json:"service_documentation"`
}

func (s *server) describe() []byte {
	types := s.Types
	if types == nil {
		types = []string{}
	}
	m := metadata{
		Issuer: s.Issuer, JWKS: s.Issuer + "/.well-known/jwks.json",
		ResponseTypes: []string{}, GrantTypes: s.grants(),
		Introspection:             s.Issuer + "/oauth/introspect",
		IntrospectionAuth:         []string{"Bearer"}, // an access token type, as RFC 8414 allows here
		Revocation:                s.Issuer + "/oauth/revoke",
		RevocationAuth:            []string{"none"}, // who holds a token may end it
		AuthorizationDetailsTypes: types, Documentation: s.Issuer + "/docs",
	}
	if len(m.GrantTypes) > 0 {
		m.Token, m.TokenAuth = s.Issuer+"/oauth/token", []string{"none"}
	}
	if s.SignIn != nil {
		m.Authorization, m.Device = s.Issuer+"/oauth/authorize", s.Issuer+"/oauth/device_authorization"
		m.ResponseTypes, m.Challenges, m.SaysIssuer = []string{"code"}, []string{"S256"}, true
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic("oauth: metadata cannot be encoded: " + err.Error())
	}
	return append(b, '\n')
}

func (s *server) serveMetadata(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(s.metadata)
}

// serveJWKS answers the key set. It may be kept for a minute; a new key is
// published longer than that before it signs.
func (s *server) serveJWKS(w http.ResponseWriter, r *http.Request) {
	keys, err := s.Broker.JWKS()
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=60")
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(keys)
}
