package daemon_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/daypass/daypass/internal/workload/issuertest"
)

// platforms are the three whose tokens a server takes in these tests.
type platforms struct {
	*server
	github, gitlab, cluster *issuertest.Issuer
}

// withPlatforms starts a server that takes the tokens of jobs: those of GitHub
// and GitLab by the URL of their keys, those of the cluster by a file.
func withPlatforms(t *testing.T) *platforms {
	t.Helper()
	p := &platforms{server: files(t), github: issuertest.New(t), gitlab: issuertest.New(t), cluster: issuertest.New(t)}
	p.write("cluster.json", string(p.cluster.Set()))
	// The audience is the server's address: it must not change with a restart.
	p.listen(freeAddr(t))
	p.start()
	return p
}

func (p *platforms) listen(addr string) {
	p.write("daypass.yaml", fmt.Sprintf(`listen: %[1]s
data: ./data
catalog: ./catalog.yaml
gateways:
  http: {listen: 127.0.0.1:0, domain: localhost}
identity:
  workloads:
    - issuer: %[2]s
      jwks: {url: %[2]s/jwks, every: 5s}
      rules:
        - {name: only main deploys, when: 'claims.repository_id == "74" && claims.ref == "refs/heads/main"', principal: service:ci-deploy}
        - {name: pulls read, when: 'claims.repository_id == "74" && claims.event_name == "pull_request"', principal: service:orders}
    - issuer: %[3]s
      jwks: {url: %[3]s/jwks}
      record: [project_id, job_id]
      rules:
        - {name: protected, when: 'claims.project_id == "20" && claims.ref_protected == "true"', principal: service:ci-deploy}
    - issuer: %[4]s
      jwks: {file: cluster.json}
      max_age: 10m
      token_ttl: 5m
      rules:
        - {name: runner, when: 'claims["kubernetes.io"].serviceaccount.uid == "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"', principal: service:orders}
`, addr, p.github.URL, p.gitlab.URL, p.cluster.URL))
}

// audience is whom a job's token must be for.
func (p *platforms) audience() string { return "http://" + p.api }

type exchanged struct {
	AccessToken     string `json:"access_token"`
	IssuedTokenType string `json:"issued_token_type"`
	TokenType       string `json:"token_type"`
	ExpiresIn       int    `json:"expires_in"`
}

