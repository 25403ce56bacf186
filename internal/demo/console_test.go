package demo

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/daemon"
)

// Anybody can be one of the cast with one click, and nobody else; a page of
// another site cannot click.
//
// Attack: WEB-02, OID-04
func TestOneClickLogins(t *testing.T) {
	w, err := Start(t.Context(), Options{Folder: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	post := func(as, to, from string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequest(http.MethodPost, w.API()+"/login/as", strings.NewReader(url.Values{"as": {as}, "return_to": {to}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", from)
		res, err := browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res, string(body)
	}
	for _, who := range []string{"nobody", "service:orders", "orders", "", "user:ana"} {
		if res, _ := post(who, "/", "same-origin"); res.StatusCode != http.StatusNotFound {
			t.Errorf("somebody could be %q: %s", who, res.Status)
		}
	}
	if res, _ := post("ada", "/", "cross-site"); res.StatusCode != http.StatusForbidden || len(jar.Cookies(res.Request.URL)) != 0 {
		t.Errorf("another site's page clicked: %s", res.Status)
	}
	res, page := post("ana", "/request?resource=orders-api&role=read&for=5m", "same-origin")
	if res.StatusCode != http.StatusOK || res.Request.URL.Path != "/request" || !strings.Contains(page, `title="user:ana"`) || !strings.Contains(page, `value="5m" checked`) {
		t.Errorf("%s %s\n%s", res.Status, res.Request.URL, page)
	}
	if res, _ := post("bo", "//evil.example/", "same-origin"); res.Request.URL.String() != w.API()+"/" {
		t.Errorf("it leads to %s", res.Request.URL)
	}
	jar, _ = cookiejar.New(nil)
	browser.Jar = jar
	got, err := browser.Get(w.API() + "/inbox")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = got.Body.Close() }()
	if body, _ := io.ReadAll(got.Body); got.Request.URL.Path != "/login" || !strings.Contains(string(body), "This server is for trying things.") || !strings.Contains(string(body), `value="/inbox"`) {
		t.Errorf("the choice does not say loudly what it is:\n%s", body)
	}
}

// People who prove nothing are refused by a server that others reach.
//
// Attack: OID-04
func TestTheCastStaysOnThisMachine(t *testing.T) {
	for name, c := range map[string]struct {
		listen, public string
		dev            bool
	}{
		"all addresses":     {"0.0.0.0:0", "", true},
		"a name of its own": {"127.0.0.1:0", "https://daypass.example", true},
		"a real server":     {"127.0.0.1:0", "", false},
	} {
		file := filepath.Join(t.TempDir(), "daypass.yaml")
		if err := os.WriteFile(file, []byte("listen: 127.0.0.1:0\ndata: ./data\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Listen, cfg.PublicURL = c.listen, c.public
		d, err := daemon.Start(context.Background(), daemon.Options{Config: cfg, Dev: c.dev, Cast: people()})
		if err == nil {
			_ = d.Shutdown(context.Background())
		}
		if err == nil || !strings.Contains(err.Error(), "prove nothing") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
