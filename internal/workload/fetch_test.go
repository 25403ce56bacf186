package workload

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/workload/issuertest"
)

// Invariant: A24, A37
// Attack: TOK-13
func TestKeysAreFetchedSeldomAndForgotten(t *testing.T) {
	w := listed(t, nil)
	for range 5 {
		w.good(w.Token(w.GitHub(ours)))
	}
	for range 20 {
		w.bad("an unknown key", w.RSA.Sign(claims{"kid": "none"}, w.GitHub(ours)), "unknown kid")
	}
	if n := w.Asked.Load(); n != 1 {
		t.Errorf("the keys were fetched %d times", n)
	}
	next := issuertest.NewKey(t, "rsa-2", "RS256")
	w.Keys(next, w.RSA) // rotated
	w.bad("a new key, too early", next.Sign(nil, w.GitHub(ours)), "unknown kid")
	w.now = w.now.Add(31 * time.Second)
	w.good(next.Sign(nil, w.GitHub(ours)))
	w.Keys(next) // the old one is withdrawn
	w.now = w.now.Add(freshFor - time.Second)
	long := claims{"exp": w.now.Add(3 * time.Hour).Unix()}
	w.good(w.Token(w.GitHub(ours).With(long)))
	w.now = w.now.Add(time.Second)
	w.bad("a withdrawn key", w.Token(w.GitHub(ours).With(long)), "unknown kid")
	if n := w.Asked.Load(); n != 3 {
		t.Errorf("the keys were fetched %d times", n)
	}
}

// Attack: OID-08
func TestAnIssuerThatIsDownLetsNobodyInForLong(t *testing.T) {
	w := listed(t, nil)
	w.good(w.Token(w.GitHub(ours)))
	w.Serve(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(503) })
	fresh := func() string {
		return w.Token(w.GitHub(ours).With(claims{"iat": w.now.Unix(), "nbf": nil, "exp": w.now.Add(time.Minute).Unix()}))
	}
	w.now = w.now.Add(staleFor - time.Second)
	w.good(fresh())
	w.now = w.now.Add(time.Second)
	w.bad("an hour later", fresh(), "the issuer's keys could not be fetched")
	w.Serve(nil)
	w.now = w.now.Add(30 * time.Second)
	w.good(fresh())
}

// Invariant: A37
// Attack: HTT-09, FWD-13
func TestKeysComeFromWhereTheyShould(t *testing.T) {
	elsewhere, w := issuertest.New(t), listed(t, nil)
	for what, serve := range map[string]http.HandlerFunc{
		"a redirect to metadata": func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "http://169.254.169.254/latest/", http.StatusFound)
		},
		"a redirect to other keys": func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, elsewhere.JWKS, http.StatusTemporaryRedirect)
		},
		"a redirect to another path": func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/jwks" {
				http.Redirect(rw, r, "/uploads/jwks", http.StatusMovedPermanently)
				return
			}
			_, _ = rw.Write(w.Set())
		},
		"an answer without end": func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			_, _ = rw.Write([]byte(`{"keys":[`))
			for range 64 {
				if _, err := rw.Write([]byte(strings.Repeat(" ", 64<<10))); err != nil {
					return
				}
			}
		},
		"a page": func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte("<html>")) },
		"too many keys": func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = rw.Write([]byte(`{"keys":[` + strings.Repeat(`{},`, maxKeys) + `{}]}`))
		},
		"keys of no use": func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = rw.Write([]byte(`{"keys":[{"kty":"oct","kid":"rsa-1","k":"AAAA"}]}`))
		},
		"an abrupt end":      func(rw http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) },
		"another method why": func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(405) },
	} {
		w.list(entry(w.Issuer, "deploys", byRepository, "service:ci")) // which has fetched nothing yet
		w.Serve(serve)
		w.bad(what, w.Token(w.GitHub(ours)), "the issuer's keys could not be fetched")
	}
	if elsewhere.Asked.Load() != 0 {
		t.Error("a redirect was followed")
	}
	for _, url := range []string{"https://169.254.169.254/jwks", "https://metadata.google.internal/jwks", "https://localhost/jwks", "https://[fd00:ec2::254]/"} {
		if _, err := newFetched(config.JWKS{URL: url}, nil); err == nil {
			t.Errorf("%s is taken", url)
		}
	}
}

// A key set of which one entry cannot be used serves with the others.
func TestKeysOfNoUseAreLeftOut(t *testing.T) {
	w := listed(t, nil)
	w.Serve(func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write([]byte(`{"keys":[{"kty":"OKP","crv":"X448","kid":"x","x":"AA"},` + strings.TrimPrefix(string(w.Set()), `{"keys":[`)))
	})
	w.good(w.Token(w.GitHub(ours)))
}

// Many that come at once wait for one fetch, and one that has no time does not.
//
// Attack: RES-01, TOK-13
func TestASlowIssuerIsAskedOnce(t *testing.T) {
	w := listed(t, nil)
	go_ := make(chan struct{})
	w.Serve(func(rw http.ResponseWriter, _ *http.Request) {
		<-go_
		_, _ = rw.Write(w.Set())
	})
	short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := w.all.Verify(short, w.Token(w.GitHub(ours))); err != short.Err() || err == nil {
		t.Errorf("it waited: %v", err)
	}
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() { w.good(w.Token(w.GitHub(ours))) })
	}
	close(go_)
	group.Wait()
	if n := w.Asked.Load(); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
}
