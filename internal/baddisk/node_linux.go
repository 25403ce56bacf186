package baddisk

import (
	"context"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// node is a file or a folder.
type node struct {
	fs.Inode
	disk *Disk
	name string // under which it was last known
	mode uint32

	// Of a file: what is read, what is safe, and what lies between.
	data    []byte
	safe    []byte
	changes []change

	// Of a folder, likewise.
	entries     map[string]*node
	safeEntries map[string]*node
	moves       []move
}

// change is a write, or a new size where data is nil.
type change struct {
	at   int64
	data []byte
}

// move takes a name away, gives one, or both at once.
type move struct {
	from, to string
	node     *node
}

var (
	_ fs.NodeOnAdder   = (*node)(nil)
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeSetattrer = (*node)(nil)
	_ fs.NodeStatfser  = (*node)(nil)
	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeReader    = (*node)(nil)
	_ fs.NodeWriter    = (*node)(nil)
	_ fs.NodeAllocater = (*node)(nil)
	_ fs.NodeFsyncer   = (*node)(nil)
	_ fs.NodeCreater   = (*node)(nil)
	_ fs.NodeMkdirer   = (*node)(nil)
	_ fs.NodeLinker    = (*node)(nil)
	_ fs.NodeUnlinker  = (*node)(nil)
	_ fs.NodeRmdirer   = (*node)(nil)
	_ fs.NodeRenamer   = (*node)(nil)
)

func (n *node) stable() fs.StableAttr {
	if n.entries != nil {
		return fs.StableAttr{Mode: fuse.S_IFDIR}
	}
	return fs.StableAttr{Mode: fuse.S_IFREG}
}

// OnAdd hangs what a folder holds into the tree.
func (n *node) OnAdd(ctx context.Context) {
	for name, child := range n.entries {
		n.AddChild(name, n.NewPersistentInode(ctx, child, child.stable()), true)
	}
}

func (n *node) attr(a *fuse.Attr) {
	a.Mode, a.Size, a.Blksize, a.Nlink = n.stable().Mode|n.mode, uint64(len(n.data)), block, 1
	a.Blocks = uint64(len(n.data)+511) / 512
}

// Getattr implements fs.NodeGetattrer.
func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.attr(&out.Attr)
	return 0
}

// Setattr implements fs.NodeSetattrer.
func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return n.disk.step(func() syscall.Errno {
		if mode, ok := in.GetMode(); ok {
			n.mode = mode & 0o7777 // safe at once: nothing here rests on it
		}
		if size, ok := in.GetSize(); ok {
			if errno := n.resize(int64(size)); errno != 0 {
				return errno
			}
		}
		n.attr(&out.Attr)
		return 0
	})
}

func (n *node) resize(size int64) syscall.Errno {
	if !n.disk.grow(size - int64(len(n.data))) {
		return syscall.ENOSPC
	}
	n.data = resized(n.data, size)
	n.changes = append(n.changes, change{at: size})
	return 0
}

func resized(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size:size]
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}

// Statfs implements fs.NodeStatfser.
func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	d := n.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	out.Bsize, out.Frsize, out.NameLen = block, block, 255
	out.Blocks = uint64(d.size / block)
	out.Bfree = uint64(max(0, d.size-d.used) / block)
	out.Bavail = out.Bfree
	return 0
}

// Open implements fs.NodeOpener.
func (n *node) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

// Read implements fs.NodeReader.
func (n *node) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if off >= int64(len(n.data)) {
		return fuse.ReadResultData(nil), 0
	}
	return fuse.ReadResultData(dest[:copy(dest, n.data[off:])]), 0
}

// Write implements fs.NodeWriter.
func (n *node) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	errno := n.disk.step(func() syscall.Errno {
		if end := off + int64(len(data)); end > int64(len(n.data)) {
			if !n.disk.grow(end - int64(len(n.data))) {
				return syscall.ENOSPC
			}
			n.data = resized(n.data, end)
		}
		copy(n.data[off:], data)
		n.changes = append(n.changes, change{at: off, data: append([]byte{}, data...)})
		return 0
	})
	return uint32(len(data)), errno
}

