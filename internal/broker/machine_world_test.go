package broker_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/daypass/daypass/internal/broker"
)

// stepCatalog puts a catalog in force that differs in one thing.
func (m *machine) stepCatalog() {
	next := *m.model.cat
	next.groups, next.off = maps.Clone(next.groups), slices.Clone(next.off)
	toggle := func(group, id string) {
		if i := slices.Index(next.groups[group], id); i >= 0 {
			next.groups[group] = slices.Delete(slices.Clone(next.groups[group]), i, i+1)
		} else {
			next.groups[group] = append(slices.Clone(next.groups[group]), id)
		}
	}
	what := pick(m, "change", "dba", "dba", "owners", "dev", "off", "upstream", "dark", "quorum", "longest", "deny")
	switch what {
	case "dba":
		toggle("group:dba", pick(m, "who", "user:bo", "user:ben", "user:ana2", "user:dee", "user:cy"))
	case "owners":
		toggle("group:owners", pick(m, "who", "user:dee", "user:cy", "user:bo"))
	case "dev":
		toggle("group:dev", pick(m, "who", "user:ana", "agent:bot", "user:cy"))
	case "off":
		id := pick(m, "who", "user:ana", "user:ana2", "user:bo", "user:ben", "service:ci")
		if i := slices.Index(next.off, id); i >= 0 {
			next.off = slices.Delete(next.off, i, i+1)
		} else {
			next.off = append(next.off, id)
		}
	case "upstream":
		m.model.upstreams++
		next.upstream = m.model.upstreams
	case "dark":
		next.dark = !next.dark
	case "quorum":
		next.quorum = 3 - next.quorum
	case "longest":
		next.longest = 90*time.Minute - next.longest
	case "deny":
		next.deny = !next.deny
	}
	who := pick(m, "admin", "user:ada", "user:ada", "user:ada", "user:ada", "user:ada", "user:bo")
	if !m.model.cat.on(who) {
		return
	}
	m.do("catalog ("+what+") by "+who, func() error {
		_, err := m.PutCatalog(context.Background(), as(who), []byte(catalogText(&next)), "")
		return err
	}, func() string {
		if who != "user:ada" {
			return "forbidden"
		}
		return m.model.put(&next)
	})
}

func (m *machine) stepIssuing() {
	who := pick(m, "admin", "user:ada", "user:ada", "user:bo")
	on := !m.model.issuing || rapid.IntRange(0, 2).Draw(m.t, "on") > 0
	if !m.model.cat.on(who) {
		return
	}
	m.do("issuing", func() error {
		_, err := m.SetIssuing(context.Background(), as(who), on)
		return err
	}, func() string {
		if who != "user:ada" {
			return "forbidden"
		}
		m.model.issuing = on
		return ""
	})
}

// stepToken makes, uses or ends an API token.
func (m *machine) stepToken() {
	who := m.caller()
	if len(m.tokens) > 0 && rapid.Bool().Draw(m.t, "end") {
		i := rapid.IntRange(0, len(m.tokens)-1).Draw(m.t, "token")
		t := &m.tokens[i]
		m.do("end of a token by "+who, func() error { return m.DeleteToken(context.Background(), as(who), t.id) }, func() string {
			if t.gone || who != "user:ada" && who != t.of && who != mOwner[t.of] {
				return "not_found!"
			}
			t.gone = true
			return ""
		})
		return
	}
	of, ttl := pick(m, "of", "user:ana", "service:ci", "agent:bot", "user:bo"), m.minutes()
	m.do("token of "+of+" by "+who, func() error {
		t, err := m.CreateToken(context.Background(), as(who), of, "t", ttl, nil)
		if err == nil {
			m.tokens = append(m.tokens, mToken{secret: *t.Secret, id: t.ID, of: of, expires: m.model.now.Add(ttl)})
		}
		return err
	}, func() string {
		switch {
		case who != "user:ada" && who != of && who != mOwner[of]:
			return "forbidden"
		case !m.model.cat.on(of):
			return "invalid_field!"
		}
		return ""
	})
}

func (m *machine) stepDue() {
	m.do("due", func() error {
		_, err := m.Due(context.Background())
		return err
	}, func() string {
		m.model.due()
		return ""
	})
}

// stepTime lets time pass, often to an edge, or sets the machine's clock.
func (m *machine) stepTime() {
	by := m.minutes()
	switch pick(m, "how", "pass", "pass", "edge", "edge", "back") {
	case "edge":
		if at := m.edges(); len(at) > 0 {
			by = pick(m, "edge", at...).Add(time.Duration(pick(m, "off", 0, -1, 1)) * time.Millisecond).Sub(m.model.now)
		}
	case "back":
		m.wall = m.wall.Add(-by)
		m.model.wall = m.wall
		m.settle()
		m.t.Logf("the clock is set back by %s", by)
		return
	}
	by = max(by, time.Millisecond)
	m.wall, m.up = m.wall.Add(by), m.up+by
	m.model.wall, m.model.now = m.wall, m.model.now.Add(by)
	m.settle()
	m.t.Logf("%s pass", by)
}

// settle lets the effective clock see the machine's: it cannot tell a clock
// that was set from time that passed unless it looks in between.
func (m *machine) settle() { _ = m.Ready() }

// edges are the instants ahead at which something begins or ends.
func (m *machine) edges() (at []time.Time) {
	for _, r := range m.model.requests {
		for _, e := range []time.Time{r.lapses, r.start} {
			if e.After(m.model.now) {
				at = append(at, e)
			}
		}
		if r.grant != nil && r.grant.end.After(m.model.now) {
			at = append(at, r.grant.end)
		}
	}
	return at
}

// stepCrash ends the process where it stands and starts it again. Meanwhile
// somebody may set the machine's clock right: without its monotonic reading, of
// which a test has none, a running clock cannot tell that from time passing.
func (m *machine) stepCrash() {
	if rapid.Bool().Draw(m.t, "set right") {
		m.wall = m.model.now
		m.model.wall = m.wall
	}
	m.index.Close()
	err := m.store.Close()
	m.Crash()
	if err = errors.Join(err, m.open()); err != nil {
		m.t.Fatal(err)
	}
	m.t.Logf("crash")
}

func refusalCode(err error) string {
	var e *broker.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return err.Error()
}
