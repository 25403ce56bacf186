package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/store/sqlstore"
	"github.com/daypass/daypass/internal/workload"
)

// jobs takes tokens that are texts: "ID principal life". It stands for the
// checks of package workload.
type jobs struct{ now func() time.Time }

func (j jobs) Verify(_ context.Context, token string) (*workload.Proof, error) {
	var id, principal, life string
	if n, _ := fmt.Sscan(token, &id, &principal, &life); n != 3 {
		return nil, &workload.Refusal{Why: "forged"}
	}
	told := api.Workload{Issuer: "https://ci.example", Subject: "repo:acme/orders", Rule: "deploys", Claims: map[string]string{"run_id": id, "repository_id": "74"}}
	lasts, err := time.ParseDuration(life)
	if err != nil || lasts <= 0 {
		return nil, &workload.Refusal{Why: "expired", Workload: &told}
	}
	return &workload.Proof{Principal: principal, Workload: told, ID: [32]byte([]byte(fmt.Sprintf("%-32s", id))), IssuedAt: j.now(), Ends: j.now().Add(lasts), TTL: 15 * time.Minute}, nil
}

var stranger = identity.Caller{IP: "192.0.2.7", Channel: "api"}

func (w *world) exchange(token string) (broker.Exchanged, error) {
	return w.Exchange(context.Background(), stranger, token)
}

// refusedJob wants the one answer that every refused token gets.
func (w *world) refusedJob(token string) {
	w.t.Helper()
	made, err := w.exchange(token)
	if e, ok := errors.AsType[*broker.Error](err); !ok || !broker.SubjectTokenRefused(err) || e.Message != "the subject token was not accepted; the server's record says why" || !made.Token.IsZero() {
		w.t.Errorf("%s: got %+v and %v", token, made, err)
	}
}

// caller is who has a token.
func (w *world) caller(made broker.Exchanged) (identity.Caller, error) {
	return w.Authenticate(made.Token.Reveal(), "192.0.2.7", "cli")
}

// A job gets a short token of the principal, and what it asks for names the run.
//
// Invariant: A3, A20, A21, A30, A33
// Attack: AUD-06
func TestAJobAsksWithoutASecret(t *testing.T) {
	inWorld(t, func(w *world) {
		w.apply(strings.Replace(base, "{id: service:ci, owner: user:ana}", "{id: service:ci, owner: user:ana, groups: [group:dev]}", 1))
		made, err := w.exchange("run1 service:ci 1h")
		must(t, err)
		if made.Lasts != 15*time.Minute {
			t.Errorf("it lasts %s", made.Lasts)
		}
		short, err := w.exchange("run2 service:ci 90s")
		must(t, err)
		if short.Lasts != 90*time.Second {
			t.Errorf("it outlives the job's token: %s", short.Lasts)
		}
		c, err := w.caller(made)
		must(t, err)
		if c.Principal != "service:ci" || c.OnBehalfOf != "user:ana" || c.Workload == nil || c.Workload.Claims["run_id"] != "run1" {
			t.Errorf("%+v", c)
		}
		v, err := w.Submit(context.Background(), c, broker.Submission{Resource: "orders", Role: "read", Duration: 5 * time.Minute, Reason: "deploy"}, nil)
		must(t, err)
		if v.State != "approved" || v.Workload == nil || v.Workload.Claims["run_id"] != "run1" || v.Workload.Issuer != "https://ci.example" {
			t.Errorf("%+v", v.Request)
		}
		asked := w.entries(audit.RequestCreated)
		if len(asked) != 1 || !strings.Contains(string(asked[0].Details), `"run_id":"run1"`) || asked[0].Actor != "service:ci" {
			t.Errorf("the record does not name the run: %+v", asked)
		}
		for _, kind := range []string{audit.AuthSucceeded, audit.TokenCreated} {
			found := w.entries(kind)
			if len(found) != 2 || found[0].Actor != "service:ci" || found[0].Source.IP != "192.0.2.7" {
				t.Fatalf("%s: %+v", kind, found)
			}
			text := string(found[0].Details)
			if !strings.Contains(text, `"rule":"deploys","subject":"repo:acme/orders"`) {
				t.Errorf("%s: %s", kind, text)
			}
			if strings.Contains(text, made.Token.Reveal()) || strings.Contains(text, "dpat_") {
				t.Errorf("%s holds the token: %s", kind, text)
			}
		}
		time.Sleep(90 * time.Second)
		if _, err := w.caller(short); err == nil {
			t.Error("it is good after its end")
		}
		time.Sleep(made.Lasts - 90*time.Second - time.Millisecond)
		if _, err := w.caller(made); err != nil {
			t.Error("it ended too early")
		}
		time.Sleep(time.Millisecond)
		if _, err := w.caller(made); err == nil {
			t.Error("it is good at its end")
		}
	})
}

