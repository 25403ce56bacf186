package daemon

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/daypass/daypass/internal/config"
)

// Attack: CFG-10
func TestAChangedConfigurationNeedsARestartAsAWhole(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "daypass.yaml")
	load := func(text string) *config.Server {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	same := "listen: 127.0.0.1:0\ndata: ./data\n"
	d, err := Start(context.Background(), Options{Config: load(same)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	if d.NeedsRestart(load(same + "# a comment\n")) {
		t.Error("a comment needs a restart")
	}
	for _, more := range []string{"limits: {request_ttl: 1h}\n", "gateways: {http: {listen: \"127.0.0.1:0\"}}\n", "audit: {access: strict}\n"} {
		if !d.NeedsRestart(load(same + more)) {
			t.Errorf("%q is not noticed", more)
		}
		if err := d.Reload(context.Background()); err != nil {
			t.Error(err)
		}
	}
	if d.GatewayAddr("http") != "" {
		t.Error("half of a changed configuration is in force")
	}
	resp, err := http.Get(d.URL() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("after the changes it is %s", resp.Status)
	}
}