// swap exchanges a job's token, as RFC 8693 says.
func (p *platforms) swap(token string) answer {
	p.t.Helper()
	body := url.Values{
		"grant_type":    {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token": {token}, "subject_token_type": {"urn:ietf:params:oauth:token-type:jwt"},
	}
	return p.call("", "POST", "/oauth/token", body.Encode(), "Content-Type", "application/x-www-form-urlencoded")
}

func (p *platforms) login(token string) string {
	p.t.Helper()
	made := decode[exchanged](p.swap(token).is(200))
	if made.TokenType != "Bearer" || made.IssuedTokenType != "urn:ietf:params:oauth:token-type:access_token" || !strings.HasPrefix(made.AccessToken, "dpat_") || made.ExpiresIn < 60 || made.ExpiresIn > 900 {
		p.t.Errorf("%+v", made)
	}
	return made.AccessToken
}

// From a job's token to the upstream and back, with nothing stored anywhere.
//
// Invariant: A3, A5, A20, A21, A26, A30, A33
// Attack: TOK-01, TOK-02, TOK-03
func TestAJobFromItsTokenToTheUpstream(t *testing.T) {
	p := withPlatforms(t)
	doc := decode[map[string]any](p.call("", "GET", "/.well-known/oauth-authorization-server", nil).is(200))
	if doc["token_endpoint"] != p.audience()+"/oauth/token" || fmt.Sprint(doc["grant_types_supported"]) != "[urn:ietf:params:oauth:grant-type:token-exchange]" {
		t.Errorf("%v", doc)
	}
	for _, job := range []struct {
		platform, principal, claim, value string
		token                             string
		absent                            string
	}{
		{"GitHub", "service:ci-deploy", "run_id", "7700123", p.github.Token(p.github.GitHub(p.audience())), "actor"},
		{"GitLab", "service:ci-deploy", "job_id", "302", p.gitlab.Token(p.gitlab.GitLab(p.audience())), "pipeline_id"},
		{"Kubernetes", "service:orders", "kubernetes.io/pod/name", "runner-0", p.cluster.Token(p.cluster.Kubernetes(p.audience())), "kubernetes.io/node/name"},
	} {
		pass := p.login(job.token)
		if me := decode[struct{ ID, Owner string }](p.call(pass, "GET", "/v1/me", nil).is(200)); me.ID != job.principal || me.Owner == "" {
			t.Errorf("%s: it is %+v", job.platform, me)
		}
		r := p.granted(pass, "open-api", "all", time.Hour)
		if r.Requester != job.principal || r.Workload == nil || r.Workload.Claims[job.claim] != job.value || r.Workload.Claims[job.absent] != "" {
			t.Errorf("%s: the request says %+v", job.platform, r.Workload)
		}
		secret := p.token(pass, r)
		p.through(secret, "GET", "open-api", "/docs/"+job.platform).is(200)
		p.call(pass, "POST", "/v1/grants/"+r.Grant.ID+"/revoke", m{}).is(200)
		p.through(secret, "GET", "open-api", "/docs/x").is(401)
		p.through(pass, "GET", "open-api", "/docs/x").is(401)      // what asks is not what uses
		p.through(job.token, "GET", "open-api", "/docs/x").is(401) // nor is what the platform signed
		p.call(job.token, "GET", "/v1/me", nil).is(401)
		p.call("", "POST", "/oauth/revoke", url.Values{"token": {pass}}.Encode(), "Content-Type", "application/x-www-form-urlencoded").is(200)
		p.call(pass, "GET", "/v1/me", nil).is(401)
		found := false
		for _, e := range p.events("&type=request.created") {
			found = found || e.Request != nil && *e.Request == r.ID && strings.Contains(string(e.Details), `"`+job.claim+`":"`+job.value+`"`)
		}
		if !found {
			t.Errorf("%s: the record does not say which run asked", job.platform)
		}
		for _, e := range p.events("") {
			if strings.Contains(string(e.Details), pass) || strings.Contains(string(e.Details), job.token) {
				t.Errorf("%s: the record holds a token: %s", job.platform, e.Details)
			}
		}
	}
	if p.term() != 0 {
		t.Error("the server did not end well")
	}
	p.verify()
}

// An approver sees which run asks, and neither the owner of the service nor the
// service itself counts.
//
// Invariant: A8, A9
// Attack: APV-01, APV-26
func TestAJobsRequestIsReviewed(t *testing.T) {
	p := withPlatforms(t)
	pass := p.login(p.github.Token(p.github.GitHub(p.audience())))
	r := p.pending(pass, "orders-api", "write", 10*time.Minute)
	seen := p.call("user:bo", "GET", "/v1/requests/"+r.ID, nil).is(200).request()
	if seen.Workload == nil || seen.Workload.Claims["job_workflow_ref"] != "acme/orders/.github/workflows/deploy.yml@refs/heads/main" || seen.ContentHash != r.ContentHash {
		t.Errorf("the approver sees %+v", seen.Workload)
	}
	p.approve("user:bo", r).is(200)
	for _, who := range []string{"user:ana", "user:ana-admin", pass} { // the service's owner, her other account, the service
		if a := p.approve(who, r); a.status < 400 {
			t.Errorf("%s may approve: %s", who, a.body)
		}
	}
	if got := p.approve("user:cy", r).is(200).request(); got.State != "approved" {
		t.Errorf("it is %s", got.State)
	}
	p.env = []string{"DAYPASS_URL=" + p.audience(), "DAYPASS_TOKEN=" + p.tokens["user:bo"]}
	if _, out := p.daypass("show", r.ID); !strings.Contains(out, "GitHub Actions run 7700123 of acme/orders@refs/heads/main by acme/orders/.github/workflows/deploy.yml@refs/heads/main") {
		t.Errorf("the command line says %s", out)
	}
}

// Invariant: A22, A37
// Attack: OID-03, OID-11, TOK-01, TOK-02, TOK-05, TOK-07, TOK-11, TOK-13
func TestForgedJobsGetOneAnswer(t *testing.T) {
	p := withPlatforms(t)
	c := p.github.GitHub(p.audience())
	other := issuertest.NewKey(t, "rsa-1", "RS256")
	now := time.Now().Unix()
	var first string
	for what, token := range map[string]string{
		"none":              p.github.RSA.Sign(issuertest.Claims{"alg": "none"}, c),
		"a public key":      issuertest.HMAC(issuertest.Claims{"alg": "HS256", "kid": "rsa-1"}, c, p.github.Set()),
		"another's key":     other.Sign(nil, c),
		"another audience":  p.github.Token(c.With(issuertest.Claims{"aud": "https://sts.example"})),
		"another issuer":    p.gitlab.Token(c),
		"an unknown issuer": p.github.Token(c.With(issuertest.Claims{"iss": "https://evil.example"})),
		"expired":           p.github.Token(c.With(issuertest.Claims{"exp": now - 1})),
		"the future":        p.github.Token(c.With(issuertest.Claims{"iat": now + 60, "nbf": now + 60})),
		"no rule":           p.github.Token(c.With(issuertest.Claims{"repository_id": "75"})),
		"a missing claim":   p.gitlab.Token(p.gitlab.GitLab(p.audience()).With(issuertest.Claims{"project_id": nil})),
		"too old":           p.cluster.Token(p.cluster.Kubernetes(p.audience()).With(issuertest.Claims{"iat": now - 700, "nbf": nil})),
		"twice":             p.github.RSA.SignRaw(nil, []byte(`{"iss":"`+p.github.URL+`","iss":"`+p.github.URL+`"}`)),
		"huge":              p.github.Token(c.With(issuertest.Claims{"x": strings.Repeat("x", 20_000)})),
		"an API token":      p.tokens["user:ada"],
		"text":              "x",
	} {
		a := p.swap(token)
		if first == "" {
			first = string(a.body)
		}
		if a.status != 400 || string(a.body) != first || !strings.Contains(first, `"error":"invalid_request"`) || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s, want what others get: %s", what, a.status, a.body, first)
		}
	}
	soon(t, "the record says why", func() bool {
		var all strings.Builder
		for _, e := range p.events("&type=auth.failed") {
			all.Write(e.Details)
		}
		for _, why := range []string{"the audience is not this server alone", "expired", "not valid yet", "no rule matches", "a rule could not be evaluated", "older than max_age"} {
			if !strings.Contains(all.String(), `"why":"`+why+`"`) {
				return false
			}
		}
		return true
	})
	if !strings.Contains(p.log.String(), "the signature does not hold") {
		t.Error("the log does not say why a token was refused")
	}
	p.login(p.github.Token(c)) // and a good one is good all the same
}

