package broker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/identity"
)

const idp = "https://id.example"

// people who log in, beside those of the base catalog.
const withLogins = base + `
groups:
  - {id: group:dba, from_login: true}
`

// inLogins runs f in virtual time, on a server on which ana and bo log in.
func inLogins(t *testing.T, f func(*world)) {
	t.Helper()
	inBubble(t, func(w *world) {
		w.logins = broker.Logins{Issuers: []string{idp}, Idle: time.Hour, Absolute: 12 * time.Hour, Remember: 48 * time.Hour, TokenTTL: 24 * time.Hour, Provisions: []string{idp}}
		w.start()
		defer w.stop()
		w.apply(linked())
		f(w)
	})
}

// linked is the catalog in which ana, cy and the admin have an identity.
func linked(pairs ...string) string {
	r := strings.NewReplacer(append([]string{
		"{id: user:ana, ", `{id: user:ana, oidc: {issuer: "` + idp + `", subject: ana-1}, `,
		"{id: user:cy, ", `{id: user:cy, oidc: [{issuer: "` + idp + `", subject: cy-1}, {issuer: "` + idp + `", subject: cy-2}], `,
		"{id: user:ada, ", `{id: user:ada, oidc: {issuer: "` + idp + `", subject: ada-1}, `,
	}, pairs...)...)
	return r.Replace(withLogins)
}

func (w *world) comes(subject string, groups ...string) broker.LoggedIn {
	w.t.Helper()
	in, err := w.LogIn(context.Background(), broker.Arrival{Issuer: idp, Subject: subject, Groups: groups, Label: "Firefox", IP: "192.0.2.9"})
	must(w.t, err)
	return in
}

// newcomer lets in somebody whom the catalog does not know.
func (w *world) newcomer(subject, name string, groups ...string) (broker.LoggedIn, error) {
	return w.LogIn(context.Background(), broker.Arrival{Issuer: idp, Subject: subject, Provision: name, Groups: groups, IP: "192.0.2.9"})
}

// by is the caller that a cookie or token stands for; the zero one for nobody.
func (w *world) by(secret string) identity.Caller {
	w.t.Helper()
	ask := w.AuthenticateCookie
	if strings.HasPrefix(secret, "dplt_") {
		ask = w.Authenticate
	}
	c, err := ask(secret, "192.0.2.9", "console")
	if err != nil {
		var refusal *broker.Error
		if !errors.As(err, &refusal) || refusal.Kind != broker.Unauthorized {
			w.t.Fatalf("got %v, want a refusal", err)
		}
	}
	return c
}

// Invariant: A23
// Attack: OID-09
func TestALoginIsNewEachTimeAndEnds(t *testing.T) {
	inLogins(t, func(w *world) {
		first := w.comes("ana-1")
		if c := w.by(first.Secret); c.Principal != "user:ana" || c.Login != first.ID || c.Token != "" {
			t.Fatalf("the cookie stands for %+v", c)
		}
		// What the browser held before, its own or one that was planted in it,
		// is worth nothing after a login.
		second, err := w.LogIn(context.Background(), broker.Arrival{Issuer: idp, Subject: "ana-1", IP: "192.0.2.9", Replaces: first.Secret})
		must(t, err)
		if second.Secret == first.Secret || w.by(first.Secret).Principal != "" {
			t.Error("the login before goes on")
		}
		must(t, w.EndLogin(context.Background(), w.by(second.Secret), "current"))
		if w.by(second.Secret).Principal != "" {
			t.Error("it goes on after the logout")
		}
		w.restart(true)
		if w.by(second.Secret).Principal != "" || w.by(first.Secret).Principal != "" {
			t.Error("a restart brings it back")
		}
		for _, e := range w.entries("auth.succeeded", "auth.ended") {
			if strings.Contains(string(e.Details), "dplc_") {
				t.Errorf("a cookie is in the record: %s", e.Details)
			}
		}
		if n := len(w.entries("auth.succeeded")); n != 2 {
			t.Errorf("%d logins are on record, want 2", n)
		}
	})
}

