package daemon_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/daypass/daypass/api"
)

// runner is what GitHub puts beside a job: where it asks for its token.
type runner struct {
	*httptest.Server
	asked    atomic.Int64
	audience atomic.Value
	answer   atomic.Pointer[http.HandlerFunc]
}

func (p *platforms) runner(secret string) *runner {
	r := &runner{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.asked.Add(1)
		if h := r.answer.Load(); h != nil {
			(*h)(w, q)
			return
		}
		if q.Header.Get("Authorization") != "Bearer "+secret || q.URL.Query().Get("api-version") != "2.0" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		audience := q.URL.Query().Get("audience")
		r.audience.Store(audience)
		_ = json.NewEncoder(w).Encode(m{"count": 1, "value": p.github.Token(p.github.GitHub(audience))})
	}))
	p.t.Cleanup(r.Close)
	return r
}

// job sets the environment of the commands that follow.
func (p *platforms) job(pairs ...string) {
	p.env = append([]string{"DAYPASS_URL=" + p.audience(), "DAYPASS_TOKEN=", "NO_COLOR=1"}, pairs...)
}

func (p *platforms) runs(code int, want string, args ...string) string {
	p.t.Helper()
	got, out := p.daypass(args...)
	if got != code || !strings.Contains(out, want) {
		p.t.Errorf("daypass %s ended with %d, want %d and %q: %s", strings.Join(args, " "), got, code, want, out)
	}
	if strings.Contains(out, "dpat_") || strings.Contains(out, "eyJ") {
		p.t.Errorf("daypass %s prints a token: %s", strings.Join(args, " "), out)
	}
	return out
}

// stored are the files of jobs, which only we can read.
func (p *platforms) stored() []string {
	p.t.Helper()
	files, err := filepath.Glob(p.path("daypass/job-*.json"))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil || info.Mode().Perm() != 0o600 {
			p.t.Errorf("%s: %v %v", f, info.Mode(), err)
		}
		if raw, _ := os.ReadFile(f); strings.Contains(string(raw), "eyJ") {
			p.t.Errorf("the platform's token is stored in %s", f)
		}
	}
	return files
}

// A job of GitHub asks, uses and returns without a login.
//
// Invariant: A21
// Attack: CLI-02, CLI-06
func TestAJobOfGitHubOnTheCommandLine(t *testing.T) {
	p := withPlatforms(t)
	r := p.runner("job-1")
	github := []string{"DAYPASS_WORKLOAD=github", "ACTIONS_ID_TOKEN_REQUEST_URL=" + r.URL + "/token?api-version=2.0", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=job-1"}
	p.job(github...)
	p.runs(0, "service:ci-deploy", "whoami")
	if got := r.audience.Load(); got != p.audience() {
		t.Errorf("the token was for %v", got)
	}
	var asked api.Request
	if err := json.Unmarshal([]byte(p.runs(0, "", "request", "open-api", "--role", "all", "--for", "10m", "--reason", "deploy", "--wait", "-o", "json")), &asked); err != nil || asked.Grant == nil {
		t.Fatalf("the workflow of the example finds no grant: %v", err)
	}
	out := p.runs(0, "DAYPASS_CREDENTIAL=dpgt_", "exec", "open-api", "--", "env")
	if strings.Contains(out, "DAYPASS_ID_TOKEN") || strings.Contains(out, "DAYPASS_TOKEN=d") {
		t.Errorf("a child gets what asks for access: %s", out)
	}
	if n := r.asked.Load(); n != 1 || len(p.stored()) != 1 {
		t.Errorf("GitHub was asked %d times for three commands; %d files", n, len(p.stored()))
	}
	// Another job on the same machine is another, whatever was stored.
	p.job(github[0], github[1], "ACTIONS_ID_TOKEN_REQUEST_TOKEN=job-2")
	p.runs(1, "GitHub gave the job no token", "whoami")
	p.job(github...)
	// A token that was revoked meanwhile is replaced.
	for _, tok := range decode[struct{ Items []api.Token }](p.call("user:ada", "GET", "/v1/tokens", nil).is(200)).Items {
		p.call("user:ada", "DELETE", "/v1/tokens/"+tok.ID, nil).is(204)
	}
	p.runs(0, "service:ci-deploy", "whoami")
	if n := r.asked.Load(); n != 3 {
		t.Errorf("GitHub was asked %d times", n)
	}
	p.runs(0, "", "revoke", asked.Grant.ID, "--reason", "done")
	before := tokenIn(t, p.stored()[0])
	p.runs(0, "", "logout")
	if len(p.stored()) != 0 {
		t.Error("the token is stored after the logout")
	}
	p.call(before, "GET", "/v1/me", nil).is(401)
	p.job(github[1:]...)
	p.runs(0, "Logged in to", "login", "--workload", "github")
	p.runs(0, "service:ci-deploy", "whoami")
	p.runs(0, "", "logout")
	p.runs(3, "you are not logged in", "whoami")
}

func tokenIn(t *testing.T, file string) string {
	t.Helper()
	var l struct{ Token string }
	raw, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(raw, &l)
	}
	if err != nil || l.Token == "" {
		t.Fatal(err)
	}
	return l.Token
}

