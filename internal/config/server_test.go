package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

const contractExample = `listen: 127.0.0.1:7400            # API and console; not loopback ⇒ TLS required
public_url: http://127.0.0.1:7400
data: ./data                      # keys, SQLite; created with mode 0700
store: sqlite                     # or postgres://… for several nodes
catalog: ./catalog.yaml           # applied at start when its content changed; SIGHUP re-reads
gateways:
  http:     {listen: 127.0.0.1:7480, domain: localhost}   # Host
identity:                         # who may log in; see the identity issue
  tokens: true
limits: {request_ttl: 24h, max_skew: 5s, revocation_bound: 5s, pending: {per_resource: 20, per_requester: 100}}
`

func write(t *testing.T, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadContractExample(t *testing.T) {
	path := write(t, "daypass.yaml", contractExample, 0o644)
	s, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if s.Data != filepath.Join(filepath.Dir(path), "data") || s.Catalog != filepath.Join(filepath.Dir(path), "catalog.yaml") {
		t.Errorf("paths %q, %q are not in the file's folder", s.Data, s.Catalog)
	}
	if s.Limits.RequestTTL != 24*time.Hour || s.Gateways.HTTP.Domain != "localhost" || s.Limits.Pending.PerResource != 20 {
		t.Errorf("got %+v", s)
	}
	if len(s.Warnings()) != 0 {
		t.Errorf("warnings %q", s.Warnings())
	}
}
