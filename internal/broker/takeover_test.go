package broker_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// Whom the catalog no longer lists is nobody at once: what a login made known of
// them does not make them a newcomer of the same name.
//
// Invariant: A5, A23
// Attack: OID-10
func TestAPersonWhoIsRemovedIsNobody(t *testing.T) {
	inLogins(t, func(w *world) {
		ctx := context.Background()
		in := w.comes("ana-1", "group:dba")
		token, err := w.CreateToken(ctx, w.by(in.Secret), "", "day", 24*time.Hour, nil)
		must(t, err)
		removed := strings.NewReplacer(
			`  - {id: user:ana, oidc: {issuer: "`+idp+`", subject: ana-1}, groups: [group:dev], email: ana@example.com}`+"\n", "",
			", person: user:ana", "", "owner: user:ana", "owner: user:bo",
		).Replace(linked())
		w.apply(removed)
		if w.by(in.Secret).Principal != "" {
			t.Error("still logged in")
		}
		if _, err := w.Authenticate(*token.Secret, "192.0.2.9", "api"); err == nil {
			t.Error("an API token of theirs is good")
		}
		if _, err := w.Me(ctx, as("user:ana")); err == nil {
			t.Error("they are still somebody")
		}
		_, err = w.LogIn(ctx, broker.Arrival{Issuer: idp, Subject: "ana-1"})
		refused(t, err, "not_known")
		w.restart(true)
		if w.by(in.Secret).Principal != "" {
			t.Error("a restart brought them back")
		}
	})
}

// A newcomer's name that the catalog comes to use for somebody else brings
// nothing of the newcomer's with it.
//
// Invariant: A1, A23
// Attack: OID-02
func TestANameThatTheCatalogTakesBringsNoTokens(t *testing.T) {
	inLogins(t, func(w *world) {
		ctx := context.Background()
		newt, err := w.newcomer("new-1", "user:newt")
		must(t, err)
		token, err := w.CreateToken(ctx, w.by(newt.Secret), "", "day", 24*time.Hour, nil)
		must(t, err)
		asked, err := w.Submit(ctx, w.by(newt.Secret), broker.Submission{Resource: "orders", Role: "write", Duration: 10 * time.Minute, Reason: "x"}, nil)
		must(t, err)
		w.apply(linked("principals:\n", "principals:\n  - {id: user:newt, admin: true, groups: [group:dba]}\n"))
		if c, err := w.Authenticate(*token.Secret, "192.0.2.9", "api"); err == nil {
			t.Errorf("a newcomer's token is the catalog's %s", c.Principal)
		}
		if v := w.get("user:ada", asked.ID); v.State == "pending" {
			t.Error("what a newcomer asked for waits for somebody else of that name")
		}
	})
}

// What a backup knows of somebody's groups may have been lost since.
//
// Invariant: A2
func TestARestoredStoreKnowsNoGroups(t *testing.T) {
	inLogins(t, func(w *world) {
		ctx := context.Background()
		w.comes("ana-1", "group:dba")
		must(t, w.store.Update(ctx, sqlstore.Normal, func(tx *sqlstore.Tx) error {
			_, err := broker.Restored(tx, api.Quarantine{BackupAt: api.TimeOf(time.Now())}, time.Now())
			return err
		}))
		w.restart(true)
		time.Sleep(time.Second)
		w.comes("cy-1", "group:dba") // since the restore
		must(t, errorOf(w.EndQuarantine(ctx, as("user:ada"), true)))
		for who, want := range map[string]string{"user:ana": "group:dev", "user:cy": "group:dba group:owners"} {
			me, err := w.Me(ctx, as(who))
			must(t, err)
			if got := strings.Join(me.Groups, " "); got != want {
				t.Errorf("%s is in %s, want %s", who, got, want)
			}
		}
	})
}

// A provider that the configuration no longer names, or that brings no newcomers
// any more, vouches for nobody from the start on.
//
// Invariant: A5
// Attack: OID-10
func TestAProviderThatIsTakenOutVouchesForNobody(t *testing.T) {
	for what, logins := range map[string]broker.Logins{
		"not named":    {Absolute: 12 * time.Hour, Remember: 48 * time.Hour},
		"no newcomers": {Issuers: []string{idp}, Absolute: 12 * time.Hour, Remember: 48 * time.Hour},
	} {
		inLogins(t, func(w *world) {
			newt, err := w.newcomer("new-1", "user:newt", "group:dev")
			must(t, err)
			v, err := w.Submit(context.Background(), w.by(newt.Secret), broker.Submission{Resource: "orders", Role: "read", Duration: 10 * time.Minute, Reason: "x"}, nil)
			must(t, err)
			c, err := w.Issue(context.Background(), w.by(newt.Secret), v.Grant.ID, "token", nil)
			must(t, err)
			if !w.active(*c.Secret) {
				t.Fatal("no access to begin with")
			}
			w.logins = logins
			w.restart(true)
			if w.by(newt.Secret).Principal != "" {
				t.Errorf("%s: still logged in", what)
			}
			if w.active(*c.Secret) {
				t.Errorf("%s: the grant goes on", what)
			}
		})
	}
}