// Invariant: A23, A34
// Attack: TOK-15, TOK-16
func TestAJobsTokenIsGoodOnceOverARestart(t *testing.T) {
	p := withPlatforms(t)
	token := p.github.Token(p.github.GitHub(p.audience()))
	second := p.gitlab.Token(p.gitlab.GitLab(p.audience()).With(issuertest.Claims{"jti": nil}))
	pass := p.login(token)
	var group sync.WaitGroup
	codes := make([]int, 6)
	for i := range codes {
		group.Go(func() { codes[i] = p.swap(second).status })
	}
	group.Wait()
	if ok := strings.Count(fmt.Sprint(codes), strconv.Itoa(http.StatusOK)); ok != 1 {
		t.Errorf("%d of %v", ok, codes)
	}
	p.kill()
	p.start()
	p.swap(token).is(400)
	p.swap(second).is(400)
	if me := decode[struct{ ID string }](p.call(pass, "GET", "/v1/me", nil).is(200)); me.ID != "service:ci-deploy" {
		t.Errorf("after a restart it is %s", me.ID)
	}
	r := p.granted(pass, "open-api", "all", time.Minute)
	if r.Workload == nil || r.Workload.Claims["run_id"] != "7700123" {
		t.Errorf("after a restart the run is %+v", r.Workload)
	}
	p.kill()
	p.verify()
}