// Invariant: A1, A3
func TestALoginEndsIdleAndAbsolutely(t *testing.T) {
	inLogins(t, func(w *world) {
		idle := w.comes("ana-1")
		busy := w.comes("cy-1")
		cli, err := w.LogInCLI(context.Background(), w.by(busy.Secret), "laptop", "192.0.2.7")
		must(t, err)
		time.Sleep(time.Hour - time.Millisecond)
		if w.by(idle.Secret).Principal == "" || w.by(busy.Secret).Principal == "" {
			t.Fatal("it ended early")
		}
		time.Sleep(time.Hour)
		if w.by(idle.Secret).Principal != "" {
			t.Error("idle for an hour, and still good")
		}
		// 1h59m59.999s: busy is idle too. A new one is used every half hour.
		busy = w.comes("cy-1")
		start := time.Now()
		for time.Since(start) < 12*time.Hour-30*time.Minute {
			time.Sleep(30 * time.Minute)
			if w.by(busy.Secret).Principal == "" {
				t.Fatalf("it ended after %s of use", time.Since(start))
			}
			must(t, w.Heartbeat(context.Background()))
		}
		if w.by(cli.Secret).Principal != "" {
			t.Error("the command line outlived the absolute end of the login it came from")
		}
		time.Sleep(30*time.Minute - time.Millisecond)
		if w.by(busy.Secret).Principal == "" {
			t.Fatal("it ended before its absolute end")
		}
		time.Sleep(time.Millisecond)
		if w.by(busy.Secret).Principal != "" {
			t.Error("good at its absolute end")
		}
	})
}

func TestUseOutlivesARestart(t *testing.T) {
	inLogins(t, func(w *world) {
		in := w.comes("ana-1")
		time.Sleep(50 * time.Minute)
		w.by(in.Secret)
		must(t, w.Heartbeat(context.Background()))
		w.restart(false)
		time.Sleep(50 * time.Minute)
		if w.by(in.Secret).Principal == "" {
			t.Error("used 50 minutes ago, and idle after a restart")
		}
		w.restart(false) // that use was not written down: it may count as none
		time.Sleep(20 * time.Minute)
		if w.by(in.Secret).Principal != "" {
			t.Error("a restart made it live longer")
		}
	})
}

// Attack: OID-10
func TestADisabledPersonsLoginsAreDeadAtOnce(t *testing.T) {
	for name, pair := range map[string][2]string{
		"disabled":       {`, subject: ana-1}, `, `, subject: ana-1}, disabled: true, `},
		"another person": {`subject: ana-1`, `subject: ana-2`},
	} {
		inLogins(t, func(w *world) {
			in := w.comes("ana-1")
			cli, err := w.LogInCLI(context.Background(), w.by(in.Secret), "laptop", "192.0.2.7")
			must(t, err)
			caller := w.by(in.Secret)
			w.apply(strings.Replace(linked(), pair[0], pair[1], 1))
			if w.by(in.Secret).Principal != "" || w.by(cli.Secret).Principal != "" {
				t.Errorf("%s: still logged in", name)
			}
			if _, err := w.LogInCLI(context.Background(), caller, "laptop", "192.0.2.7"); err == nil {
				t.Errorf("%s: a command line came in", name)
			}
			_, err = w.LogIn(context.Background(), broker.Arrival{Issuer: idp, Subject: "ana-1"})
			refused(t, err, "not_known")
			w.apply(linked())
			if w.by(in.Secret).Principal != "" {
				t.Errorf("%s: an end was taken back", name)
			}
		})
	}
}

// Attack: OID-02, OID-03, OID-11
func TestOnlyTheIssuerAndItsSubjectIsSomebody(t *testing.T) {
	inLogins(t, func(w *world) {
		ctx := context.Background()
		var words []string
		for name, a := range map[string]broker.Arrival{
			"unknown":              {Issuer: idp, Subject: "nobody"},
			"another case":         {Issuer: idp, Subject: "ANA-1"},
			"a space":              {Issuer: idp, Subject: "ana-1 "},
			"another issuer":       {Issuer: "https://evil.example", Subject: "ana-1"},
			"a slash more":         {Issuer: idp + "/", Subject: "ana-1"},
			"nobody":               {Issuer: idp},
			"a catalog's name":     {Issuer: idp, Subject: "x", Provision: "user:ana"},
			"a service":            {Issuer: idp, Subject: "x", Provision: "service:ci"},
			"not a name":           {Issuer: idp, Subject: "x", Provision: "user:a\nb"},
			"the issuer of setups": {Issuer: "urn:daypass:setup", Subject: "x", Provision: "user:ana"},
			"too many groups":      {Issuer: idp, Subject: "ana-1", Groups: make([]string, 501)},
		} {
			_, err := w.LogIn(ctx, a)
			words = append(words, refused(t, err, "not_known").Message)
			_ = name
		}
		for _, m := range words {
			if m != words[0] {
				t.Errorf("a refusal says more than another: %q", m)
			}
		}
		if n := len(w.entries("auth.failed")); n != len(words) {
			t.Errorf("%d failures are on record, want %d", n, len(words))
		}
		// A name that was given stays with its subject, and is given once.
		first, err := w.newcomer("new-1", "user:newt")
		must(t, err)
		if _, err := w.newcomer("new-2", "user:newt"); err == nil {
			t.Error("another subject took a name that is somebody's")
		}
		again, err := w.newcomer("new-1", "user:renamed")
		must(t, err)
		if first.Principal != "user:newt" || again.Principal != "user:newt" {
			t.Errorf("one subject is %s and %s", first.Principal, again.Principal)
		}
		// The catalog comes to use the name for somebody else.
		w.apply(linked("principals:\n", "principals:\n  - {id: user:newt, admin: true}\n"))
		if w.by(again.Secret).Principal != "" {
			t.Error("who was user:newt by a login is now the catalog's")
		}
		_, err = w.newcomer("new-1", "user:newt")
		refused(t, err, "not_known")
	})
}

