package daemon_test

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// TestFiles: what is wrong with a file is said as file:line:column, by `config
// check` and at the start, and nothing is started with it.
//
// Attack: CFG-01, POL-03, POL-04, POL-05
func TestFiles(t *testing.T) {
	for name, c := range map[string]struct{ file, from, to, want string }{
		"an unknown key of the server":      {"daypass.yaml", "data:", "dat:", "daypass.yaml:2:1: "},
		"a key given twice":                 {"daypass.yaml", "data: ./data", "data: ./data\ndata: ./other", "daypass.yaml:3:1: "},
		"a listener off loopback":           {"daypass.yaml", "listen: 127.0.0.1:0\nd", "listen: 0.0.0.0:0\nd", "daypass.yaml:1:9: "},
		"an unknown key of the catalog":     {"catalog.yaml", "policy:", "polcy:", "catalog.yaml:"},
		"a misspelt key of a rule":          {"catalog.yaml", "approve: auto, max_duration: 15m", "aproval: auto, max_duration: 15m", "catalog.yaml:"},
		"a condition that does not compile": {"catalog.yaml", `"group:oncall" in principal.groups`, `"group:oncall" in principal.grops`, "catalog.yaml:"},
		"a quorum of nobody":                {"catalog.yaml", "quorum: 2", "quorum: 0", "catalog.yaml:"},
		"more reviewers than there are":     {"catalog.yaml", "quorum: 2", "quorum: 20", "catalog.yaml:"},
		"an untyped group":                  {"catalog.yaml", "from: [group:dba]", "from: [dba]", "catalog.yaml:"},
		"an unknown kind":                   {"catalog.yaml", "kind: http", "kind: telnet", "catalog.yaml:"},
		"a secret at a relative path":       {"catalog.yaml", "{file: ", "{file: ./x", "catalog.yaml:"},
		"two documents":                     {"catalog.yaml", "policy:", "---\npolicy:", "catalog.yaml:"},
	} {
		t.Run(name, func(t *testing.T) {
			s := files(t)
			before := s.read(c.file)
			s.write(c.file, strings.Replace(before, c.from, c.to, 1))
			if before == s.read(c.file) {
				t.Fatal("nothing is wrong with the file")
			}
			code, out := s.daypass("config", "check", s.path("daypass.yaml"))
			if code != 1 || !strings.Contains(out, s.path(c.want)) || !position.MatchString(out) {
				t.Errorf("config check ended with %d: %s", code, out)
			}
			if out := s.refused(); !strings.Contains(out, s.path(c.want)) {
				t.Errorf("serve said %s", out)
			}
		})
	}
	s := files(t)
	if code, out := s.daypass("config", "check", s.path("daypass.yaml")); code != 0 || !strings.Contains(out, "good") {
		t.Errorf("config check of good files ended with %d: %s", code, out)
	}
	if code, _ := s.daypass("config", "check", s.path("absent.yaml")); code != 1 {
		t.Errorf("config check of no file ended with %d", code)
	}
	if code, _ := s.daypass("serve"); code != 2 {
		t.Errorf("serve without a file ended with %d", code)
	}
}

// Attack: CFG-09
func TestOpenPermissions(t *testing.T) {
	for _, name := range []string{"data", "data/keys", "data/daypass.db", "data/keys/audit.skey"} {
		t.Run(strings.ReplaceAll(name, "/", " "), func(t *testing.T) {
			s := serve(t)
			s.term()
			if err := os.Chmod(s.path(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if out := s.refused(); !strings.Contains(out, s.path(name)) {
				t.Errorf("it does not name %s: %s", name, out)
			}
		})
	}
}

// TestFolders: a data folder has one server, and that of `daypass dev`, whose
// tokens everybody knows, is refused.
//
// Attack: CFG-06
func TestFolders(t *testing.T) {
	s := serve(t)
	other := files(t)
	other.write("daypass.yaml", strings.ReplaceAll(s.read("daypass.yaml"), "./", s.dir+"/"))
	if out := other.refused(); !strings.Contains(out, "data") {
		t.Errorf("the second server said %s", out)
	}
	s.call("user:ana", "GET", "/v1/me", nil).is(200)

	dev := files(t)
	dev.cmd, dev.log = nil, &logged{}
	world := dev.dev("--data", dev.path("world"))
	world.signal(os.Interrupt)
	<-world.exited
	dev.write("daypass.yaml", "listen: 127.0.0.1:0\ndata: ./world/data\n")
	if out := dev.refused(); !strings.Contains(out, "daypass dev") {
		t.Errorf("serve on the store of dev said %s", out)
	}
}

// TestReady: an empty store is ready soon, and the binary stays small.
func TestReady(t *testing.T) {
	info, err := os.Stat(program)
	if err != nil || info.Size() > 40<<20 {
		t.Errorf("the binary has %d bytes, %v", info.Size(), err)
	}
	s := files(t)
	s.write("daypass.yaml", strings.Replace(s.read("daypass.yaml"), "listen: 127.0.0.1:0\n", "listen: "+freeAddr(t)+"\n", 1))
	addr := strings.TrimPrefix(lines(s.read("daypass.yaml"))[0], "listen: ")
	began := time.Now()
	s.launch()
	for {
		resp, err := http.Get("http://" + addr + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Since(began) > patience {
			t.Fatalf("not ready after %v: %v", time.Since(began), err)
		}
		time.Sleep(time.Millisecond)
	}
	took := time.Since(began)
	t.Logf("ready %v after its start, %d bytes of binary", took.Round(time.Millisecond), info.Size())
	if took > 2*time.Second {
		t.Errorf("ready only after %v", took)
	}
	s.await()
	s.call("", "GET", "/healthz", nil).is(200)
	if ready := string(s.call("", "GET", "/readyz", nil).is(200).body); !strings.Contains(ready, "5s") {
		t.Errorf("the revocation bound is not shown: %s", ready)
	}
	if code := s.term(); code != 0 {
		t.Errorf("SIGTERM ended it with %d:\n%s", code, s.log)
	}
}
