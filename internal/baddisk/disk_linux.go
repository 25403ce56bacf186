package baddisk

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

const block = 4096

// Disk is a disk that is mounted at Dir. It is safe for concurrent use.
type Disk struct {
	Dir string

	t      testing.TB
	server *fuse.Server

	mu     sync.Mutex
	root   *node
	size   int64 // bytes that fit
	used   int64
	steps  int           // changes and syncs since it was mounted
	syncs  int           // syncs since it was mounted
	cutAt  int           // the step at which the power goes; 0: it stays
	rnd    *rand.Rand    // says what survives
	kept   *image        // what survived
	off    chan struct{} // closed when the power is gone
	dead   chan struct{} // closed when those that wait on a dead disk may go
	onSync func(n int, name string) error
	onMake func(name string) error
}

// New mounts a new, empty disk for this test, which needs /dev/fuse and the
// right to mount.
func New(t testing.TB, size int64) *Disk {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Fatalf("this test mounts a disk that fails, and needs FUSE in the kernel and the rights of root: %v", err)
	}
	d := &Disk{Dir: t.TempDir(), t: t, size: size}
	d.mount(&image{dir: true, mode: 0o700})
	t.Cleanup(func() { d.unmount() })
	return d
}

func (d *Disk) mount(from *image) {
	d.t.Helper()
	d.mu.Lock()
	d.root = from.node(d, "")
	d.used = d.root.total()
	d.steps, d.syncs, d.cutAt, d.kept = 0, 0, 0, nil
	d.onSync, d.onMake = nil, nil
	d.off, d.dead = make(chan struct{}), make(chan struct{})
	root := d.root
	d.mu.Unlock()
	forever := time.Hour
	server, err := fs.Mount(d.Dir, root, &fs.Options{
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "baddisk", Name: "baddisk", DisableXAttrs: true},
		AttrTimeout:  &forever, EntryTimeout: &forever,
		RootStableAttr: &fs.StableAttr{Mode: fuse.S_IFDIR},
	})
	if err != nil {
		d.t.Fatalf("mounting a disk that fails (this test must run as root): %v", err)
	}
	d.server = server
}

func (d *Disk) unmount() {
	d.release()
	var err error
	for range 200 { // what has just been killed may still be letting go of its files
		if err = d.server.Unmount(); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	d.t.Errorf("unmounting: %v", err)
	_ = syscall.Unmount(d.Dir, syscall.MNT_DETACH)
}

// release lets those go that wait on a disk without power.
func (d *Disk) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.dead:
	default:
		close(d.dead)
	}
}

// CutAt has the power go at the n-th change or sync from now. What survives of
// that which was not synced, seed decides. The channel is closed when it is
// dark: whoever uses the disk then waits.
func (d *Disk) CutAt(n int, seed uint64) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cutAt = d.steps + max(n, 1)
	d.rnd = rand.New(rand.NewPCG(seed, 3))
	return d.off
}

// Cut has the power go now.
func (d *Disk) Cut(seed uint64) {
	d.CutAt(1, seed)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dark()
}

// dark takes the power away; d.mu is held.
func (d *Disk) dark() {
	if d.kept == nil {
		d.kept = d.root.survive(d.rnd)
		close(d.off)
	}
}

// PowerOn mounts the disk again with what survived the cut. kill must end all
// that still uses it; it may only wait for that after it has sent the signal
// and called release.
func (d *Disk) PowerOn(kill func(release func())) {
	d.t.Helper()
	<-d.off
	kill(d.release)
	d.unmount()
	d.mount(d.kept)
}

// Steps is how many changes and syncs there were since it was mounted.
func (d *Disk) Steps() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.steps
}

// Syncs is how many syncs there were since it was mounted.
func (d *Disk) Syncs() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.syncs
}

// OnSync calls f at each sync with its number and the name of the file, "" for
// a folder. It may take its time. When it returns a syscall.Errno the sync
// fails with it, and the writes that should have been synced never will be, as
// it is on Linux; names wait for the next sync of their folder. nil takes f
// away.
func (d *Disk) OnSync(f func(n int, name string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.onSync = f
}

// OnMake calls f before a file is made; its syscall.Errno is the answer.
func (d *Disk) OnMake(f func(name string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.onMake = f
}

// Resize changes how many bytes fit.
func (d *Disk) Resize(size int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.size = size
}

// Used is how many bytes are taken.
func (d *Disk) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used
}

// List names every file with its size.
func (d *Disk) List() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var b strings.Builder
	d.root.list(&b, "")
	return b.String()
}

// step counts a change and makes it, unless the power goes at it: then it may
// be half made, and nobody hears of it.
func (d *Disk) step(change func() syscall.Errno) syscall.Errno {
	d.mu.Lock()
	if d.kept == nil {
		d.steps++
		if d.cutAt == 0 || d.steps < d.cutAt {
			defer d.mu.Unlock()
			return change()
		}
		if d.rnd.IntN(2) == 0 {
			_ = change() // nobody hears what came of it
		}
		d.dark()
	}
	d.mu.Unlock()
	<-d.dead
	return syscall.EIO
}

// grow reports whether so many bytes more fit, and takes them; d.mu is held.
func (d *Disk) grow(by int64) bool {
	if by > 0 && d.used+by > d.size {
		return false
	}
	d.used += by
	return true
}

func errnoOf(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	if errno, ok := err.(syscall.Errno); ok { //nolint:errorlint // it is documented to be this very type
		return errno
	}
	panic(fmt.Sprintf("not a syscall.Errno: %v", err))
}
