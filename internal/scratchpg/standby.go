package scratchpg

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// Standby starts a hot standby of s.
func (s *Server) Standby(ctx context.Context) (*Server, error) {
	return start(ctx, s.Bin, s.password, func(follower *Server) error {
		cmd := exec.CommandContext(ctx, filepath.Join(s.Bin, "pg_basebackup"), "-D", filepath.Join(follower.Dir, "data"), "-R", "-X", "stream", "-c", "fast", "--no-sync",
			"-h", s.Dir, "-p", strconv.Itoa(s.Port), "-U", Superuser)
		if err := unprivileged(cmd); err != nil {
			return err
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("pg_basebackup: %w\n%s", err, out)
		}
		return follower.configure(fmt.Sprintf("port = %d", follower.Port), "unix_socket_directories = '"+follower.Dir+"'")
	})
}

// Write puts a private file into the server's data folder.
func (s *Server) Write(name string, content []byte) error {
	path := filepath.Join(s.Dir, "data", name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return err
	}
	return handOver(path)
}