// The runner's answers are not trusted further than they must be.
//
// Attack: CLI-03, CLI-06
func TestWhatAJobDoesNotDo(t *testing.T) {
	p := withPlatforms(t)
	r := p.runner("s")
	elsewhere := p.runner("s")
	at := "ACTIONS_ID_TOKEN_REQUEST_URL=" + r.URL + "/token?api-version=2.0"
	p.job("DAYPASS_WORKLOAD=github")
	p.runs(3, "permissions: {id-token: write}", "whoami")
	p.job("DAYPASS_WORKLOAD=github", "ACTIONS_ID_TOKEN_REQUEST_URL=http://ci.example/token", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=s")
	p.runs(1, "is no https URL", "whoami")
	p.job("DAYPASS_WORKLOAD=github", at, "ACTIONS_ID_TOKEN_REQUEST_TOKEN=s")
	redirect := http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		http.Redirect(w, q, elsewhere.URL+"/token?"+q.URL.RawQuery, http.StatusTemporaryRedirect)
	})
	r.answer.Store(&redirect)
	p.runs(1, "GitHub gave the job no token: it answered 307", "whoami")
	if elsewhere.asked.Load() != 0 {
		t.Error("the job's secret went where a redirect pointed")
	}
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>\x1b[31m")) })
	r.answer.Store(&page)
	p.runs(1, "GitHub gave the job no token", "whoami")
	r.answer.Store(nil)
	p.job("DAYPASS_WORKLOAD=github", at, "ACTIONS_ID_TOKEN_REQUEST_TOKEN=s", "DAYPASS_AUDIENCE=https://sts.example")
	p.runs(3, "did not accept the job's token", "whoami")
	for _, spec := range []string{"gitlabs", "file:", "file:token", "env:", "env:A B", "github:x"} {
		p.job("DAYPASS_WORKLOAD=" + spec)
		p.runs(2, "a workload is github, gitlab, kubernetes", "whoami")
	}
	p.job("DAYPASS_WORKLOAD=github", "DAYPASS_URL=")
	p.runs(2, "DAYPASS_WORKLOAD is set, but not DAYPASS_URL", "whoami")
	p.job("DAYPASS_WORKLOAD=gitlab")
	p.runs(3, "DAYPASS_ID_TOKEN is not set", "whoami")
	p.job("DAYPASS_WORKLOAD=file:" + p.path("none"))
	p.runs(3, "the job has no token", "whoami")
	p.job("DAYPASS_WORKLOAD=gitlab", "DAYPASS_ID_TOKEN=garbage")
	p.runs(3, "did not accept the job's token", "whoami")
}