// Allocate implements fs.NodeAllocater.
func (n *node) Allocate(_ context.Context, _ fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	if mode != 0 {
		return syscall.ENOTSUP
	}
	return n.disk.step(func() syscall.Errno {
		if end := int64(off + size); end > int64(len(n.data)) {
			return n.resize(end)
		}
		return 0
	})
}

// Fsync implements fs.NodeFsyncer, for folders too.
func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	d := n.disk
	d.mu.Lock()
	d.syncs++
	hook, number, name := d.onSync, d.syncs, n.name
	d.mu.Unlock()
	var failed syscall.Errno
	if hook != nil {
		if n.entries != nil {
			name = ""
		}
		failed = errnoOf(hook(number, name))
	}
	return d.step(func() syscall.Errno {
		if failed == 0 {
			n.sync()
		} else {
			n.changes = nil // the kernel holds them for written
		}
		return failed
	})
}

func (n *node) sync() {
	for _, c := range n.changes {
		n.safe = c.on(n.safe)
	}
	for _, m := range n.moves {
		m.on(n.safeEntries)
	}
	n.changes, n.moves = nil, nil
}

func (c change) on(b []byte) []byte {
	if c.data == nil {
		return resized(b, c.at)
	}
	if end := c.at + int64(len(c.data)); end > int64(len(b)) {
		b = resized(b, end)
	}
	copy(b[c.at:], c.data)
	return b
}

func (m move) on(entries map[string]*node) {
	if m.from != "" {
		delete(entries, m.from)
	}
	if m.to != "" {
		entries[m.to] = m.node
	}
}

// do makes a move; the disk's mu is held.
func (n *node) do(m move) {
	m.on(n.entries)
	n.moves = append(n.moves, m)
}

func (n *node) make(ctx context.Context, name string, child *node, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	d := n.disk
	d.mu.Lock()
	hook := d.onMake
	d.mu.Unlock()
	if hook != nil {
		if errno := errnoOf(hook(name)); errno != 0 {
			return nil, errno
		}
	}
	errno := d.step(func() syscall.Errno {
		n.do(move{to: name, node: child})
		child.attr(&out.Attr)
		return 0
	})
	if errno != 0 {
		return nil, errno
	}
	return n.NewPersistentInode(ctx, child, child.stable()), 0
}

// Create implements fs.NodeCreater.
func (n *node) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	inode, errno := n.make(ctx, name, &node{disk: n.disk, name: name, mode: mode & 0o7777}, out)
	return inode, nil, fuse.FOPEN_KEEP_CACHE, errno
}

// Mkdir implements fs.NodeMkdirer.
func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.make(ctx, name, &node{disk: n.disk, name: name, mode: mode & 0o7777, entries: map[string]*node{}, safeEntries: map[string]*node{}}, out)
}

// Link implements fs.NodeLinker.
func (n *node) Link(_ context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	file, ok := target.(*node)
	if !ok {
		return nil, syscall.EXDEV
	}
	errno := n.disk.step(func() syscall.Errno {
		n.do(move{to: name, node: file})
		file.name = name
		file.attr(&out.Attr)
		return 0
	})
	return &file.Inode, errno
}

// Unlink implements fs.NodeUnlinker.
func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	return n.disk.step(func() syscall.Errno {
		gone := n.entries[name]
		n.do(move{from: name})
		if gone != nil && gone.entries == nil && !n.disk.root.holds(gone) {
			n.disk.used -= int64(len(gone.data))
		}
		return 0
	})
}

// Rmdir implements fs.NodeRmdirer.
func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	n.disk.mu.Lock()
	folder := n.entries[name]
	empty := folder == nil || len(folder.entries) == 0
	n.disk.mu.Unlock()
	if !empty {
		return syscall.ENOTEMPTY
	}
	return n.Unlink(ctx, name)
}

// Rename implements fs.NodeRenamer, within one folder.
func (n *node) Rename(_ context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if to, ok := parent.(*node); !ok || to != n || flags != 0 {
		return syscall.EXDEV
	}
	return n.disk.step(func() syscall.Errno {
		moved, replaced := n.entries[name], n.entries[newName]
		n.do(move{from: name, to: newName, node: moved})
		moved.name = newName
		if replaced != nil && replaced.entries == nil && !n.disk.root.holds(replaced) {
			n.disk.used -= int64(len(replaced.data))
		}
		return 0
	})
}
