package policy

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func scoped(actions ...string) fakeScope {
	slices.Sort(actions)
	return fakeScope{Actions: slices.Compact(actions), Tables: []string{}}
}

// The role that is asked for an action covers it, and no other role that covers
// it is narrower.
//
// Invariant: A19
func TestNarrowestRole(t *testing.T) {
	letters := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 1, 4)
	found, none := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		r := &Resource{}
		for i := range rapid.IntRange(0, 5).Draw(t, "roles") {
			r.Roles = append(r.Roles, Role{Name: fmt.Sprint(i), Scope: scoped(letters.Draw(t, "role")...)})
		}
		action := scoped(rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "action"))
		best, ok := r.Narrowest(action)
		for _, role := range r.Roles {
			covers := role.Scope.Covers(action)
			if covers && !ok {
				t.Fatalf("%+v covers %+v, and there is said to be none", role, action)
			}
			if covers && best.Scope.Covers(role.Scope) && !role.Scope.Covers(best.Scope) {
				t.Fatalf("%+v for %+v, and %+v is narrower", best, action, role)
			}
		}
		if !ok {
			none++
			return
		}
		if found++; !best.Scope.Covers(action) || !slices.ContainsFunc(r.Roles, func(role Role) bool { return role.Name == best.Name }) {
			t.Fatalf("%+v does not cover %+v", best, action)
		}
	})
	if found == 0 || none == 0 {
		t.Errorf("%d found, %d not: the test saw one side only", found, none)
	}
}

// Of roles of which none is narrower the first by name is asked for, each time.
func TestNarrowestOfEquals(t *testing.T) {
	r := &Resource{Roles: []Role{
		{"all", scoped("a", "b", "c", "d")}, {"apart", scoped("a", "b")}, {"beside", scoped("a", "c")}, {"twin", scoped("a", "b")}, {"wide", scoped("a", "c", "d")},
	}}
	for action, want := range map[string]string{"a": "apart", "b": "apart", "c": "beside", "d": "wide", "e": ""} {
		if got, ok := r.Narrowest(scoped(action)); got.Name != want || ok != (want != "") {
			t.Errorf("%s: %q", action, got.Name)
		}
	}
}

// counted is a kind that counts what it is asked to parse.
type counted struct {
	fakeKind
	asked *int
}

func (k counted) ParseScope(raw []byte) (Scope, error) {
	*k.asked++
	return k.fakeKind.ParseScope(raw)
}

// A scope is parsed once for its kind, what is no scope is none each time, and
// the memory of it is bounded.
func TestScopesAreKeptParsed(t *testing.T) {
	var p Parsed
	asked := 0
	k := counted{fakeKind{"postgres"}, &asked}
	for range 3 {
		if s, err := p.Scope(k, []byte(scopeOf("select"))); err != nil || !s.Covers(scoped("select")) || asked != 1 {
			t.Fatalf("%+v, %v, parsed %d times", s, err, asked)
		}
	}
	for range 2 {
		if s, err := p.Scope(k, []byte(`{"actions":[]}`)); err == nil || s != nil {
			t.Errorf("%+v, %v", s, err)
		}
	}
	if asked != 3 {
		t.Errorf("what is no scope was parsed %d times, want each time", asked-1)
	}
	if _, err := p.Scope(counted{fakeKind{"http"}, &asked}, []byte(scopeOf("select"))); err != nil || asked != 4 {
		t.Errorf("another kind took the scope of this one: %v", err)
	}
	for i := range parsedMax + 1 { // with that of the beginning one too many
		if _, err := p.Scope(k, []byte(scopeOf(fmt.Sprint("a", i)))); err != nil {
			t.Fatal(err)
		}
		if n := len(p.all["postgres"]); n > parsedMax {
			t.Fatalf("%d scopes are kept", n)
		}
	}
	if n := len(p.all["postgres"]); n != 2 {
		t.Errorf("%d scopes are kept after the bound was reached, want the two since", n)
	}
	if len(p.all["http"]) != 1 {
		t.Error("the scopes of another kind were forgotten with them")
	}
	var all sync.WaitGroup
	for i := range 4 { // with -race: nothing is read while it is written
		all.Go(func() {
			for j := range 50 {
				if _, err := p.Scope(fakeKind{"postgres"}, []byte(scopeOf(fmt.Sprint("b", i, j%10)))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// wild is a kind that does not keep to its contract.
type wild struct {
	fakeKind
	parse func() (Scope, error)
}

func (k wild) ParseScope([]byte) (Scope, error) { return k.parse() }

// A kind that panics, or returns nothing and no error, lets nothing through.
//
// Invariant: A16
func TestKindsThatBreakTheirPromise(t *testing.T) {
	for want, parse := range map[string]func() (Scope, error){
		"it cannot be read": func() (Scope, error) { return nil, nil }, //nolint:nilnil // what a kind must not do
		"no scope at all":   func() (Scope, error) { return nil, errors.New("no scope at all") },
	} {
		if s, err := parseScope(wild{parse: parse}, []byte("{}")); s != nil || err == nil || err.Error() != want {
			t.Errorf("%+v, %v, want %s", s, err, want)
		}
	}
	s, err := parseScope(wild{parse: func() (Scope, error) { panic("nil map") }}, []byte("{}"))
	if s != nil || err == nil || err.Error() != "it cannot be read" {
		t.Errorf("a panic: %+v, %v", s, err)
	}
}
