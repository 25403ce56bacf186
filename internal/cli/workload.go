package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/daypass/daypass/client"
)

// Where jobs find the token that their platform signed.
const (
	gitlabVariable = "DAYPASS_ID_TOKEN"               // as id_tokens of .gitlab-ci.yml names it
	kubernetesFile = "/var/run/secrets/daypass/token" // where the Pod projects it
	githubURL      = "ACTIONS_ID_TOKEN_REQUEST_URL"   // set by GitHub where
	githubToken    = "ACTIONS_ID_TOKEN_REQUEST_TOKEN" // permissions: {id-token: write}
	workloadForms  = "github, gitlab, kubernetes, file:PATH or env:NAME"
	workloadTime   = 30 * time.Second // of getting and exchanging a token
	maxJobToken    = 64 << 10
)

// source is where a job's token comes from.
type source struct {
	spec string // as it was written
	file string
	env  string // of the three, one is set, or none for GitHub
}

func workloadSource(spec string) (source, error) {
	s := source{spec: spec}
	kind, rest, given := strings.Cut(spec, ":")
	switch {
	case spec == "github":
	case spec == "gitlab":
		s.env = gitlabVariable
	case spec == "kubernetes":
		s.file = kubernetesFile
	case kind == "file" && given && filepath.IsAbs(rest):
		s.file = rest
	case kind == "env" && given && rest != "" && !strings.ContainsAny(rest, "= \x00"):
		s.env = rest
	default:
		return s, &Error{Code: ExitUsage, Err: fmt.Errorf("a workload is %s (an absolute path), not %q", workloadForms, spec)}
	}
	return s, nil
}

// audience is whom a job's token must be for. It is the address that the caller
// named, and never one that a server tells: a token for another service would
// be that server's to use.
func (a *app) audience(url string) string {
	if own := a.Getenv("DAYPASS_AUDIENCE"); own != "" {
		return own
	}
	return url
}

// identity names the job: another job on the same machine has another, so that
// none takes what was stored for its neighbour. It is made of a secret of the
// platform that the job alone has, and is none itself.
func (a *app) identity(s source, url string) (string, error) {
	secret := a.Getenv(githubToken)
	if s.spec != "github" {
		var err error
		if secret, err = a.heldToken(s); err != nil {
			return "", err
		}
	}
	sum := sha256.Sum256([]byte(s.spec + "\x00" + url + "\x00" + a.audience(url) + "\x00" + secret))
	return hex.EncodeToString(sum[:16]), nil
}