// A grant is its principal's: which run took a credential of it is on record,
// which need not be the run that asked.
//
// Invariant: A30
func TestTheRecordNamesTheRunThatTakesACredential(t *testing.T) {
	inWorld(t, func(w *world) {
		w.apply(strings.Replace(base, "{id: service:ci, owner: user:ana}", "{id: service:ci, owner: user:ana, groups: [group:dev]}", 1))
		ctx := context.Background()
		var callers []identity.Caller
		for _, run := range []string{"run1", "run2"} {
			made, err := w.exchange(run + " service:ci 1h")
			must(t, err)
			c, err := w.caller(made)
			must(t, err)
			callers = append(callers, c)
		}
		v, err := w.Submit(ctx, callers[0], broker.Submission{Resource: "orders", Role: "read", Duration: 5 * time.Minute, Reason: "deploy"}, nil)
		must(t, err)
		for _, c := range append(callers, as("service:ci")) {
			must(t, errorOf(w.Issue(ctx, c, v.Grant.ID, "token", nil)))
		}
		issued := w.entries(audit.CredentialIssued)
		if len(issued) != 3 || !strings.Contains(string(issued[0].Details), `"run_id":"run1"`) || !strings.Contains(string(issued[1].Details), `"run_id":"run2"`) || strings.Contains(string(issued[2].Details), "workload") {
			t.Errorf("%+v", issued)
		}
	})
}

// The job is part of what is voted on: the same request of another run is
// another content.
//
// Invariant: A8, A18
func TestTheRunIsPartOfTheContent(t *testing.T) {
	inWorld(t, func(w *world) {
		hash := func(c identity.Caller) string {
			t.Helper()
			v, err := w.Submit(context.Background(), c, broker.Submission{Resource: "orders", Role: "write", Duration: 5 * time.Minute}, nil)
			must(t, err)
			must(t, errorOf(w.Cancel(context.Background(), c, v.ID)))
			return v.ContentHash
		}
		seen := map[string]bool{}
		for _, run := range []string{"run1", "run2"} {
			made, err := w.exchange(run + " service:ci 1h")
			must(t, err)
			c, err := w.caller(made)
			must(t, err)
			seen[hash(c)] = true
		}
		if seen[hash(as("service:ci"))] = true; len(seen) != 3 {
			t.Errorf("contents of different runs have %d hashes", len(seen))
		}
	})
}

func errorOf[T any](_ T, err error) error { return err }

// Invariant: A23
// Attack: TOK-15, TOK-16
func TestAJobsTokenIsGoodOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		const n = 8
		var mu sync.Mutex
		var group sync.WaitGroup
		good := 0
		for range n {
			group.Go(func() {
				_, err := w.exchange("run1 service:ci 1h")
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					good++
				} else if !broker.SubjectTokenRefused(err) {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if good != 1 {
			t.Errorf("%d of %d at once got a token", good, n)
		}
		w.refusedJob("run1 service:ci 1h")
		w.restart(true)
		w.refusedJob("run1 service:ci 1h")
		time.Sleep(time.Second) // entries of failures are written in batches
		w.restart(false)
		w.refusedJob("run1 service:ci 1h")
		time.Sleep(2 * time.Hour) // the token itself is refused by now; what was kept of it goes
		must(t, w.Heartbeat(context.Background()))
		synctest.Wait()
		must(t, w.store.View(context.Background(), func(tx *sqlstore.Tx) error {
			left, err := tx.Tokens("")
			if len(left) != 0 {
				t.Errorf("%d tokens of jobs are kept after their end", len(left))
			}
			return err
		}))
		if why := w.why(audit.AuthFailed); why["used before"] != n+2 {
			t.Errorf("the record says %v", why)
		}
	})
}

