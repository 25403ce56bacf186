package daemon_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/cli"
)

// terminal is a command line with a folder of its own.
type terminal struct {
	*logins
	dir string
}

// output may be read while a command runs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// run runs a command to its end.
func (c *terminal) run(open func(string) error, out *output, args ...string) int {
	c.t.Helper()
	root := cli.New(cli.Options{
		Version: "test", Stdin: strings.NewReader(""), Stdout: out, Stderr: out, ConfigDir: c.dir, Open: open,
		Getenv: func(name string) string { return map[string]string{"DAYPASS_URL": c.url}[name] },
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return cli.Execute(ctx, root, args)
}

func (c *terminal) says(args ...string) (string, int) {
	c.t.Helper()
	out := &output{}
	code := c.run(nil, out, args...)
	return out.String(), code
}

// fields are the hidden fields of a page's form.
func fields(text string) url.Values {
	form := url.Values{}
	for _, m := range regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`).FindAllStringSubmatch(text, -1) {
		form.Set(m[1], strings.NewReplacer("&amp;", "&", "&#43;", "+", "&#34;", `"`).Replace(m[2]))
	}
	return form
}

// letIn is a browser that opens what a command line says, and answers.
func (b *browser) letIn(answer string) func(string) error {
	return func(to string) error {
		go func() {
			p := b.get(to)
			form := fields(p.text)
			form.Set("answer", answer)
			p = b.post("/oauth/authorize", form)
			if back, err := p.Location(); err == nil {
				// What else comes to that port changes nothing.
				for _, bad := range []string{back.String() + "x", strings.Replace(back.String(), "state=", "state=x", 1), strings.Replace(back.String(), "iss=", "iss=x", 1), "http://" + back.Host + "/callback?code=evil"} {
					if p := b.get(bad); p.StatusCode != http.StatusNotFound {
						b.t.Errorf("%s was taken: %s", bad, p.Status)
					}
				}
				b.get(back.String())
			}
		}()
		return nil
	}
}

// Attack: CLI-02, CLI-04, OID-05
func TestACommandLineLogsInByABrowser(t *testing.T) {
	l := startLogins(t, "")
	l.as("ana-1", nil)
	ana := l.browser()
	ana.logIn()
	c := &terminal{l, t.TempDir()}
	out := &output{}
	if code := c.run(ana.letIn("no"), out, "login", "--browser"); code != cli.ExitDenied {
		t.Errorf("refused in the browser: exit %d\n%s", code, out)
	}
	if got, code := c.says("whoami"); code == 0 {
		t.Errorf("it is somebody all the same:\n%s", got)
	}
	out = &output{}
	if code := c.run(ana.letIn("yes"), out, "login", "--browser"); code != 0 || !strings.Contains(out.String(), "user:ana") {
		t.Fatalf("the login: exit %d\n%s", code, out)
	}
	if strings.Contains(out.String(), "dplt_") {
		t.Error("it printed its secret")
	}
	file := filepath.Join(c.dir, "daypass", "credentials.json")
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("what is stored: %v, %v", info, err)
	}
	if got, code := c.says("whoami"); code != 0 || !strings.Contains(got, "daypass on ") || !strings.Contains(got, "until") {
		t.Errorf("whoami: exit %d\n%s", code, got)
	}
	stored, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	secret := regexp.MustCompile(`dplt_[0-9A-Za-z]+`).FindString(string(stored))
	good := func() bool {
		t.Helper()
		r, err := http.NewRequest(http.MethodGet, l.url+"/v1/logins", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+secret)
		p := l.browser().do(r, nil)
		var list struct{ Items []struct{ Kind string } }
		if err := json.Unmarshal([]byte(p.text), &list); err == nil && p.StatusCode == http.StatusOK && len(list.Items) != 2 {
			t.Errorf("the list has %d logins, want the browser and the command line", len(list.Items))
		}
		return p.StatusCode == http.StatusOK
	}
	if !good() {
		t.Fatal("the login that is stored is not good")
	}
	if got, code := c.says("logout"); code != 0 || good() {
		t.Errorf("logout: exit %d, and still good: %t\n%s", code, good(), got)
	}
	if ana.me() != "user:ana" {
		t.Error("the browser was logged out too")
	}
	if code := c.run(ana.letIn("yes"), &output{}, "login", "--browser"); code != 0 {
		t.Fatalf("again: exit %d", code)
	}
	if got, code := c.says("logout", "--everywhere"); code != 0 || !strings.Contains(got, "2 logins") || ana.me() != "" {
		t.Errorf("everywhere: exit %d\n%s", code, got)
	}
}

