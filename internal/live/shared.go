package live

import (
	"bytes"
	"encoding/json"
	"hash/maphash"
)

// shared is what many records have in common.
type shared struct {
	seed    maphash.Seed
	parties pool[party]
	terms   pool[terms]
	forms   pool[form]
	reasons pool[string]
}

// party is whose grants are.
type party struct{ principal, onBehalfOf string }

// terms are what grants give.
type terms struct {
	resource, incarnation, kind string
	scope                       json.RawMessage
	id, request                 string // of the one grant with IDs of another shape; "" otherwise
}

// form is what many credentials have in common.
type form struct {
	kind, host, prefix string
	id                 string // of the one credential with an ID of another shape; "" otherwise
}

// hash is a hash of texts, of which each has its place.
func (s *shared) hash(texts ...string) (sum uint64) {
	for _, t := range texts {
		sum = mix(sum ^ maphash.String(s.seed, t))
	}
	return sum
}

func (s *shared) takeParty(v party) ref {
	return s.parties.take(s.hash(v.principal, v.onBehalfOf), func(p *party) bool { return *p == v }, func() party { return v })
}

func (s *shared) takeForm(v form) ref {
	return s.forms.take(s.hash(v.kind, v.host, v.prefix, v.id), func(f *form) bool { return *f == v }, func() form { return v })
}

func (s *shared) takeReason(v string) ref {
	return s.reasons.take(s.hash(v), func(r *string) bool { return *r == v }, func() string { return v })
}

// takeTerms copies the scope of terms that are new: it is the caller's.
func (s *shared) takeTerms(v terms) ref {
	key := mix(s.hash(v.resource, v.incarnation, v.kind, v.id, v.request) ^ maphash.Bytes(s.seed, v.scope))
	return s.terms.take(key, func(t *terms) bool {
		return t.resource == v.resource && t.incarnation == v.incarnation && t.kind == v.kind && t.id == v.id && t.request == v.request && bytes.Equal(t.scope, v.scope)
	}, func() terms {
		v.scope = bytes.Clone(v.scope)
		return v
	})
}