// Invariant: A11
// Attack: OID-07
func TestGroupsOfALogin(t *testing.T) {
	inLogins(t, func(w *world) {
		ctx := context.Background()
		early := w.mustSubmit("user:ana", "write", 20*time.Minute)
		time.Sleep(time.Second)
		newt, err := w.newcomer("new-1", "user:newt", "group:dba", "dba", "group:DBA", "")
		must(t, err)
		me, err := w.Me(ctx, w.by(newt.Secret))
		must(t, err)
		if len(me.Groups) != 1 || me.Groups[0] != "group:dba" || me.Admin || me.Auditor {
			t.Fatalf("a newcomer is %+v", me)
		}
		// To come into a group reaches no request that was made before.
		vote := func(by string, v broker.View) error {
			_, err := w.Review(ctx, w.by(by), v.ID, broker.Vote{Decision: "approve", ContentHash: v.ContentHash}, nil)
			return err
		}
		if err := vote(newt.Secret, early); err == nil {
			t.Error("a request that was there before was approved by somebody who came into the group after it")
		}
		time.Sleep(time.Second)
		late := w.mustSubmit("user:ana", "write", 20*time.Minute)
		must(t, vote(newt.Secret, late))
		// It stays so when the catalog changes meanwhile.
		next := w.mustSubmit("user:ana", "write", 50*time.Minute)
		w.apply(linked("approve_within: 2h", "approve_within: 3h"))
		must(t, vote(newt.Secret, next))
		// To lose the group at the next login acts at once: the vote counts no more.
		_, err = w.newcomer("new-1", "user:newt")
		must(t, err)
		if _, err := w.vote("user:cy", late, "approve"); err == nil && w.get("user:ana", late.ID).State == "approved" {
			t.Error("a vote of somebody who lost the group led to a grant")
		}
		// To come back into it is to come anew.
		newt, err = w.newcomer("new-1", "user:newt", "group:dba")
		must(t, err)
		if err := vote(newt.Secret, early); err == nil {
			t.Error("who left the group and came back votes on what was there before")
		}
	})
}

// Losing the group that a grant's rule needed ends that grant, in the commit of
// the login.
//
// Invariant: A5
func TestALostGroupEndsWhatRestedOnIt(t *testing.T) {
	inLogins(t, func(w *world) {
		ctx := context.Background()
		newt, err := w.newcomer("new-1", "user:newt", "group:dev")
		must(t, err)
		v, err := w.Submit(ctx, w.by(newt.Secret), broker.Submission{Resource: "orders", Role: "read", Duration: 10 * time.Minute, Reason: "x"}, nil)
		must(t, err)
		if v.Grant == nil || v.Grant.State != "active" {
			t.Fatalf("no grant: %+v", v)
		}
		c, err := w.Issue(ctx, w.by(newt.Secret), v.Grant.ID, "token", nil)
		must(t, err)
		_, err = w.newcomer("new-1", "user:newt", "group:dev")
		must(t, err)
		if !w.active(*c.Secret) {
			t.Fatal("a login that says the same ended the grant")
		}
		_, err = w.newcomer("new-1", "user:newt", "group:other")
		must(t, err)
		if w.active(*c.Secret) {
			t.Error("the grant goes on without the group that its rule needed")
		}
	})
}

