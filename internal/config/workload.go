package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Workload is one issuer whose tokens name a program: GitHub Actions, GitLab, a
// Kubernetes cluster, or any other that signs JWTs. A job exchanges such a
// token for a short one of ours (RFC 8693).
type Workload struct {
	Issuer     string         `yaml:"issuer,required"` // iss, character by character
	Audience   string         `yaml:"audience"`        // aud; public_url, or an address below it
	JWKS       JWKS           `yaml:"jwks,required"`
	Algorithms []string       `yaml:"algorithms"` // asymmetric ones; RS256 and ES256
	MaxAge     time.Duration  `yaml:"max_age"`    // of a token since its iat; 1h
	TokenTTL   time.Duration  `yaml:"token_ttl"`  // of what it is exchanged for, at most; 15m
	Record     []string       `yaml:"record"`     // claims that are kept; those that name the run
	Rules      []WorkloadRule `yaml:"rules,required"`
}

// JWKS is where an issuer's keys come from: one of the two.
type JWKS struct {
	URL   string        `yaml:"url"`   // https, or http to a loopback address
	File  string        `yaml:"file"`  // keys that are pinned; nothing is fetched
	Every time.Duration `yaml:"every"` // how often it is fetched at most; 30s
}

// WorkloadRule maps the claims of a token to a principal. The first whose
// condition holds decides.
type WorkloadRule struct {
	Name      string `yaml:"name,required"`
	When      string `yaml:"when,required"` // CEL over claims
	Principal string `yaml:"principal,required"`
}

// DecodeYAML implements NodeDecoder: the defaults, then what is given.
func (w *Workload) DecodeYAML(node ast.Node) error {
	type plainWorkload Workload
	*w = Workload{Algorithms: []string{"RS256", "ES256"}, MaxAge: time.Hour, TokenTTL: 15 * time.Minute, JWKS: JWKS{Every: 30 * time.Second}}
	return DecodeNode(node, (*plainWorkload)(w))
}

// signatures are the algorithms that can be checked with a public key alone.
var signatures = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

var workloadPrincipal = regexp.MustCompile(`^(service|agent):[a-z0-9][a-z0-9._@-]{0,127}$`)

const maxWorkloads, maxWorkloadRules, maxRecorded = 64, 256, 32

// checkWorkloads refuses what cannot work or is not safe, and completes the
// audiences where public_url is known.
func (s *Server) checkWorkloads(fault func([]string, string, ...any)) {
	seen := map[string]bool{}
	all := s.Identity.Workloads
	if len(all) > maxWorkloads {
		fault([]string{"identity", "workloads"}, "has more than %d issuers", maxWorkloads)
		return
	}
	for i := range all {
		w := &all[i]
		at := func(more ...string) []string {
			return append([]string{"identity", "workloads", strconv.Itoa(i)}, more...)
		}
		if err := CheckEncrypted(w.Issuer); err != nil {
			fault(at("issuer"), "%s", err)
		} else if seen[w.Issuer] {
			fault(at("issuer"), "%s is there twice", w.Issuer)
		}
		seen[w.Issuer] = true
		if w.Audience == "" {
			w.Audience = s.PublicURL // completed by whoever listens where it is not known yet
		} else if !s.ours(w.Audience) {
			fault(at("audience"), "must be public_url or an address below it, so that a token for another service is none for this one")
		}
		if err := w.JWKS.check(); err != nil {
			fault(at("jwks"), "%s", err)
		}
		if len(w.Algorithms) == 0 {
			fault(at("algorithms"), "must name an algorithm, such as RS256")
		}
		for n, alg := range w.Algorithms {
			if !slices.Contains(signatures, alg) {
				fault(at("algorithms", strconv.Itoa(n)), "%q is not one of %s", clip(alg), strings.Join(signatures, ", "))
			}
		}
		if w.MaxAge < time.Minute || w.MaxAge > 24*time.Hour {
			fault(at("max_age"), "must be between 1m and 24h")
		}
		if w.TokenTTL < time.Minute || w.TokenTTL > time.Hour {
			fault(at("token_ttl"), "must be between 1m and 1h")
		}
		if len(w.Record) > maxRecorded {
			fault(at("record"), "has more than %d claims", maxRecorded)
		}
		for n, claim := range w.Record {
			if claim == "" || len(claim) > 128 {
				fault(at("record", strconv.Itoa(n)), "must be the name of a claim, such as repository_id or kubernetes.io/namespace")
			}
		}
		w.checkRules(at, fault)
	}
}

func (w *Workload) checkRules(at func(...string) []string, fault func([]string, string, ...any)) {
	if n := len(w.Rules); n == 0 || n > maxWorkloadRules {
		fault(at("rules"), "must have between 1 and %d rules: without one no token is accepted", maxWorkloadRules)
	}
	names := map[string]bool{}
	for n, r := range w.Rules {
		rule := func(key string) []string { return at("rules", strconv.Itoa(n), key) }
		switch {
		case strings.TrimSpace(r.Name) == "" || len(r.Name) > 128:
			fault(rule("name"), "must be a name of at most 128 bytes: the record names rules by it")
		case names[r.Name]:
			fault(rule("name"), "%q is there twice", clip(r.Name))
		}
		names[r.Name] = true
		if strings.TrimSpace(r.When) == "" {
			fault(rule("when"), "must be a condition over claims, such as claims.repository_id == \"123\"")
		}
		if !workloadPrincipal.MatchString(r.Principal) {
			fault(rule("principal"), "must be a service or an agent, such as service:ci-deploy: a job is no person")
		}
	}
}

func (j *JWKS) check() error {
	switch {
	case (j.URL == "") == (j.File == ""):
		return errors.New("must be {url: URL} or {file: FILE}, one of the two")
	case j.Every < 5*time.Second || j.Every > time.Hour:
		return errors.New("every must be between 5s and 1h")
	case j.URL != "":
		return CheckEncrypted(j.URL)
	}
	return nil
}

// ours reports whether audience is this server's address or one below it.
func (s *Server) ours(audience string) bool {
	return audience == s.PublicURL || s.PublicURL != "" && strings.HasPrefix(audience, s.PublicURL+"/")
}

// CheckEncrypted refuses what is no https URL, and no http URL of a literal
// loopback address.
func CheckEncrypted(raw string) error {
	if err := checkURL(raw); err != nil {
		return err
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme == "http" && net.ParseIP(u.Hostname()) == nil || u.Scheme == "http" && !loopback(net.JoinHostPort(u.Hostname(), "80")) {
		return fmt.Errorf("must begin with https:// (http:// is for a literal loopback address alone)")
	}
	return nil
}

// Check is a further look at a server's file, of a part that this package
// leaves to others. root is the file's tree, for the places of faults.
type Check func(s *Server, root ast.Node) Errors
