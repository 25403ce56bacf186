//go:build unix

package scratchpg

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// owner is who runs the server. PostgreSQL refuses to run as root, so root has
// it run as postgres, or as nobody where there is no such user.
func owner() (uid, gid int, err error) {
	if os.Getuid() != 0 {
		return os.Getuid(), os.Getgid(), nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return 0, 0, fmt.Errorf("finding a user for PostgreSQL, which does not run as root: %w", err)
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(u.Gid)
	return uid, gid, err
}

// unprivileged has a command run as owner, and in a process group of its own:
// Ctrl-C is for us, and we end the server in order.
func unprivileged(cmd *exec.Cmd) error {
	uid, gid, err := owner()
	if err != nil {
		return err
	}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return nil
}

// handOver gives a file to who will run the server.
func handOver(path string) error {
	uid, gid, err := owner()
	if err != nil {
		return err
	}
	return os.Chown(path, uid, gid)
}

// reachable hands dir over and fails where its owner cannot get at it.
func reachable(ctx context.Context, dir string) error {
	if err := handOver(dir); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", `cd "$1"`, "sh", dir)
	if err := unprivileged(cmd); err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s is closed to the user of PostgreSQL: %w %s", dir, err, out)
	}
	return nil
}
