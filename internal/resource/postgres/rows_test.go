package pgkind

import (
	"strings"
	"testing"

	"github.com/daypass/daypass/internal/policy"
)

const regions = `rows: {by-region: {table: public.orders, where: "region = :region", literals: {region: text}}, ` +
	`few: {table: public.orders, where: "id <= :most and made >= :since and flagged = :flagged and made < :until and total < :total", literals: {most: integer, since: date, until: timestamp, flagged: boolean, total: numeric}}, ` +
	`mine: {table: public.customers, where: "id = 1"}}`

func inRegion(region string) string {
	return `{"actions":["select"],"tables":["public.orders"],"rows":{"public.orders":{"template":"by-region","region":"` + region + `"}}}`
}

// What a requester can say is the name of a filter and values, and each value
// stays one.
//
// Attack: PG-06, REQ-07
func TestFiltersOfAScope(t *testing.T) {
	c, err := parseConfig("upstream: host=a dbname=o\nuser: daypass\npassword: {env: P}\n" + regions)
	if err != nil {
		t.Fatal(err)
	}
	filters := func(rows string) (map[string]filter, error) {
		return c.filters(mustScope(t, `{"actions":["select"],"tables":["public.orders","public.customers"],"rows":{`+rows+`}}`))
	}
	for rows, want := range map[string][2]string{
		`"public.orders":{"template":"by-region","region":"eu"}`:                   {"region = ('eu'::pg_catalog.text)", "region = 'eu'"},
		`"public.orders":{"template":"by-region","region":"x' or true or '' = '"}`: {"region = ('x'' or true or '''' = '''::pg_catalog.text)", "region = 'x'' or true or '''' = '''"},
		`"public.orders":{"template":"by-region","region":"\\"}`:                   {`region = ('\'::pg_catalog.text)`, `region = '\'`},
		`"public.orders":{"template":"by-region","region":":region"}`:              {"region = (':region'::pg_catalog.text)", "region = ':region'"},
		`"public.customers":{"template":"mine"}`:                                   {"id = 1", "id = 1"},
		`"public.orders":{"template":"few","most":7,"since":"2026-01-31","until":"2026-02-01T00:00:00Z","flagged":true,"total":"9.5"}`: {
			"id <= ('7'::pg_catalog.int8) and made >= ('2026-01-31'::pg_catalog.date) and flagged = ('true'::pg_catalog.bool) and made < ('2026-02-01T00:00:00Z'::pg_catalog.timestamptz) and total < ('9.5'::pg_catalog.numeric)",
			"id <= 7 and made >= '2026-01-31' and flagged = true and made < '2026-02-01T00:00:00Z' and total < 9.5",
		},
	} {
		all, err := filters(rows)
		if err != nil {
			t.Errorf("%s: %v", rows, err)
			continue
		}
		for _, f := range all {
			if f.SQL != want[0] || f.Where != want[1] {
				t.Errorf("%s: %s, for a person %s", rows, f.SQL, f.Where)
			}
		}
	}
	for rows, want := range map[string]string{
		`"public.orders":{"template":"by-regio","region":"eu"}`:          "there is no row filter by-regio on this resource: it has by-region, few",
		`"public.orders":{"template":"mine"}`:                            "is for public.customers, not for public.orders, which has by-region, few",
		`"public.orders":{"template":"by-region"}`:                       "takes region, and nothing else",
		`"public.orders":{"template":"by-region","region":"eu","x":"y"}`: "takes region, and nothing else",
		`"public.orders":{"template":"by-region","other":"eu"}`:          "needs a value for region",
		`"public.customers":{"template":"mine","x":"y"}`:                 "takes no values, and nothing else",
		few(`"most":"7 or true"`):                                        "most of the row filter few is",
		few(`"most":"07"`):                                               "must be like 1",
		few(`"most":"9223372036854775808"`):                              "must be like 1",
		few(`"since":"2026-02-30"`):                                      "must be like 2000-01-01",
		few(`"since":"infinity"`):                                        "must be like 2000-01-01",
		few(`"until":"now"`):                                             "must be like 2000-01-01T00:00:00Z",
		few(`"flagged":"yes"`):                                           "must be like true",
		few(`"total":"NaN"`):                                             "must be like 1",
		few(`"total":"1e9"`):                                             "must be like 1",
	} {
		if all, err := filters(rows); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v %v, want %q", rows, all, err, want)
		}
	}
	if got := mustScope(t, inRegion("eu")).String(); got != `select on public.orders, rows by-region (region "eu")` {
		t.Error(got)
	}
}

// few has one value of the filter that the others of it are good with.
func few(other string) string {
	values := map[string]string{"most": "7", "since": `"2026-01-31"`, "until": `"2026-02-01T00:00:00Z"`, "flagged": "true", "total": `"9.5"`}
	name, value, _ := strings.Cut(other, ":")
	values[strings.Trim(name, `"`)] = value
	s := `"public.orders":{"template":"few"`
	for n, v := range values {
		s += `,"` + n + `":` + v
	}
	return s + "}"
}

// A role and a request with a filter that the resource does not have are
// refused when the catalog is read, and when access is asked for.
//
// Invariant: A19
func TestScopesMustFitTheResource(t *testing.T) {
	const catalog = `
principals: [{id: user:ana, groups: [group:dev]}]
resources:
  - id: orders-db
    kind: postgres
    owners: [group:dev]
    free_scope: true
    postgres: {upstream: host=a dbname=o, user: daypass, password: {env: P}, ` + regions + `}
    roles: {eu: {actions: [select], tables: [public.orders], rows: {public.orders: {template: by-region, region: eu}}}}
policy:
  guardrails:
    - {name: never all, kind: postgres, when: '!("public.orders" in scope.rows)', deny: ask for a region}
  rules:
    - {name: eu, kind: postgres, when: 'scope.rows["public.orders"].region == "eu"', approve: auto, max_duration: 1h}
`
	c, err := policy.Parse([]byte(catalog), []policy.Kind{Kind{}})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(scope string) string {
		d := c.Evaluate(policy.Input{Principal: "user:ana", Groups: []string{"group:dev"}, Resource: "orders-db", Scope: []byte(scope)})
		if d.Refusal != nil {
			return d.Refusal.Message
		}
		return d.Terms.Rule
	}
	for scope, want := range map[string]string{
		inRegion("eu"): "eu", inRegion("us"): "no rule of the policy", readOrders: "ask for a region",
		strings.Replace(inRegion("eu"), "by-region", "by-regions", 1): "there is no row filter by-regions on this resource: it has by-region, few",
	} {
		if got := ask(scope); !strings.Contains(got, want) {
			t.Errorf("%s: %s", scope, got)
		}
	}
	for from, to := range map[string]string{"template: by-region, region: eu": "template: by-regoin, region: eu", "region: eu}}}}": "region: eu, x: y}}}}", "literals: {region: text}": "literals: {region: integer}"} {
		if _, err := policy.Parse([]byte(strings.Replace(catalog, from, to, 1)), []policy.Kind{Kind{}}); err == nil || !strings.Contains(err.Error(), "the scope of role eu: rows: ") {
			t.Errorf("%s: %v", to, err)
		}
	}
}
