package httpkind

import (
	"errors"
	"slices"

	"github.com/daypass/daypass/internal/policy"
)

var (
	errMethod       = errors.New("the method is not one that a scope can allow")
	errNotCanonical = errors.New("the path is not in its one canonical form: unreserved characters unescaped, all other escapes in upper case")
)

// Action implements policy.Actions: name is the method, the properties path and
// query are the target as the upstream will get it. Here nobody forwards what
// was matched, so the path must be the canonical one already (A25): the gateway
// would have made it so.
func (Kind) Action(name string, property func(string) string) (policy.Scope, error) {
	if !slices.Contains(methods, name) {
		return nil, errMethod
	}
	path := property("path")
	target, err := parseTarget(path)
	if err != nil {
		return nil, err
	}
	if target.path != path {
		return nil, errNotCanonical
	}
	if query := property("query"); query != "" {
		if err := checkQuery(query); err != nil {
			return nil, err
		}
		if holdsSecret(query) {
			return nil, errSecretHere
		}
	}
	p := literalPattern(target.segments)
	return &Scope{
		fields:   Fields{Methods: []string{name}, Paths: []string{p.String()}},
		patterns: []pattern{p}, exact: target.segments,
	}, nil
}