// why counts the reasons of the entries of one type, those that were counted
// too, after a minute.
func (w *world) why(kind string) map[string]int {
	w.t.Helper()
	time.Sleep(61 * time.Second)
	synctest.Wait()
	out := map[string]int{}
	for _, e := range w.entries(kind) {
		var d struct {
			Why, What string
			Count     int
		}
		must(w.t, json.Unmarshal(e.Details, &d))
		if d.Why != "" {
			out[d.Why]++
		}
		if d.What != "" {
			out[d.What] += d.Count
		}
	}
	return out
}

// Invariant: A5, A16, A30
// Attack: OID-10, OID-11, AUD-08
func TestWhoGetsNoToken(t *testing.T) {
	inWorld(t, func(w *world) {
		w.refusedJob("run1 service:gone 1h")
		w.refusedJob("garbage")
		w.refusedJob("run1 service:ci 0s")
		w.refusedJob("run1 service:ci 10ms") // it would have no second to live
		made, err := w.exchange("run1 service:ci 1h")
		must(t, err)
		w.apply(strings.Replace(base, "{id: user:ana, groups", "{id: user:ana, disabled: true, groups", 1))
		if _, err := w.caller(made); err == nil {
			t.Error("the token of a service is good whose owner is disabled")
		}
		w.refusedJob("run2 service:ci 1h")
		w.apply(base)
		if _, err := w.exchange("run2 service:ci 1h"); err != nil {
			t.Errorf("a token that got nothing is spent: %v", err)
		}
		why := w.why(audit.AuthFailed)
		if why["the principal is not there, or disabled"] != 2 || why["expired"] != 2 || why["workload token: forged"] != 1 {
			t.Errorf("the record says %v", why)
		}
	})
}

// Anybody can have tokens signed by a public platform: what they send is
// counted when it is much.
//
// Invariant: A37
// Attack: RES-06
func TestRefusedTokensDoNotFillTheRecord(t *testing.T) {
	inWorld(t, func(w *world) {
		before := len(w.entries(audit.AuthFailed))
		for range 500 {
			w.refusedJob("run1 service:ci 0s")
		}
		why := w.why(audit.AuthFailed)
		if n := len(w.entries(audit.AuthFailed)) - before; n > 125 || why["expired"]+why["workload token: expired"] != 500 {
			t.Errorf("%d entries, which count %v", n, why)
		}
	})
}

// Invariant: A5
// Attack: TOK-08
func TestAJobsTokenCanBeRevoked(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		one, err := w.exchange("run1 service:ci 1h")
		must(t, err)
		two, err := w.exchange("run2 service:ci 1h")
		must(t, err)
		must(t, w.RevokeToken(ctx, stranger, one.Token.Reveal())) // by whoever holds it
		if _, err := w.caller(one); err == nil {
			t.Error("it is good after its revocation")
		}
		c, err := w.caller(two)
		must(t, err)
		must(t, w.DeleteToken(ctx, as("user:ana"), c.Token)) // by the owner of the service
		if _, err := w.caller(two); err == nil {
			t.Error("it is good after its revocation")
		}
		token, err := w.CreateToken(ctx, as("user:bo"), "", "laptop", time.Hour, nil)
		must(t, err)
		must(t, w.RevokeToken(ctx, stranger, *token.Secret))
		if _, err := w.Authenticate(*token.Secret, "192.0.2.7", "cli"); err != nil {
			t.Error("the token of a person was ended with it")
		}
	})
}

// A store that was restored does not know which tokens were used in what was
// lost: those are refused.
//
// Invariant: A2, A23
func TestARestoredStoreTakesNoOlderTokens(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		must(t, w.store.Update(ctx, sqlstore.Normal, func(tx *sqlstore.Tx) error {
			_, err := broker.Restored(tx, api.Quarantine{BackupAt: api.TimeOf(time.Now())}, time.Now())
			return err
		}))
		w.restart(true)
		if _, err := w.exchange("run1 service:ci 1h"); err == nil || broker.SubjectTokenRefused(err) {
			t.Errorf("in quarantine: %v", err)
		}
		must(t, errorOf(w.EndQuarantine(ctx, as("user:ada"), true)))
		w.refusedJob("run1 service:ci 1h") // issued in this very instant
		w.restart(true)
		time.Sleep(time.Second)
		if _, err := w.exchange("run1 service:ci 1h"); err != nil {
			t.Error(err)
		}
	})
}