// Attack: OID-05, OID-06
func TestACommandLineLogsInByACode(t *testing.T) {
	l := startLogins(t, "")
	l.as("ana-1", nil)
	ana := l.browser()
	c := &terminal{l, t.TempDir()}
	out, done := &output{}, make(chan int, 1)
	go func() { done <- c.run(nil, out, "login", "--device") }()
	var code string
	for start := time.Now(); code == "" && time.Since(start) < patience; time.Sleep(10 * time.Millisecond) {
		code = regexp.MustCompile(`[B-Z]{4}-[B-Z]{4}`).FindString(out.String())
	}
	// Who is not logged in is sent to log in, and back.
	if p := ana.get("/device"); p.Request.URL.Path != "/login" || p.Request.URL.Query().Get("return_to") != "/device" {
		t.Errorf("a stranger gets %s", p.Request.URL)
	}
	ana.logIn()
	if p := ana.post("/device", url.Values{"code": {"BBBB-BBBB"}}); p.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("a wrong code: %s", p.Status)
	}
	p := ana.post("/device", url.Values{"code": {strings.ToLower(code)}})
	for _, must := range []string{"daypass on ", "127.0.0.1", "less than a minute ago", code, "user:ana"} {
		if !strings.Contains(p.text, must) {
			t.Errorf("the page does not say %q:\n%s", must, p.text)
		}
	}
	form := fields(p.text)
	form.Set("answer", "yes")
	if p := ana.post("/device/confirm", form); p.StatusCode != http.StatusOK || !strings.Contains(p.text, "terminal") {
		t.Fatalf("%s\n%s", p.Status, p.text)
	}
	if p := ana.post("/device/confirm", form); p.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("a second time: %s", p.Status)
	}
	select {
	case exit := <-done:
		if exit != 0 || !strings.Contains(out.String(), "user:ana") {
			t.Fatalf("exit %d\n%s", exit, out)
		}
	case <-time.After(patience):
		t.Fatal("the command line still waits")
	}
	if got, code := c.says("whoami"); code != 0 || !strings.Contains(got, "user:ana") {
		t.Errorf("whoami: exit %d\n%s", code, got)
	}
	// Whoever follows the code itself, not the page, gets nothing twice.
	res := l.browser().post("/oauth/token", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {"daypass-cli"}, "device_code": {"guessed"}})
	if res.StatusCode != http.StatusBadRequest || !strings.Contains(res.text, `"invalid_grant"`) {
		t.Errorf("%s %s", res.Status, res.text)
	}
}

// A code that comes twice ends the login that came of it.
//
// Attack: OID-06
func TestACodeThatIsUsedTwice(t *testing.T) {
	l := startLogins(t, "")
	l.as("ana-1", nil)
	ana := l.browser()
	ana.logIn()
	const verifier = "a verifier that is long enough to be one, of 43 characters"
	form := url.Values{
		"response_type": {"code"}, "client_id": {"daypass-cli"}, "redirect_uri": {"http://127.0.0.1:4000/callback"}, "state": {"0123456789abcdef"},
		"code_challenge_method": {"S256"}, "answer": {"yes"},
	}
	form.Set("code_challenge", s256(verifier))
	p := ana.post("/oauth/authorize", form)
	back, err := p.Location()
	if err != nil || back.Query().Get("code") == "" || back.Query().Get("iss") != l.url {
		t.Fatalf("%s to %v", p.Status, back)
	}
	redeem := func(change ...string) page {
		f := url.Values{"grant_type": {"authorization_code"}, "client_id": {"daypass-cli"}, "code": {back.Query().Get("code")}, "redirect_uri": {"http://127.0.0.1:4000/callback"}, "code_verifier": {verifier}}
		for i := 0; i < len(change); i += 2 {
			f.Set(change[i], change[i+1])
		}
		return l.browser().post("/oauth/token", f)
	}
	if p := redeem("client_id", "another"); p.StatusCode != http.StatusBadRequest || !strings.Contains(p.text, "invalid_client") {
		t.Errorf("another client: %s %s", p.Status, p.text)
	}
	first := redeem()
	var got struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(first.text), &got); err != nil || !strings.HasPrefix(got.Token, "dplt_") {
		t.Fatalf("%s %s", first.Status, first.text)
	}
	good := func() bool {
		r, err := http.NewRequest(http.MethodGet, l.url+"/v1/me", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+got.Token)
		return l.browser().do(r, nil).StatusCode == http.StatusOK
	}
	if !good() {
		t.Fatal("the login is not good")
	}
	if p := redeem(); !strings.Contains(p.text, "invalid_grant") {
		t.Errorf("a second time: %s", p.text)
	}
	if good() {
		t.Error("the code was stolen, and what came of it goes on")
	}
}

func s256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