// heldToken reads a token that is there already: in a file, or a variable.
func (a *app) heldToken(s source) (string, error) {
	if s.env != "" {
		token := strings.TrimSpace(a.Getenv(s.env))
		if token == "" {
			return "", &Error{Code: ExitDenied, Err: fmt.Errorf("the job has no token: %s is not set", s.env), Next: "in .gitlab-ci.yml: id_tokens: {" + s.env + ": {aud: https://daypass.example.com}}"}
		}
		return token, nil
	}
	f, err := os.Open(s.file)
	if err != nil {
		return "", &Error{Code: ExitDenied, Err: fmt.Errorf("the job has no token: %w", err), Next: "project a serviceAccountToken with the server's address as audience into the Pod"}
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxJobToken))
	if err != nil {
		return "", fmt.Errorf("reading the job's token: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}

// jobFile is where the token of a job is kept between two commands of it.
func jobFile(identity string) string { return "job-" + identity + ".json" }

// jobSettings is what a job works with: the token that an earlier command of
// the same job was given, or a new one.
func (a *app) jobSettings(url, spec string) (login, error) {
	s, err := workloadSource(spec)
	if err != nil {
		return login{}, err
	}
	if url == "" {
		return login{}, &Error{Code: ExitUsage, Err: errors.New("which server? DAYPASS_WORKLOAD is set, but not DAYPASS_URL"), Next: "export DAYPASS_URL=https://daypass.example.com"}
	}
	url = strings.TrimRight(url, "/")
	id, err := a.identity(s, url)
	if err != nil {
		return login{}, err
	}
	const margin = 30 * time.Second
	kept, err := a.loadFrom(jobFile(id))
	if err == nil && kept.URL == url && a.Now().Before(kept.ExpiresAt.Add(-margin)) {
		return kept, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), workloadTime)
	defer cancel()
	got, exchangeErr := a.jobLogin(ctx, s, url)
	switch {
	case exchangeErr == nil:
		a.keepJob(id, got)
		return got, nil
	case err == nil && kept.URL == url && a.Now().Before(kept.ExpiresAt):
		return kept, nil // the platform's token is spent; what it gave lasts a little longer
	}
	return login{}, exchangeErr
}

// jobLogin gets the platform's token and exchanges it.
func (a *app) jobLogin(ctx context.Context, s source, url string) (login, error) {
	var subject string
	var err error
	if s.spec == "github" {
		subject, err = a.githubIDToken(ctx, a.audience(url))
	} else {
		subject, err = a.heldToken(s)
	}
	if err != nil {
		return login{}, err
	}
	if strings.ContainsFunc(subject, func(r rune) bool { return r <= ' ' || r > '~' }) || subject == "" {
		return login{}, &Error{Code: ExitDenied, Err: errors.New("what the platform gave is no token")}
	}
	c, err := a.connectTo(url, "")
	if err != nil {
		return login{}, err
	}
	token, err := c.Exchange(ctx, subject)
	switch status := client.Status(err); {
	case status == 404:
		return login{}, &Error{Code: ExitDenied, Err: fmt.Errorf("%s takes no tokens of jobs", url), Next: "an operator lists the platform under identity.workloads"}
	case status == 400:
		return login{}, &Error{
			Code: ExitDenied, Err: fmt.Errorf("%s did not accept the job's token", url),
			Next: "its audience must be " + a.audience(url) + ", a rule must match it, and it is good once; the server's log says why: daypass audit list --type auth.failed",
		}
	case err != nil:
		return login{}, err
	}
	return login{URL: url, Token: token.Secret, Workload: s.spec, ExpiresAt: token.ExpiresAt.UTC()}, nil
}

// keepJob stores a job's token for its next command, and removes those of jobs
// that are over. Without a place to store it, the next command gets its own.
func (a *app) keepJob(id string, l login) {
	a.sweepJobs()
	if _, err := a.saveTo(jobFile(id), l); err != nil {
		a.err.printf("%s the job's token is not kept for the next command: %s\n", paint(yellow, "note:"), err)
	}
}

func (a *app) sweepJobs() {
	dir, err := a.loginDir()
	if err != nil {
		return
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "job-") {
			continue
		}
		if l, err := a.loadFrom(e.Name()); err == nil && !l.ExpiresAt.IsZero() && a.Now().After(l.ExpiresAt) {
			_, _ = a.removeFrom(e.Name()) // it is worth nothing any more
		}
	}
}

// renewal gets another token for the one of l.
func (a *app) renewal(l login) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		s, err := workloadSource(l.Workload)
		if err != nil {
			return "", err
		}
		ctx, cancel := context.WithTimeout(ctx, workloadTime)
		defer cancel()
		got, err := a.jobLogin(ctx, s, l.URL)
		if err != nil {
			return "", err
		}
		if id, err := a.identity(s, l.URL); err == nil && a.Getenv("DAYPASS_WORKLOAD") != "" {
			a.keepJob(id, got)
		}
		return got.Token, nil
	}
}

// endJob ends the token of a job at its server, as far as that can be reached:
// it ends by itself soon.
func (a *app) endJob(ctx context.Context, l login) {
	if l.Workload == "" || l.Token == "" {
		return
	}
	c, err := a.connectTo(l.URL, l.Token)
	if err == nil {
		err = c.EndToken(ctx)
	}
	if err != nil {
		a.err.printf("%s the token could not be ended at %s, and ends by itself at %s: %s\n", paint(yellow, "note:"), l.URL, l.ExpiresAt.Format(time.RFC3339), err)
	}
}

// forgetJob ends and removes what DAYPASS_WORKLOAD stored for this job.
func (a *app) forgetJob(ctx context.Context) (was bool, err error) {
	spec, url := a.Getenv("DAYPASS_WORKLOAD"), strings.TrimRight(a.Getenv("DAYPASS_URL"), "/")
	if spec == "" || url == "" {
		return false, nil
	}
	s, err := workloadSource(spec)
	if err != nil {
		return false, err
	}
	id, err := a.identity(s, url)
	if err != nil {
		return false, err
	}
	l, err := a.loadFrom(jobFile(id))
	if err != nil {
		return false, err
	}
	a.endJob(ctx, l)
	return a.removeFrom(jobFile(id))
}
