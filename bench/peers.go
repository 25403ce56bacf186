//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/daypass/daypass/internal/credential"
)

const (
	opaModule  = "github.com/open-policy-agent/opa@v1.22.2"
	peerGrants = 10_000
)

// opaPolicy decides as a token check does: is there a grant of this token, and
// has it not ended.
const opaPolicy = `package daypass

default allow := false

allow if {
	grant := data.grants[input.token]
	time.now_ns() < grant.expires_at
}
`

// peers measures what else decides over HTTP whether somebody may: Open Policy
// Agent, over as many grants, beside the same bare handler.
func (b *bench) peers(ctx context.Context) error {
	n := peerGrants
	if b.scale.short {
		n = 100
	}
	program := filepath.Join(b.cache, "opa-v1.22.2")
	if _, err := os.Stat(program); err != nil {
		if b.scale.short {
			b.report.note(b.out, "Open Policy Agent is left out of a smoke unless it is built already.")
			return nil
		}
		build := exec.CommandContext(ctx, "go", "install", opaModule)
		build.Env = append(os.Environ(), "GOBIN="+b.work, "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
		build.Dir = b.work
		if out, err := build.CombinedOutput(); err != nil {
			b.report.note(b.out, "Open Policy Agent could not be had: go install %s: %v: %s", opaModule, err, lastLine(out))
			return nil
		}
		if err := os.Rename(filepath.Join(b.work, "opa"), program); err != nil {
			return err
		}
	}
	b.report.note(b.out, "Peer: Open Policy Agent v1.22.2, POST /v1/data/daypass/allow over %d grants in its memory, by the same load, beside a bare handler that answers the same bytes. It keeps no record of what it decided and its data has to be brought there. "+
		"oauth2-proxy v7.12.0 could not be had from the module proxy (403). Dex is not measured: it logs people in and decides nothing per request.", n)
	opa, err := b.startOPA(ctx, program, n)
	if err != nil {
		return err
	}
	defer opa.stop()
	naked, err := startBare(ctx, "answer", filepath.Join(b.work, "opa-answer"))
	if err != nil {
		return err
	}
	defer naked.stop()
	args := []string{"POST", "/v1/data/daypass/allow", filepath.Join(b.work, "opa-requests"), "127.0.0.1", "application/json"}
	var ours, theirs []load
	for range b.scale.rounds {
		them, err := b.wrk(ctx, "http://"+naked.addr, b.scale.round, args...)
		us, err2 := b.wrk(ctx, "http://"+opa.addr, b.scale.round, args...)
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		ours, theirs = append(ours, us), append(theirs, them)
	}
	us, them := middle(ours), middle(theirs)
	b.report.tell(b.out, fmt.Sprintf("Open Policy Agent, %d grants, of bare", n), fmt.Sprintf("%.2f (%.0f/s of %.0f/s; p50 %s, p99 %s)", us.perSecond/them.perSecond, us.perSecond, them.perSecond, us.p50, us.p99))
	return nil
}

// startOPA serves the policy and so many grants, and writes what wrk sends and
// what the bare server answers.
func (b *bench) startOPA(ctx context.Context, program string, n int) (*child, error) {
	grants := map[string]any{}
	var lines strings.Builder
	for i := range n {
		secret, hash := credential.NewToken(credential.GrantToken)
		grants[hash.String()] = map[string]any{"principal": fmt.Sprintf("user:u%d", i%principals), "resource": fmt.Sprintf("res-%d", i%resources), "expires_at": time.Now().Add(time.Hour).UnixNano()}
		if i%max(1, n/samples) == 0 {
			fmt.Fprintf(&lines, "%s {\"input\":{\"token\":%q}}\n", secret.Reveal(), hash.String())
		}
	}
	data, err := json.Marshal(map[string]any{"grants": grants})
	if err != nil {
		return nil, err
	}
	files := map[string]string{"opa-data.json": string(data), "opa-policy.rego": opaPolicy, "opa-requests": lines.String(), "opa-answer": "Content-Type: application/json\n\n{\"result\":true}\n"}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(b.work, name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	_ = l.Close()
	c := &child{addr: addr, cmd: exec.CommandContext(ctx, program, "run", "--server", "--addr", addr, "--log-level", "error", "--disable-telemetry",
		filepath.Join(b.work, "opa-data.json"), filepath.Join(b.work, "opa-policy.rego"))}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.input = closer(func() error { return c.cmd.Process.Kill() })
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	for range 100 {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			return c, conn.Close()
		}
		time.Sleep(100 * time.Millisecond)
	}
	c.stop()
	return nil, errors.New("OPA does not serve")
}

type closer func() error

// Close implements io.Closer.
func (c closer) Close() error { return c() }

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}