// What the token endpoint gave to a command line the revocation endpoint takes
// back (RFC 7009). A cookie is no token: it is logged out.
//
// Invariant: A5
func TestALoginOfACommandLineCanBeRevoked(t *testing.T) {
	inLogins(t, func(w *world) {
		ctx := context.Background()
		in := w.comes("ana-1")
		cli, err := w.LogInCLI(ctx, w.by(in.Secret), "laptop", "192.0.2.7")
		must(t, err)
		must(t, w.RevokeToken(ctx, stranger, in.Secret))
		must(t, w.RevokeToken(ctx, stranger, cli.Secret[:len(cli.Secret)-1]+"x"))
		if w.by(in.Secret).Principal == "" || w.by(cli.Secret).Principal == "" {
			t.Fatal("another token than that of the command line ended something")
		}
		must(t, w.RevokeToken(ctx, stranger, cli.Secret))
		if w.by(cli.Secret).Principal != "" {
			t.Error("revoked, and still good")
		}
		must(t, w.RevokeToken(ctx, stranger, cli.Secret))
		if ended := w.entries("auth.ended"); len(ended) != 1 || ended[0].Actor != "user:ana" {
			t.Errorf("on record: %+v", ended)
		}
	})
}

// Whoever logs out everywhere leaves no login behind that came at that moment.
//
// Invariant: A5
// Attack: OID-09
func TestNoCommandLineComesInWhileALogoutRuns(t *testing.T) {
	inLogins(t, func(w *world) {
		ctx := context.Background()
		for round := range 40 {
			by := w.by(w.comes("ana-1").Secret)
			var cli broker.LoggedIn
			var all sync.WaitGroup
			all.Go(func() { _, err := w.EndLogins(ctx, by, ""); must(t, err) })
			all.Go(func() { cli, _ = w.LogInCLI(ctx, by, "laptop", "192.0.2.7") })
			all.Wait()
			if cli.Secret != "" && w.by(cli.Secret).Principal != "" {
				t.Fatalf("round %d: logged out everywhere, and logged in", round)
			}
		}
	})
}

// Anybody has an account at a public provider: those who are not let in are
// counted when they are many.
//
// Invariant: A37
// Attack: RES-06
func TestStrangersDoNotFillTheRecord(t *testing.T) {
	inLogins(t, func(w *world) {
		for n := range 300 {
			_, err := w.LogIn(context.Background(), broker.Arrival{Issuer: idp, Subject: fmt.Sprint("stranger-", n), IP: "192.0.2.66"})
			refused(t, err, "not_known")
		}
		why := w.why(audit.AuthFailed)
		if n := len(w.entries(audit.AuthFailed)); n > 125 || why["no principal of the catalog has this identity"]+why["login: no principal of the catalog has this identity"] != 300 {
			t.Errorf("%d entries, which count %v", n, why)
		}
	})
}

// A call that was let in before a logout, and whose body came after it, changes
// nothing.
//
// Invariant: A5
// Attack: OID-09
func TestALogoutReachesCallsThatAreOnTheirWay(t *testing.T) {
	inLogins(t, func(w *world) {
		ctx := context.Background()
		cy, ada := w.by(w.comes("cy-1").Secret), w.by(w.comes("ada-1").Secret)
		v := w.mustSubmit("user:ana", "write", 10*time.Minute)
		w.mustVote("user:bo", v, "approve")
		must(t, errorOf(w.EndLogins(ctx, as("user:ada"), "user:cy")))
		must(t, w.EndLogin(ctx, ada, "current"))
		_, err := w.Review(ctx, cy, v.ID, broker.Vote{Decision: "approve", ContentHash: v.ContentHash}, nil)
		refused(t, err, "unauthorized")
		_, err = w.Submit(ctx, cy, broker.Submission{Resource: "orders", Role: "write", Duration: time.Minute, Reason: "x"}, nil)
		refused(t, err, "unauthorized")
		_, err = w.PutCatalog(ctx, ada, []byte(base), "")
		refused(t, err, "unauthorized")
		if got := w.get("user:ana", v.ID); got.State != "pending" {
			t.Errorf("the request is %s", got.State)
		}
	})
}