// What a provider said holds for a while, and then no longer: also for API
// tokens, which nobody would take away.
func TestWhatAProviderSaidRunsOut(t *testing.T) {
	inLogins(t, func(w *world) {
		ctx := context.Background()
		newt, err := w.newcomer("new-1", "user:newt", "group:dev")
		must(t, err)
		if _, err := w.CreateToken(ctx, w.by(newt.Secret), "", "long", 25*time.Hour, nil); err == nil {
			t.Error("a login made a token that lives longer than the cap")
		}
		token, err := w.CreateToken(ctx, w.by(newt.Secret), "", "day", 24*time.Hour, nil)
		must(t, err)
		ana := w.comes("ana-1", "group:extra")
		time.Sleep(24*time.Hour - time.Second)
		if _, err := w.Authenticate(*token.Secret, "192.0.2.9", "api"); err != nil {
			t.Fatal(err)
		}
		day, err := w.CreateToken(ctx, as("user:ada"), "user:newt", "by an admin", 100*time.Hour, nil)
		must(t, err)
		_ = ana
		time.Sleep(24*time.Hour + time.Second) // 48 h after the login
		w.restart(false)
		if _, err := w.Submit(ctx, identity.Caller{Principal: "user:newt", Token: day.ID}, broker.Submission{Resource: "orders", Role: "read", Duration: time.Minute, Reason: "x"}, nil); err == nil {
			t.Error("somebody of whom nothing is known any more asked for access")
		}
		if _, err := w.Authenticate(*day.Secret, "192.0.2.9", "api"); err == nil {
			t.Error("a token of somebody of whom nothing is known any more is good")
		}
		if me, err := w.Me(ctx, as("user:ana")); err != nil || len(me.Groups) != 1 {
			t.Errorf("ana is in %v, want group:dev of the catalog alone: %v", me.Groups, err)
		}
	})
}

func TestWhoEndsWhichLogin(t *testing.T) {
	inLogins(t, func(w *world) {
		ctx := context.Background()
		ana, cy, ada := w.comes("ana-1"), w.comes("cy-2"), w.comes("ada-1")
		list := func(by string) (out []api.Login) {
			t.Helper()
			out, err := w.Logins(ctx, w.by(by))
			must(t, err)
			return out
		}
		if own := list(ana.Secret); len(own) != 1 || own[0].ID != ana.ID || !own[0].Current || own[0].Principal != "user:ana" {
			t.Errorf("ana's list: %+v", own)
		}
		if all := list(ada.Secret); len(all) != 3 {
			t.Errorf("an admin's list has %d logins, want 3", len(all))
		}
		refused(t, w.EndLogin(ctx, w.by(ana.Secret), cy.ID), "not_found")
		_, err := w.EndLogins(ctx, w.by(ana.Secret), "user:cy")
		refused(t, err, "forbidden")
		if w.by(cy.Secret).Principal == "" {
			t.Fatal("it was refused and done")
		}
		must(t, w.EndLogin(ctx, w.by(ada.Secret), cy.ID))
		cli, err := w.LogInCLI(ctx, w.by(ana.Secret), "laptop", "192.0.2.7")
		must(t, err)
		if _, err := w.LogInCLI(ctx, w.by(cli.Secret), "more", "192.0.2.7"); err == nil {
			t.Error("a command line let another one in")
		}
		other := w.comes("ana-1")
		ended, err := w.EndLogins(ctx, w.by(cli.Secret), "")
		must(t, err)
		if ended.Ended != 3 || w.by(ana.Secret).Principal+w.by(cli.Secret).Principal+w.by(other.Secret).Principal != "" {
			t.Errorf("everywhere: %d ended", ended.Ended)
		}
		if w.by(ada.Secret).Principal == "" {
			t.Error("somebody else was logged out")
		}
	})
}

// Invariant: A23
func TestTheSetupLink(t *testing.T) {
	inBubble(t, func(w *world) {
		w.start()
		defer w.stop()
		ctx := context.Background()
		link, expires, err := w.SetupLink(ctx)
		must(t, err)
		if link == "" || time.Until(expires) != 10*time.Minute {
			t.Fatalf("a server into which nobody can come has no link: %q, %s", link, expires)
		}
		old := link
		link, _, err = w.SetupLink(ctx) // a restart
		must(t, err)
		_, err = w.SetUp(ctx, old, "", "192.0.2.9")
		refused(t, err, "bad_link")
		w.restart(false)
		in, err := w.SetUp(ctx, link, "Firefox", "192.0.2.9")
		must(t, err)
		if me, err := w.Me(ctx, w.by(in.Secret)); err != nil || !me.Admin || me.ID != "user:setup" {
			t.Fatalf("who has the link is %+v, %v", me, err)
		}
		_, err = w.SetUp(ctx, link, "Firefox", "192.0.2.9")
		refused(t, err, "bad_link")
		_, err = w.PutCatalog(ctx, w.by(in.Secret), []byte(base), "")
		must(t, err)
		if link, _, err := w.SetupLink(ctx); err != nil || link != "" {
			t.Errorf("a server with tokens in its catalog has a setup link: %v", err)
		}
		time.Sleep(time.Hour)
		if w.by(in.Secret).Principal != "" {
			t.Error("the first admin stays for longer than an hour")
		}
		must(t, w.Heartbeat(ctx))
	})
	inBubble(t, func(w *world) {
		w.start()
		defer w.stop()
		link, _, err := w.SetupLink(context.Background())
		must(t, err)
		time.Sleep(10 * time.Minute)
		_, err = w.SetUp(context.Background(), link, "", "192.0.2.9")
		refused(t, err, "bad_link")
	})
}
