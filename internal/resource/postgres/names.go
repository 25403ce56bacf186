package pgkind

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Names are taken as PostgreSQL keeps them: exact, without quotes. Those that
// only quotes could write (spaces, dots, other scripts) are refused, so that a
// name reads the same to a person, a policy and a server.
var (
	nameForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_$-]{0,62}$`)
	typeForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_ .]{0,62}(\[\])*$`)
)

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("a name is empty")
	case strings.Contains(name, "*"):
		return errors.New("there are no wildcards: for all tables of a schema name it under schemas")
	case !nameForm.MatchString(name):
		return fmt.Errorf("%q is not a name that can be given here: letters, digits, _ $ and -, at most 63, without quotes", clip(name))
	}
	return nil
}

// checkSchema refuses the schemas of the system and of Daypass.
func checkSchema(schema string) error {
	if err := checkName(schema); err != nil {
		return err
	}
	if schema == "information_schema" || strings.HasPrefix(schema, "pg_") || schema == "daypass" || strings.HasPrefix(schema, "daypass_") {
		return fmt.Errorf("%s is a schema of the system's own", schema)
	}
	return nil
}

// splitName takes schema.table apart.
func splitName(full string) (schema, name string, err error) {
	schema, name, ok := strings.Cut(full, ".")
	if !ok {
		return "", "", fmt.Errorf("%q has no schema: write schema.table, such as public.%s", clip(full), clip(full))
	}
	if err := checkSchema(schema); err != nil {
		return "", "", err
	}
	return schema, name, checkName(name)
}

// canonicalFunction checks schema.function(types) and writes it with ", "
// between the types.
func canonicalFunction(text string) (string, error) {
	name, rest, ok := strings.Cut(text, "(")
	types, closed := strings.CutSuffix(rest, ")")
	if !ok || !closed {
		return "", fmt.Errorf("%q has no types: write schema.function(integer, text), or () where there are none", clip(text))
	}
	if _, _, err := splitName(name); err != nil {
		return "", err
	}
	if strings.TrimSpace(types) == "" {
		return name + "()", nil
	}
	all := strings.Split(types, ",")
	for i, t := range all {
		all[i] = strings.Join(strings.Fields(t), " ")
		if !typeForm.MatchString(all[i]) {
			return "", fmt.Errorf("%q is not the name of a type that can be given here", clip(t))
		}
	}
	return name + "(" + strings.Join(all, ", ") + ")", nil
}

// splitFunction takes a canonical function apart.
func splitFunction(full string) (schema, name, types string) {
	head, types, _ := strings.Cut(full, "(")
	schema, name, _ = strings.Cut(head, ".")
	return schema, name, strings.TrimSuffix(types, ")")
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}