// Keys that are rotated are found, and a principal that is disabled is refused.
//
// Attack: OID-10, TOK-13
func TestKeysAndPrincipalsChange(t *testing.T) {
	p := withPlatforms(t)
	pass := p.login(p.github.Token(p.github.GitHub(p.audience())))
	next := issuertest.NewKey(t, "ec-2", "ES256")
	p.github.Keys(next)
	soon(t, "the new key is taken", func() bool { return p.swap(next.Sign(nil, p.github.GitHub(p.audience()))).status == 200 })
	if a := p.swap(p.github.Token(p.github.GitHub(p.audience()))); a.status != 400 {
		t.Errorf("a key that was withdrawn: %d", a.status)
	}
	p.write("catalog.yaml", strings.Replace(p.read("catalog.yaml"), `"service:ci-deploy", owner`, `"service:ci-deploy", disabled: true, owner`, 1))
	p.signal(syscall.SIGHUP)
	soon(t, "the token of a disabled service ends", func() bool { return p.call(pass, "GET", "/v1/me", nil).status == 401 })
	p.swap(next.Sign(nil, p.github.GitHub(p.audience()))).is(400)
}

func TestConfigCheckOfWorkloads(t *testing.T) {
	p := withPlatforms(t)
	code, out := p.daypass("config", "check", "daypass.yaml")
	if code != 0 || strings.Contains(out, "identity.workloads") {
		t.Errorf("%d %s", code, out)
	}
	good := p.read("daypass.yaml")
	for _, c := range []struct{ old, new, want string }{
		{`claims.repository_id == "74" && claims.ref == "refs/heads/main"`, `claims.repository == "acme/orders"`, `warning: identity.workloads: the rule "only main deploys" of ` + p.github.URL + ` rests on repository`},
		{`principal: service:ci-deploy`, `principal: service:gone`, "which " + p.path("catalog.yaml") + " does not list"},
	} {
		p.write("daypass.yaml", strings.Replace(good, c.old, c.new, 1))
		if code, out := p.daypass("config", "check", "daypass.yaml"); code != 0 || !strings.Contains(out, c.want) {
			t.Errorf("%d %s, want %s", code, out, c.want)
		}
	}
	for _, c := range []struct{ old, new, want string }{
		{`claims.ref == "refs/heads/main"'`, `claim.ref == "x"'`, "daypass.yaml:11:76: condition: undeclared reference to 'claim'"},
		{`claims.repository_id == "74" && claims.ref == "refs/heads/main"'`, `claims.ref'`, "daypass.yaml:11:44: condition: is dyn, and must be true or false"},
		{"cluster.json", "gone.json", "daypass.yaml:19:20: reading the keys: "},
		{"principal: service:ci-deploy", "principal: user:ana", "must be a service or an agent"},
		{"max_age: 10m", "max_age: 48h", "daypass.yaml:20:16: must be between 1m and 24h"},
		{"token_ttl: 5m", "token_ttl: 2h", "daypass.yaml:21:18: must be between 1m and 1h"},
		{"max_age: 10m", "audience: https://sts.example", "daypass.yaml:20:17: must be public_url or an address below it"},
		{"max_age: 10m", "algorithms: [HS256]", `daypass.yaml:20:20: "HS256" is not one of RS256`},
		{"max_age: 10m", "algorithms: [none]", `"none" is not one of`},
		{"{url: " + p.github.URL, "{url: http://ci.example", "must begin with https://"},
		{"{url: " + p.github.URL, "{url: https://169.254.169.254", "address refused"},
		{"issuer: " + p.gitlab.URL, "issuer: " + p.github.URL, "is there twice"},
		{"name: pulls read", "name: only main deploys", "is there twice"},
		{"max_age: 10m", "maxage: 10m", `unknown key "maxage"`},
	} {
		if !strings.Contains(good, c.old) {
			t.Fatalf("%s is not in the file", c.old)
		}
		p.write("daypass.yaml", strings.Replace(good, c.old, c.new, 1))
		if code, out := p.daypass("config", "check", "daypass.yaml"); code != 1 || !strings.Contains(out, c.want) {
			t.Errorf("%s: %d %s, want %s", c.new, code, out, c.want)
		}
	}
}

