package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/daypass/daypass/internal/config"
	"github.com/goccy/go-yaml/ast"
)

// fakeKind is a kind of tables and actions, as a database would have.
type fakeKind struct{ name string }

type fakeScope struct {
	Actions []string `json:"actions" cel:"actions"`
	Tables  []string `json:"tables" cel:"tables"`
}

type fakeConfig struct {
	Address  string        `yaml:"upstream,required"`
	User     string        `yaml:"user"`
	Password config.Secret `yaml:"password"`
}

func (k fakeKind) Name() string          { return k.name }
func (fakeKind) ScopeType() reflect.Type { return reflect.TypeFor[fakeScope]() }

func (fakeKind) ParseScope(raw []byte) (Scope, error) {
	var s fakeScope
	if err := config.Decode("", raw, &yamlScope{&s}); err != nil {
		return nil, err
	}
	if len(s.Actions) == 0 {
		return nil, errors.New("actions is missing")
	}
	for _, list := range []*[]string{&s.Actions, &s.Tables} {
		slices.Sort(*list)
		*list = append([]string{}, slices.Compact(*list)...)
	}
	return s, nil
}

type yamlScope struct{ *fakeScope }

func (s *yamlScope) DecodeYAML(node ast.Node) error {
	var in struct {
		Actions []string `yaml:"actions"`
		Tables  []string `yaml:"tables"`
	}
	err := config.DecodeNode(node, &in)
	s.Actions, s.Tables = in.Actions, in.Tables
	return err
}

func (fakeKind) ParseConfig(node ast.Node) (Config, error) {
	if node == nil {
		return nil, errors.New("the block of the kind is missing")
	}
	var c fakeConfig
	if err := config.DecodeNode(node, &c); err != nil {
		return nil, err
	}
	return c, nil
}

func (c fakeConfig) Upstream() string { return c.Address }

func (s fakeScope) JSON() json.RawMessage {
	out, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return out
}

func (s fakeScope) Covers(other Scope) bool {
	o, ok := other.(fakeScope)
	if !ok {
		return false
	}
	in := func(all []string) func(string) bool {
		return func(one string) bool { return !slices.Contains(all, one) }
	}
	return !slices.ContainsFunc(o.Actions, in(s.Actions)) && !slices.ContainsFunc(o.Tables, in(s.Tables))
}

func (s fakeScope) CEL() any { return s }

var kinds = []Kind{fakeKind{"postgres"}, fakeKind{"http"}}

// fataler is a *testing.T, a *testing.B, a *testing.F or a *rapid.T.
type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func parse(t fataler, src string) *Catalog {
	t.Helper()
	c, err := Parse([]byte(src), kinds)
	if err != nil {
		t.Fatalf("parsing\n%s\n%v", src, err)
	}
	return c
}

const digestA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1"

// contractCatalog is that of CONTRACT §4, with groups that have people in them.
const contractCatalog = `principals:
  - {id: user:ana, groups: [group:payments, group:sre], token_sha256: "` + digestA + `"}
  - {id: user:bo,  groups: [group:dba], admin: false, auditor: true}
  - {id: user:cy,  groups: [group:payments]}
  - {id: service:ci-deploy, owner: user:ana, token_sha256: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa2"}
groups:
  - {id: group:oncall, members: [user:ana, group:sre]}
resources:
  - id: orders-api
    kind: http
    labels: {env: prod}
    owners: [group:payments]
    http: {upstream: http://127.0.0.1:9000, password: {env: ORDERS_KEY}}
    roles: {read: {actions: [GET, HEAD], tables: ["/v1/orders/**"]}}
  - id: orders-db
    kind: postgres
    labels: {env: prod, pii: "true"}
    owners: [group:payments]
    postgres: {upstream: "host=127.0.0.1 port=5432 dbname=orders", user: daypass, password: {env: PGPASS}}
    roles: {read-orders: {actions: [select], tables: [public.orders]}, write-orders: {actions: [select, update], tables: [public.orders]}}
policy:
  guardrails:
    - {name: production needs a ticket, when: 'resource.labels.env == "prod"',
       require: {reason: true, ticket: '^(INC|CHG)-[0-9]+$', max_duration: 8h}}
    - {name: no schema changes, kind: postgres, when: 'scope.actions.exists(a, a == "ddl")', deny: use a migration}
  rules:
    - {name: on-call reads, kind: postgres, when: '"group:oncall" in principal.groups && scope.actions == ["select"]', approve: auto, max_duration: 15m}
    - name: production writes
      when: 'resource.labels.env == "prod"'
      approve: {stages: [{name: dba, from: [group:dba], quorum: 1}, {name: owner, from: [resource.owners], quorum: 1}]}
      max_duration: 1h
      approve_within: 4h
`

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// ask is an Input on orders-db of contractCatalog.
func ask(c *Catalog, principal, resource, scope string) Input {
	return Input{
		Principal: principal, Groups: c.Groups(principal), Resource: resource, Scope: json.RawMessage(scope),
		Duration: 10 * time.Minute, StartsAt: noon, Now: noon, Reason: "refund totals", Ticket: "INC-42",
	}
}

func scopeOf(actions ...string) string {
	out, err := json.Marshal(map[string]any{"actions": actions, "tables": []string{"public.orders"}})
	if err != nil {
		panic(fmt.Sprint(err))
	}
	return string(out)
}