// A token of GitLab is good once: what it gave is kept for the next command of
// the job, and of that job alone.
//
// Attack: CLI-02, TOK-16
func TestJobsOfGitLabAndKubernetesOnTheCommandLine(t *testing.T) {
	p := withPlatforms(t)
	one := p.gitlab.Token(p.gitlab.GitLab(p.audience()))
	p.job("DAYPASS_WORKLOAD=gitlab", "DAYPASS_ID_TOKEN="+one)
	p.runs(0, "service:ci-deploy", "whoami")
	p.runs(0, "service:ci-deploy", "whoami")
	p.write("token", p.cluster.Token(p.cluster.Kubernetes(p.audience()))+"\n")
	p.job("DAYPASS_WORKLOAD=file:" + p.path("token"))
	p.runs(0, "service:orders", "whoami")
	p.runs(0, "service:orders", "whoami")
	named := "DAYPASS_WORKLOAD=env:CI_JOB_TOKEN_FOR_US"
	p.job(named, "CI_JOB_TOKEN_FOR_US="+p.gitlab.Token(p.gitlab.GitLab(p.audience())))
	p.runs(0, "service:ci-deploy", "whoami")
	p.runs(0, "approved", "request", "open-api", "--role", "all", "--for", "10m", "--reason", "deploy")
	p.runs(0, "DAYPASS_CREDENTIAL=", "exec", "open-api", "--", "env") // which prints no token of the platform
	if n := len(p.stored()); n != 3 {
		t.Errorf("%d files for three jobs", n)
	}
	p.job("DAYPASS_WORKLOAD=gitlab", "DAYPASS_ID_TOKEN="+one)
	for _, f := range p.stored() {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	p.runs(3, "did not accept the job's token", "whoami")
	// Without a place to store it, it is held in memory.
	if err := os.Chmod(p.path("daypass"), 0o777); err != nil { // others may write there: not used
		t.Fatal(err)
	}
	p.job("DAYPASS_WORKLOAD=gitlab", "DAYPASS_ID_TOKEN="+p.gitlab.Token(p.gitlab.GitLab(p.audience())))
	p.runs(0, "is not kept for the next command", "whoami")
	if len(p.stored()) != 0 {
		t.Error("a token is stored in a folder that others can write to")
	}
}

// What a job runs goes on when the token ends with which it asked: the grant
// ends it.
//
// Invariant: A4
func TestAJobsCommandOutlivesItsToken(t *testing.T) {
	p := withPlatforms(t)
	p.job("DAYPASS_WORKLOAD=gitlab", "DAYPASS_ID_TOKEN="+p.gitlab.Token(p.gitlab.GitLab(p.audience())))
	var asked api.Request
	if err := json.Unmarshal([]byte(p.runs(0, "", "request", "open-api", "--role", "all", "--for", "20s", "--reason", "deploy", "-o", "json")), &asked); err != nil {
		t.Fatal(err)
	}
	ended := make(chan string, 1)
	go func() {
		code, out := p.daypass("exec", "open-api", "--", "sh", "-c", "touch began; sleep 3; echo done")
		if code != 0 {
			out += " FAILED"
		}
		ended <- out
	}()
	soon(t, "the command runs", func() bool { _, err := os.Stat(p.path("began")); return err == nil })
	p.call("", "POST", "/oauth/revoke", url.Values{"token": {tokenIn(t, p.stored()[0])}}.Encode(), "Content-Type", "application/x-www-form-urlencoded").is(200)
	// It learns of it when it asks the next time: something about the grant moves.
	p.call("service:ci-deploy", "POST", "/v1/grants/"+asked.Grant.ID+"/extend", m{"duration": "10s", "reason": "more"}).is(201)
	if out := <-ended; !strings.Contains(out, "done") || !strings.Contains(out, "the job's token has ended") || strings.Contains(out, "FAILED") {
		t.Errorf("it was stopped, or was not told: %s", out)
	}
}
