// Package demo is Daypass to try: a small service of orders, people with
// tokens, a policy, and a server around them, all on loopback and in a folder
// of its own. `daypass demo` tells the whole story with it and ends; `daypass
// dev` keeps it running.
//
// It refuses to do anything that the ordinary server, its API and its gateway
// would not do for anybody: it only types for the people of the story.
package demo

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/web"
)

// principal is one of the cast.
type principal struct {
	id, more string // more: what the catalog says beside the ID
	what     string // who this is, for people
}

// cast are the people, services and agents of the story.
var cast = []principal{
	{"user:ana", "groups: [group:developers], email: ana@example.com", "a developer"},
	{"user:bo", "groups: [group:dba], email: bo@example.com", "reviews what touches data"},
	{"user:cy", "groups: [group:payments], email: cy@example.com", "owns the orders service"},
	{"user:ada", "groups: [group:security], admin: true, auditor: true", "admin and auditor"},
	{"service:orders", "owner: user:cy", "the orders service itself"},
	{"service:ci-deploy", "owner: user:cy", "a deployment job"},
	{"agent:triage-bot", "owner: user:ana", "an agent of ana's"},
}

// castIssuer vouches for the people of the cast in the console. There is nothing
// at that address: the server takes their word.
const castIssuer = "http://127.0.0.1/daypass-dev"

// people are those of the cast who can be chosen in the console.
func people() *web.Cast {
	c := &web.Cast{Issuer: castIssuer}
	for _, p := range cast {
		if subject, person := strings.CutPrefix(p.id, "user:"); person {
			c.People = append(c.People, web.Somebody{Subject: subject, ID: p.id, What: p.what})
		}
	}
	return c
}

// catalogOf composes the catalog of the cast; db may be nil.
func catalogOf(tokens map[string]string, upstream, keyFile string, db *database) []byte {
	var b strings.Builder
	b.WriteString("# Who may ask for what, and who must agree.\nprincipals:\n")
	for _, p := range cast {
		sum := sha256.Sum256([]byte(tokens[p.id]))
		more := p.more
		if subject, person := strings.CutPrefix(p.id, "user:"); person {
			more += fmt.Sprintf(", oidc: {issuer: %q, subject: %s}", castIssuer, subject)
		}
		fmt.Fprintf(&b, "  - {id: %s, %s, token_sha256: %q} # %s\n", p.id, more, hex.EncodeToString(sum[:]), p.what)
	}
	resource, rule := "", ""
	if db != nil {
		resource, rule = db.resource(), readRule
	}
	fmt.Fprintf(&b, `resources:
  - id: orders-api
    kind: http
    labels: {env: prod}
    owners: [group:payments]
    introspect: [service:orders]
    http: {upstream: %q, inject: {Authorization: {file: %q}}}
    roles:
      read: {methods: [GET, HEAD], paths: ["/v1/orders/**"]}
      refund: {methods: [GET, POST], paths: ["/v1/orders/**"]}
%spolicy:
  guardrails:
    - {name: production needs a reason, when: 'resource.labels.env == "prod"', require: {reason: true, max_duration: 1h}}
  rules:
    - name: developers read
      kind: http
      when: '"group:developers" in principal.groups && scope.methods.all(m, m in ["GET", "HEAD"])'
      approve: auto
      max_duration: 15m
%s    - name: everything else takes two
      when: 'resource.labels.env == "prod"'
      approve: {stages: [{name: data, from: [group:dba], quorum: 1}, {name: owner, from: [resource.owners], quorum: 1}]}
      max_duration: 1h
      approve_within: 4h
      break_glass: {max_duration: 15m, notify: [group:security, resource.owners]}
`, upstream, keyFile, resource, rule)
	return []byte(b.String())
}

// newTokens makes an API token for each of the cast.
func newTokens() map[string]string {
	tokens := map[string]string{}
	for _, p := range cast {
		secret, _ := credential.NewToken(credential.PrincipalToken)
		tokens[p.id] = secret.Reveal()
	}
	return tokens
}
