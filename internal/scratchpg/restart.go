package scratchpg

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Down stops the server as an administrator does who does not wait for clients
// (the fast mode of pg_ctl). Its data stays.
func (s *Server) Down(ctx context.Context) error { return s.control(ctx, "-m", "fast", "stop") }

// Up starts it again, on the same port.
func (s *Server) Up(ctx context.Context) error {
	return s.control(ctx, "-l", filepath.Join(s.Dir, "log"), "start")
}

func (s *Server) control(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(s.Bin, "pg_ctl"), append([]string{"-D", filepath.Join(s.Dir, "data"), "-w", "-s"}, args...)...)
	if err := unprivileged(cmd); err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_ctl: %w\n%s", err, out)
	}
	return nil
}