// The servers' files of the examples are good, and let in no more than they
// seem to; the files of the platforms are YAML that names the same server.
func TestExamplesOfJobs(t *testing.T) {
	s := files(t)
	for example, job := range map[string]string{"github-actions": ".github/workflows/export.yml", "gitlab-ci": ".gitlab-ci.yml"} {
		folder := filepath.Join("..", "..", "examples", example)
		raw, err := os.ReadFile(filepath.Join(folder, "daypass.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		s.write("example.yaml", string(raw))
		if code, out := s.daypass("config", "check", "example.yaml"); code != 0 || strings.Contains(out, "warning:") {
			t.Errorf("%s: %d %s", example, code, out)
		}
		text, err := os.ReadFile(filepath.Join(folder, job))
		if err != nil {
			t.Fatal(err)
		}
		var written map[string]any
		if err := yaml.Unmarshal(text, &written); err != nil || len(written) == 0 {
			t.Errorf("%s: %v", job, err)
		}
		for _, want := range []string{"https://daypass.example.com", "DAYPASS_WORKLOAD", "daypass request ", "daypass exec ", "daypass revoke ", "daypass logout"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s does not say %s", job, want)
			}
		}
	}
}

// A server that is killed while jobs exchange their tokens forgets none that it
// answered: what it gave is good after the start, and the job's token is not.
//
// Invariant: A23, A34
// Attack: TOK-16
func TestExchangesSurviveKills(t *testing.T) {
	p := withPlatforms(t)
	given := map[string]string{} // job's token → ours
	var mu sync.Mutex
	for range 3 {
		var group sync.WaitGroup
		stop := make(chan struct{})
		for range 6 {
			group.Go(func() {
				for {
					token := p.gitlab.Token(p.gitlab.GitLab(p.audience()))
					body := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {token}, "subject_token_type": {"urn:ietf:params:oauth:token-type:jwt"}}
					a, err := p.try("", "POST", "/oauth/token", body.Encode(), "Content-Type", "application/x-www-form-urlencoded")
					if err == nil && a.status == 200 {
						mu.Lock()
						given[token] = decode[exchanged](a).AccessToken
						mu.Unlock()
					}
					select {
					case <-stop:
						return
					default:
					}
				}
			})
		}
		time.Sleep(time.Duration(100+rand.IntN(200)) * time.Millisecond)
		p.kill()
		close(stop)
		group.Wait()
		p.start()
	}
	if len(given) < 10 {
		t.Fatalf("only %d tokens were exchanged", len(given))
	}
	looked := 0
	for job, ours := range given {
		p.call(ours, "GET", "/v1/me", nil).is(200)
		if looked++; looked <= 200 { // an address is held up after 300 in a minute
			p.swap(job).is(400)
		}
	}
	p.kill()
	p.verify()
}
