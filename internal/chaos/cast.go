package chaos

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math/big"
	"slices"
	"strings"
)

// Member is one account of the cast.
type Member struct {
	ID, Person, Owner string
	Groups            []string
	More              string // in the catalog
}

// cast is who there is. The checker decides by this table alone who may vote.
var cast = []Member{
	{ID: "user:ana", Groups: []string{"group:payments", "group:sre"}},
	{ID: "user:bo", Groups: []string{"group:dba"}, More: ", auditor: true"},
	{ID: "user:cy", Groups: []string{"group:payments"}},
	{ID: "user:dan", Groups: []string{"group:dba"}},
	{ID: "user:eve", Groups: []string{"group:guests"}},
	{ID: "user:ana-admin", Person: "user:ana", Groups: []string{"group:dba"}, More: ", admin: true"},
	{ID: "user:ada", Groups: []string{"group:security"}, More: ", admin: true"},
	{ID: "service:ci-deploy", Owner: "user:ana", Groups: []string{"group:dba"}},
	{ID: "service:orders", Owner: "user:cy"},
}

func member(id string) (Member, bool) {
	for _, m := range cast {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// person is who stands behind an account.
func person(id string) string {
	if m, ok := member(id); ok && m.Person != "" {
		return m.Person
	}
	return id
}

// answers is the person who answers for an account: its owner's person.
func answers(id string) string {
	if m, ok := member(id); ok && m.Owner != "" {
		return answers(m.Owner)
	}
	return person(id)
}

// seated reports whether an account may vote in a stage on a request.
func seated(by, requester string, from []string) bool {
	m, ok := member(by)
	if !ok || !strings.HasPrefix(by, "user:") || answers(by) == answers(requester) {
		return false
	}
	return slices.Contains(from, by) || slices.ContainsFunc(m.Groups, func(g string) bool { return slices.Contains(from, g) })
}

// catalogText is the catalog of the cast. The variant changes what no check
// rests on, so that applying it again and again matters to nobody.
func catalogText(tokens map[string]string, upstream string, variant int) string {
	var b strings.Builder
	b.WriteString("principals:\n")
	for _, m := range cast {
		sum := sha256.Sum256([]byte(tokens[m.ID]))
		fmt.Fprintf(&b, "  - {id: %q, email: %q, groups: [%s]%s, token_sha256: %q", m.ID, m.ID[strings.IndexByte(m.ID, 58)+1:]+"@example.com", strings.Join(m.Groups, ", "), m.More, hex.EncodeToString(sum[:]))
		if m.Person != "" {
			fmt.Fprintf(&b, ", person: %q", m.Person)
		}
		if m.Owner != "" {
			fmt.Fprintf(&b, ", owner: %q", m.Owner)
		}
		b.WriteString("}\n")
	}
	fmt.Fprintf(&b, `resources:
  - id: open-api
    kind: http
    labels: {env: dev}
    owners: [group:payments]
    introspect: [service:ci-deploy]
    jwt: true
    http: {upstream: %[1]q}
    roles:
      all: {methods: [GET, HEAD, POST], paths: ["/**"]}
  - id: two-api
    kind: http
    labels: {env: test}
    owners: [group:payments]
    http: {upstream: %[1]q}
    roles:
      all: {methods: [GET], paths: ["/**"]}
  - id: orders-api
    kind: http
    labels: {env: prod}
    owners: [group:payments]
    http: {upstream: %[1]q}
    roles:
      write: {methods: [GET, POST], paths: ["/**"]}
policy:
  guardrails:
    - {name: no deletes, kind: http, when: 'scope.methods.exists(m, m == "DELETE")', deny: ask the owners to delete}
  rules:
    - {name: open to all but guests, when: 'resource.id == "open-api" && !("group:guests" in principal.groups)', approve: auto, max_duration: 1h, max_total: %[2]dm}
    - {name: two of many, when: 'resource.id == "two-api"', approve: {stages: [{name: all, from: [group:dba, group:payments, group:security], quorum: 2}]}, max_duration: 1h, max_total: 2h}
    - {name: two stages, when: 'resource.id == "orders-api"', approve: {stages: [{name: dba, from: [group:dba], quorum: 1}, {name: owner, from: [resource.owners, group:security], quorum: 1}]}, max_duration: 1h, max_total: 2h}
`, upstream, 90+variant)
	return b.String()
}

// mint makes an API token by the written format, not by the server's code.
func mint() string {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	base62 := func(n *big.Int, width int) string {
		digits := make([]byte, width)
		for i := width - 1; i >= 0; i-- {
			var rest big.Int
			n, _ = new(big.Int).DivMod(n, big.NewInt(62), &rest)
			digits[i] = alphabet[rest.Int64()]
		}
		return string(digits)
	}
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	body := "dpat_" + base62(new(big.Int).SetBytes(raw), 43)
	return body + base62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(body)))), 6)
}
