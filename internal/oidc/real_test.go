package oidc

import (
	"context"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/daypass/daypass/internal/config"
)

// A provider that others have written, with its login page: what it takes and
// gives is not what we think that providers take and give.
func TestARealProvider(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	issuer := "http://" + l.Addr().String() + "/"
	const secret, public = "a secret: with % and + in it", "https://daypass.example"
	storage.RegisterClients(storage.WebClient("daypass", secret, public+"/login/callback/real"))
	server := httptest.NewUnstartedServer(exampleop.SetupServer(issuer, storage.NewStorage(storage.NewUserStore(issuer)), nil, false, op.WithAllowInsecure()))
	_ = server.Listener.Close()
	server.Listener = l
	server.Start()
	defer server.Close()

	t.Setenv("REAL_SECRET", secret)
	rp, err := New([]config.OIDC{{Name: "real", Issuer: issuer, ClientID: "daypass", ClientSecret: config.Secret{Env: "REAL_SECRET"}, Scopes: []string{"profile"}, GroupsClaim: "groups"}},
		Options{PublicURL: public, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	a, err := rp.Begin(context.Background(), "real", "/device")
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	var back *url.URL
	browser := http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if r.URL.Host == "daypass.example" {
			back = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}}
	page, err := browser.Get(a.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = page.Body.Close() }()
	if !regexp.MustCompile(`/login/username`).MatchString(page.Request.URL.Path) {
		t.Fatalf("the browser is at %s", page.Request.URL)
	}
	in, err := browser.PostForm(issuer+"login/username", url.Values{"username": {"test-user2"}, "password": {"verysecure"}, "id": {page.Request.URL.Query().Get("authRequestID")}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Body.Close() }()
	if back == nil {
		t.Fatalf("the browser did not come back: it is at %s", in.Request.URL)
	}
	who, to, err := rp.Finish(context.Background(), "real", back.Query(), a.Ticket)
	if err != nil || who.Issuer != issuer || who.Subject != "id2" || len(who.Groups) != 0 || to != "/device" {
		t.Errorf("%+v to %q: %v", who, to, err)
	}
	if _, _, err := rp.Finish(context.Background(), "real", back.Query(), a.Ticket); err == nil {
		t.Error("it was taken twice")
	}
}
