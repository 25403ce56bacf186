package daemon_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
)

// TestCatalogFile: the file is the truth; SIGHUP reads it again, whole or not
// at all.
//
// Invariant: A19
// Attack: CFG-01, CFG-02, POL-04
func TestCatalogFile(t *testing.T) {
	s := serve(t)
	first := decode[api.Catalog](s.call("user:ada", "GET", "/v1/catalog", nil).is(200))
	if first.Managed != "file" || first.AppliedBy != "system:config" || first.Source != s.read("catalog.yaml") {
		t.Errorf("the catalog is %s's, applied by %s", first.Managed, first.AppliedBy)
	}
	s.call("user:ana", "GET", "/v1/catalog", nil).is(403)
	s.call("user:ada", "PUT", "/v1/catalog", first.Source, "Content-Type", "application/yaml").is(409)
	_, token := s.pass(time.Hour)
	r := s.granted("user:ana", "orders-api", "read", 5*time.Minute)
	read := s.token("user:ana", r)

	good := s.read("catalog.yaml")
	s.write("catalog.yaml", strings.Replace(good, "approve: auto, max_duration: 15m", "aprove: auto, max_duration: 15m", 1))
	s.signal(syscall.SIGHUP)
	soon(t, "the bad file is refused", func() bool {
		return strings.Contains(s.log.String(), "the one in force stays") && position.MatchString(s.log.String())
	})
	if now := decode[api.Catalog](s.call("user:ada", "GET", "/v1/catalog", nil).is(200)); now.Version != first.Version {
		t.Error("a bad file changed the catalog")
	}
	s.through(token, "GET", "open-api", "/x").is(200)

	// Ana is on call no more: what the group gave her ends in the same commit.
	changed := strings.Replace(good, "members: [user:ana, group:sre]", "members: [user:dan]", 1)
	s.write("catalog.yaml", changed)
	s.signal(syscall.SIGHUP)
	soon(t, "the new file is applied", func() bool {
		return decode[api.Catalog](s.call("user:ada", "GET", "/v1/catalog", nil).is(200)).Version != first.Version
	})
	s.through(read, "GET", "orders-api", "/v1/orders/1").is(401)
	if g := decode[api.Grant](s.call("user:ana", "GET", "/v1/grants/"+r.Grant.ID, nil).is(200)); g.State != "ended" || *g.EndedReason != "policy" {
		t.Errorf("%+v", g)
	}
	s.through(token, "GET", "open-api", "/x").is(200)

	// A resource that is gone takes its grants with it, and does not give them
	// back when it comes again (REQ-15).
	from, to := strings.Index(changed, "  - id: open-api"), strings.Index(changed, "  - id: two-api")
	without := changed[:from] + changed[to:]
	s.write("catalog.yaml", without)
	s.signal(syscall.SIGHUP)
	soon(t, "the resource is gone", func() bool { return s.through(token, "GET", "open-api", "/x").status == 421 })
	s.write("catalog.yaml", changed)
	s.signal(syscall.SIGHUP)
	soon(t, "the resource is there again", func() bool { return s.through(token, "GET", "open-api", "/x").status != 421 })
	s.through(token, "GET", "open-api", "/x").is(401)
	if n := len(s.events("&type=catalog.changed")); n != 4 {
		t.Errorf("%d changes were recorded", n)
	}
	s.verify()
}

// TestCatalogOverTheAPI: without a file an admin puts the catalog.
//
// Attack: CFG-03, POL-17
func TestCatalogOverTheAPI(t *testing.T) {
	s := serve(t)
	s.term()
	s.write("daypass.yaml", strings.Replace(s.read("daypass.yaml"), "catalog: ./catalog.yaml\n", "", 1))
	s.start()
	a := s.call("user:ada", "GET", "/v1/catalog", nil).is(200)
	first := decode[api.Catalog](a)
	if first.Managed != "api" || a.header.Get("ETag") != `"`+first.Version+`"` {
		t.Errorf("managed by %s, ETag %s", first.Managed, a.header.Get("ETag"))
	}
	if first.Source != s.read("catalog.yaml") {
		t.Errorf("the source is not what was written: %s", first.Source)
	}
	yaml := []string{"Content-Type", "application/yaml"}
	put := func(who, source string, header ...string) answer {
		return s.call(who, "PUT", "/v1/catalog", source, append(yaml, header...)...)
	}
	put("user:ana", first.Source).is(403)
	bad := strings.Replace(first.Source, "quorum: 2", "quorum: 0", 1)
	if p := put("user:ada", bad).is(422, "invalid_catalog").problem(); len(p.Errors) == 0 || !strings.HasPrefix(p.Errors[0].Location, "body:") {
		t.Errorf("%+v", p)
	}
	if c := decode[api.CatalogCheck](s.call("user:ada", "POST", "/v1/catalog/check", bad, yaml...).is(200)); c.OK || len(c.Problems) == 0 || c.Problems[0].Line == 0 || c.Problems[0].Column == 0 {
		t.Errorf("%+v", c)
	}
	if c := decode[api.CatalogCheck](s.call("user:ada", "POST", "/v1/catalog/check", first.Source, yaml...).is(200)); !c.OK || c.Version != first.Version {
		t.Errorf("%+v", c)
	}
	s.call("user:ana", "POST", "/v1/catalog/check", first.Source, yaml...).is(403)
	changed := strings.Replace(first.Source, "max_duration: 15m}", "max_duration: 20m}", 1)
	put("user:ada", changed, "If-Match", `"sha256:`+strings.Repeat("0", 64)+`"`).is(412)
	second := decode[api.Catalog](put("user:ada", changed, "If-Match", `"`+first.Version+`"`).is(200))
	if second.Version == first.Version || second.AppliedBy != "user:ada" {
		t.Errorf("%+v", second)
	}
	put("user:ada", first.Source, "If-Match", `"`+first.Version+`"`).is(412)
	s.granted("user:ana", "orders-api", "read", 20*time.Minute)
	s.kill()
	s.start()
	if now := decode[api.Catalog](s.call("user:ada", "GET", "/v1/catalog", nil).is(200)); now.Version != second.Version {
		t.Error("the catalog was lost in a crash")
	}
	s.call("user:ada", "PUT", "/v1/catalog", first.Source, "Content-Type", "text/plain").is(415)
	s.verify()
}
