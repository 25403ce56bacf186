package pgkind

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/policy"
)

// nearest is how many names are offered for one that is not there.
const nearest = 3

// candidates are the names of each sort that are no system's own.
var candidates = map[string]string{
	"tables": `select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^(pg_|information_schema$|daypass)' limit 5000`,
	"schemas": `select nspname from pg_namespace where nspname !~ '^(pg_|information_schema$|daypass)' limit 5000`,
	"functions": `select n.nspname || '.' || p.proname || '(' || (
		select coalesce(string_agg(format_type(t, null), ', ' order by o), '') from unnest(p.proargtypes) with ordinality a(t, o)) || ')'
		from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname !~ '^(pg_|information_schema$|daypass)' limit 5000`,
}

// missing says that a name is not there, and which ones are near it.
func (c *connector) missing(ctx context.Context, on conn, field, word, name string) error {
	rows, err := on.query(ctx, candidates[field])
	if err != nil {
		return err
	}
	return &policy.Unfit{Field: field, Message: "There is no " + word + " " + name + "." + hint(name, column(rows))}
}

// hint offers those of all that somebody who wrote name may have meant.
func hint(name string, all []string) string {
	type near struct {
		name     string
		distance int
	}
	var best []near
	for _, one := range all {
		d := config.Distance(name, one)
		_, table, _ := strings.Cut(name, ".")
		if _, other, ok := strings.Cut(one, "."); ok && other == table {
			d = min(d, 1) // the same table in another schema
		}
		if d <= max(2, len(name)/3) {
			best = append(best, near{one, d})
		}
	}
	if len(best) == 0 {
		return ""
	}
	slices.SortFunc(best, func(a, b near) int { return cmp.Or(a.distance-b.distance, strings.Compare(a.name, b.name)) })
	names := make([]string, 0, nearest)
	for _, n := range best[:min(nearest, len(best))] {
		names = append(names, n.name)
	}
	return " Near it: " + strings.Join(names, ", ") + "."
}
