package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// contractExample is that of CONTRACT §3 as far as this build goes.
const contractExample = `listen: 127.0.0.1:7400            # API and console; not loopback ⇒ TLS required
public_url: http://127.0.0.1:7400
data: ./data                      # keys, SQLite; created with mode 0700
store: sqlite                     # or postgres://… for several nodes
catalog: ./catalog.yaml           # applied at start when its content changed; SIGHUP re-reads
gateways:
  http:     {listen: 127.0.0.1:7480, domain: localhost}   # a resource is reached as Host: <resource>.<domain>
identity:                         # who may log in; see the identity issue
  tokens: true
limits: {request_ttl: 24h, max_skew: 5s, revocation_bound: 5s, pending: {per_resource: 20, per_requester: 100}}
`

func writeFile(t *testing.T, dir, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

var logins = Logins{Idle: time.Hour, Absolute: 12 * time.Hour, Remember: 168 * time.Hour, TokenTTL: 720 * time.Hour}

func TestLoadContractExample(t *testing.T) {
	dir := t.TempDir()
	got, err := Load(writeFile(t, dir, "daypass.yaml", contractExample, 0o644))
	if err != nil {
		t.Fatal(err)
	}
	want := &Server{
		Listen: "127.0.0.1:7400", PublicURL: "http://127.0.0.1:7400", Data: filepath.Join(dir, "data"), Store: "sqlite",
		Catalog: filepath.Join(dir, "catalog.yaml"), Gateways: Gateways{HTTP: &HTTPGateway{Listen: "127.0.0.1:7480", Domain: "localhost"}},
		Identity: Identity{Tokens: true, Logins: logins}, Audit: Audit{Access: "batched"},
		Limits: Limits{RequestTTL: 24 * time.Hour, MaxSkew: 5 * time.Second, RevocationBound: 5 * time.Second, Pending: Pending{PerResource: 20, PerRequester: 100}},
	}
	if !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	if len(got.Warnings()) != 0 || got.Audit.Strict() || got.TLS.Enabled() {
		t.Errorf("warnings %q", got.Warnings())
	}
	empty, _, err := decodeServer("f", nil, dir)
	if err != nil {
		t.Fatal(err)
	}
	want.Catalog, want.Gateways.HTTP = "", nil
	if !cmp.Equal(empty, want) {
		t.Error(cmp.Diff(want, empty))
	}
	if _, err := Load(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// Invariant: A40
// Attack: CFG-06
func TestServerRefuses(t *testing.T) {
	const warm = "f:1:9: 0.0.0.0:7400 is not loopback, and TLS is not configured: give tls: {cert: FILE, key: FILE}, or write tls: off to serve in clear"
	for _, test := range []struct{ src, want string }{
		{"listen: 0.0.0.0:7400\npublic_url: http://h\n", warm},
		{"listen: :7400\npublic_url: http://h\n", strings.Replace(warm, "0.0.0.0:7400", ":7400", 1)},
		{"listen: \":7400\"\npublic_url: http://h\n", strings.Replace(warm, "0.0.0.0:7400", ":7400", 1)},
		{"listen: \"[::]:7400\"\npublic_url: http://h\n", strings.Replace(warm, "0.0.0.0:7400", "[::]:7400", 1)},
		{"listen: example.com:7400\n", strings.Replace(warm, "0.0.0.0:7400", "example.com:7400", 1)},
		{"listen: 127.0.0.1.example.com:7400\n", strings.Replace(warm, "0.0.0.0:7400", "127.0.0.1.example.com:7400", 1)},
		{"listen: 0.0.0.0:7400\ntls: off\n", "f:1:1: public_url is needed when listen is not one address: it is what callers use"},
		{"listen: 0.0.0.0:7400\npublic_url: http://h\ntls: false\n", "f:3:6: must be {cert: FILE, key: FILE} or the word off"},
		{"tls: {cert: a}\n", "f:1:6: key is missing"},
		{"tls: {cert: \"\", key: b}\n", "f:1:6: cert and key must be files"},
		{"gateways: {http: {listen: 10.0.0.1:7480}}\n", "f:1:27: 10.0.0.1:7480 is not loopback, and TLS is not configured: give tls: {cert: FILE, key: FILE}, or write tls: off to serve in clear"},
		{"gateways: {ssh: {listen: 127.0.0.1:7422}}\n", `f:1:12: unknown key "ssh": this build has no such gateway; it has http and postgres`},
		{"gateways: {postgres: {listen: \"0.0.0.0:7432\", tls: off}}\n", "f:1:52: 0.0.0.0:7432 is not loopback: leave tls out, and the gateway makes its own certificate, or give {cert: FILE, key: FILE}"},
		{"gateways: {http: {domain: Example.com}}\n", "f:1:27: must be a DNS name in lower case, such as access.example.com"},
		{"gateways: {http: {domain: \"*.x\"}}\n", "f:1:27: must be a DNS name in lower case, such as access.example.com"},
		{"listen: 127.0.0.1\n", "f:1:9: must be host:port, such as 127.0.0.1:7400"},
		{"listen: 127.0.0.1:99999\n", "f:1:9: must be host:port with a port between 1 and 65535"},
		{"public_url: daypass.example.com\n", "f:1:13: must be an absolute URL, such as https://daypass.example.com, without a user and a fragment"},
		{"public_url: ftp://h\n", "f:1:13: must be an absolute URL, such as https://daypass.example.com, without a user and a fragment"},
		{"public_url: https://u:hunter2@h\n", "f:1:13: must be an absolute URL, such as https://daypass.example.com, without a user and a fragment"},
		{"public_url: https://h/x\n", "f:1:13: must have no path and no query"},
		{"public_url: https://h?x=1\n", "f:1:13: must have no path and no query"},
		{"public_url: https://h:0\n", "f:1:13: must be an absolute URL with a port between 1 and 65535"},
		{"store: postgres://u:hunter2@h/db\n", "f:1:8: PostgreSQL is not in this build: write sqlite"},
		{"store: mysql\n", "f:1:8: unknown store: write sqlite"},
		{"data: \"\"\n", "f:1:7: must be a folder"},
		{"identity: {tokens: false}\n", "f:1:20: API tokens cannot be switched off in this build: services have no other way"},
		{"identity: {oidc: {}}\n", "f:1:18: must be a list ([a, b] or lines that begin with -), not a mapping"},
		{"identity: {oidc: [{name: Idp, issuer: \"http://id.example.com\", client_id: d}]}\n", "f:1:26: must be a-z, 0-9 and -, such as okta\nf:1:39: must begin with https:// (http:// is for a literal loopback address alone)"},
		{"public_url: http://daypass.example.com\nidentity: {oidc: [{name: idp, issuer: \"https://id.example.com\", client_id: d}]}\n", "f:2:18: people log in over TLS alone: public_url must begin with https:// (http:// is for this machine's own address)"},
		{"identity: {oidc: [{name: a, issuer: \"https://id.example.com\", client_id: d, groups: {x: dba}, scopes: [\"a b\"], provision: {claim: email}}]}\n", "f:1:89: \"dba\" is not a group: write group:…\nf:1:104: is not a scope\nf:1:123: is needed with email: the domain whose people are let in, such as \"@example.com\""},
		{"identity: {oidc: [{name: a, issuer: \"https://id.example.com\", client_id: d}, {name: a, issuer: \"https://id.example.com\", client_id: d}]}\n", "f:1:85: a is there twice\nf:1:96: https://id.example.com is there twice"},
		{"identity: {oidc: [{name: a, issuer: \"https://id.example.com\", client_id: d, client_secret: hunter2}]}\n", "f:1:92: a secret is not written into the file: give {env: NAME} or {file: PATH}"},
		{"identity: {logins: {idle: 25h, absolute: 100h, remember: 99h}}\n", "f:1:27: must be more than 0 and at most 24h\nf:1:58: must not be shorter than absolute: groups would end before the login that brought them"},
		{"identity: {workloads: [{issuer: https://ci.example}]}\n", "f:1:24: jwks is missing\nf:1:24: rules is missing"},
		{"identity: {workloads: [{issuer: http://ci.example, jwks: {url: https://h/k, file: k}, rules: []}]}\n", "f:1:33: must begin with https:// (http:// is for a literal loopback address alone)\nf:1:58: must be {url: URL} or {file: FILE}, one of the two\nf:1:94: must have between 1 and 256 rules: without one no token is accepted"},
		{"identity: {workloads: [{issuer: https://ci.example, jwks: {url: http://localhost/k, every: 1s}, algorithms: [], rules: [{name: r, when: a, principal: user:ana}]}]}\n", "f:1:59: every must be between 5s and 1h\nf:1:109: must name an algorithm, such as RS256\nf:1:151: must be a service or an agent, such as service:ci-deploy: a job is no person"},
		{"limits: {request_ttl: 8760h, max_skew: 2m, pending: {per_resource: 0}}\n", "f:1:23: must be more than 0 and at most 720h\nf:1:40: must be more than 0 and at most 1m\nf:1:68: must be between 1 and 1000000"},
		{"audit: {access: off}\n", "f:1:17: must be a text: put quotes around off, which is a boolean to many readers"},
		{"audit: {access: none}\n", "f:1:17: must be batched or strict"},
		{"notify: {webhook: {url: \"https://h/x\"}}\n", "f:1:19: secret is missing"},
		{"notify: {webhook: {url: h, secret: {env: W}}}\n", "f:1:25: must be an absolute URL, such as https://daypass.example.com, without a user and a fragment"},
		{"notify: {smtp: {addr: h, from: x, tls: maybe, username: u}}\n", "f:1:16: username and password are given together, or neither\nf:1:23: must be host:port, such as 127.0.0.1:7400\nf:1:32: must be a mail address, such as daypass@example.com\nf:1:40: must be starttls, implicit or off"},
		{"notify: {smtp: {addr: \"mail:25\", from: a@b.c, username: u, password: {env: P}, tls: \"off\"}}\n", "f:1:85: off is for a relay on a loopback address alone: use starttls or implicit"},
		{"authz: {}\n", "f:1:8: proxies is missing"},
		{"authz: {proxies: []}\n", "f:1:18: must name a proxy; without authz there is no /authz"},
		{"authz: {domain: x, proxies: [{name: edge}]}\n", "f:1:30: needs secrets or certificates: nobody else may ask"},
		{"authz: {domain: x, proxies: [{name: edge, secrets: [hunter2]}]}\n", "f:1:53: a secret is not written into the file: give {env: NAME} or {file: PATH}"},
		{"authz: {domain: x, proxies: [{name: E, secrets: [{env: A}]}, {name: e, secrets: [{env: A}]}, {name: e, secrets: [{env: A}]}]}\n", "f:1:37: must be a-z, 0-9 and -, such as edge\nf:1:101: e is there twice"},
		{"authz: {proxies: [{name: e, secrets: [{env: A}]}]}\n", "f:1:19: finds its resources by host: give authz a domain, or the proxy resource: header"},
		{"authz: {domain: X, proxies: [{name: e, secrets: [{env: A}], resource: path}]}\n", "f:1:17: must be a DNS name in lower case, such as apps.example.com\nf:1:71: must be host or header"},
		{"authz: {domain: x, proxies: [{name: e, certificates: [c.pem]}]}\n", "f:1:54: a client certificate needs tls on the API's listener"},
		{"authz: {domain: x, proxies: [{name: e, secret: {env: A}}]}\n", "f:1:40: unknown key \"secret\": did you mean \"secrets\"?"},
		{"listen_addr: x\n", `f:1:1: unknown key "listen_addr": known here are audit, authz, catalog, data, gateways, identity, limits, listen, notify, public_url, store, tls`},
	} {
		s, _, err := decodeServer("f", []byte(test.src), "/etc/daypass")
		if err == nil || s != nil || err.Error() != test.want {
			t.Errorf("%s: got\n%v\nwant\n%s", test.src, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a password is in the error: %v", err)
		}
	}
}

// Invariant: A40
func TestServerWarnings(t *testing.T) {
	s, _, err := decodeServer("f", []byte(`listen: 0.0.0.0:7400
tls: off
public_url: http://daypass.internal:7400/
gateways: {http: {listen: ":7480", tls: off}}
notify:
  webhook: {url: "http://hooks.internal/secret-path", secret: {env: W}}
  smtp: {addr: "127.0.0.1:25", from: daypass@example.com, tls: off}
`), "/etc/daypass")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"tls: off: the API on 0.0.0.0:7400 is served in clear; tokens and grants can be read on the way",
		"gateways.http.tls: off: the HTTP gateway on :7480 is served in clear; grant tokens can be read on the way",
		"notify.webhook.url: messages to hooks.internal are signed, but sent in clear",
	}
	if got := s.Warnings(); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	if s.PublicURL != "http://daypass.internal:7400" {
		t.Errorf("public_url %q", s.PublicURL)
	}
}

func TestPublicURLDefaults(t *testing.T) {
	for src, want := range map[string]string{
		"":                               "http://127.0.0.1:7400",
		"listen: localhost:80\n":         "http://localhost:80",
		"listen: \"[::1]:7400\"\n":       "http://[::1]:7400",
		"tls: {cert: a, key: b}\n":       "https://127.0.0.1:7400",
		"listen: 127.0.0.1:0\n":          "",
		"public_url: https://h.example/": "https://h.example",
	} {
		s, _, err := decodeServer("f", []byte(src), "/etc/daypass")
		if err != nil || s.PublicURL != want {
			t.Errorf("%q: %v, %v", src, s, err)
		}
	}
}

// ${ENV} stays what it is.
//
// Attack: CFG-07
func TestNothingIsExpanded(t *testing.T) {
	t.Setenv("DAYPASS_TEST_FOLDER", "/elsewhere")
	s, _, err := decodeServer("f", []byte("data: ${DAYPASS_TEST_FOLDER}/data\ncatalog: $DAYPASS_TEST_FOLDER\n"), "/etc/daypass")
	if err != nil || s.Data != "/etc/daypass/${DAYPASS_TEST_FOLDER}/data" || s.Catalog != "/etc/daypass/$DAYPASS_TEST_FOLDER" {
		t.Errorf("%+v, %v", s, err)
	}
}

func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// Attack: CFG-09
func TestFilesOthersCanRead(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t)
	writeFile(t, dir, "cert.pem", cert, 0o644)
	keyPath := writeFile(t, dir, "key.pem", key, 0o644)
	secretPath := writeFile(t, dir, "hook", "s3cr3t\n", 0o604)
	path := writeFile(t, dir, "daypass.yaml", "tls: {cert: cert.pem, key: key.pem}\nnotify: {webhook: {url: \"https://h\", secret: {file: hook}}}\n", 0o644)
	_, err := Load(path)
	want := path + ":1:28: " + keyPath + " holds a secret and others may read it (mode 0644): run chmod 600 " + keyPath + "\n" +
		path + ":2:46: " + secretPath + " holds a secret and others may read it (mode 0604): run chmod 600 " + secretPath
	if err == nil || err.Error() != want {
		t.Fatalf("got\n%v\nwant\n%s", err, want)
	}
	for _, p := range []string{keyPath, secretPath} {
		if err := os.Chmod(p, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if s.TLS.Key != keyPath || s.Notify.Webhook.Secret.File != secretPath {
		t.Errorf("paths %+v", s)
	}
	if value, err := s.Notify.Webhook.Secret.Value(); value != "s3cr3t" || err != nil {
		t.Errorf("%q, %v", value, err)
	}
	_, other := certificate(t)
	writeFile(t, dir, "key.pem", other, 0o600)
	if _, err := Load(path); err == nil || !strings.HasPrefix(err.Error(), path+":1:6: loading the certificate and its key:") || strings.Contains(err.Error(), "PRIVATE") {
		t.Errorf("a key of another certificate: %v", err)
	}
}

func FuzzServer(f *testing.F) {
	f.Add([]byte(contractExample))
	f.Add([]byte("listen: 0.0.0.0:1\ntls: off\npublic_url: http://h\nnotify: {smtp: {addr: \"m:25\", from: a@b.c}, webhook: {url: \"http://h\", secret: {file: /x}}}\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		s, _, err := decodeServer("f", src, "/etc/daypass")
		if err != nil {
			checkErrors(t, err)
			return
		}
		if !loopback(s.Listen) && !s.TLS.Enabled() && len(s.Warnings()) == 0 {
			t.Fatalf("served in clear without a word: %+v", s)
		}
		if s.Store != "sqlite" || !filepath.IsAbs(s.Data) || s.Limits.RevocationBound <= 0 || s.Limits.Pending.PerResource < 1 || !s.Identity.Tokens {
			t.Fatalf("unsound: %+v", s)
		}
	})
}
