package daemon

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/clock"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/store/sqlite"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// Files in the data folder.
const (
	keysFolder     = "keys"
	auditKeyFile   = "audit.skey"      // the audit log's signing key
	auditVKeyFile  = "audit.vkey"      // its public half, for verification
	CheckpointFile = "checkpoint.note" // the newest signed checkpoint, for copying elsewhere
	settingDev     = "dev"             // a store for trying things
)

// open opens keys and store and sets the clock.
func (d *Daemon) open(ctx context.Context, dev bool) error {
	if err := os.MkdirAll(d.cfg.Data, 0o700); err != nil {
		return fmt.Errorf("making the data folder: %w", err)
	}
	now := time.Now()
	keys, err := credential.OpenKeyring(filepath.Join(d.cfg.Data, keysFolder), now)
	if err != nil {
		return fmt.Errorf("opening the signing keys: %w", err)
	}
	failpoint.Hit("daemon.keys.opened")
	d.keys = keys
	sign, err := headSigner(d.cfg.Data)
	if err != nil {
		return err
	}
	// The clock's mark is in the store, whose commits write it on: until it is
	// read, nothing is committed that would write one.
	mark := func() clock.Mark { return d.clock.Mark() }
	d.clock = clock.New(clock.Mark{})
	d.store, err = sqlite.Open(ctx, d.cfg.Data, sqlstore.Options{Clock: mark, SignHead: sign, Failed: d.fail})
	if err != nil {
		return fmt.Errorf("opening the store: %w", err)
	}
	return d.adopt(ctx, dev)
}

// adopt sets the clock from the store and checks what the store is for.
func (d *Daemon) adopt(ctx context.Context, dev bool) error {
	var marked string
	err := d.store.View(ctx, func(tx *sqlstore.Tx) error {
		if err := d.intact(tx); err != nil {
			return err
		}
		last, err := tx.ClockMark()
		if err != nil {
			return err
		}
		d.clock = clock.New(last)
		failpoint.Hit("daemon.clock.set")
		marked, err = tx.Setting(settingDev)
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("reading the store: %w", err)
	case marked != "" && !dev:
		return fmt.Errorf("%s was made by `daypass dev`, with tokens that everybody knows: use another data folder", d.cfg.Data)
	case dev && marked == "":
		return d.store.Update(ctx, sqlstore.Normal, func(tx *sqlstore.Tx) error {
			head, _, err := tx.Head()
			if err == nil && head.Seq > 0 {
				err = fmt.Errorf("%s holds a real store; `daypass dev` needs a folder of its own", d.cfg.Data)
			}
			if err != nil {
				return err
			}
			return tx.PutSetting(settingDev, "yes")
		})
	}
	return nil
}

// intact refuses a store whose log was signed with another key, and one that
// ends before the checkpoint that lies beside it. Such a store is older than
// what it once acknowledged: what was revoked since could be live in it (A2).
func (d *Daemon) intact(tx *sqlstore.Tx) error {
	key, err := d.auditKey()
	if err != nil {
		return err
	}
	head, signed, err := tx.Head()
	if err != nil {
		return err
	}
	if len(signed) > 0 {
		if _, err := audit.OpenCheckpoint(signed, key); err != nil {
			return fmt.Errorf("the audit log was signed with another key than that in %s; put its own key back: %w",
				filepath.Join(d.cfg.Data, keysFolder, auditKeyFile), err)
		}
	}
	if err := d.noOlder(head, key); err != nil {
		return err
	}
	if err := d.store.Whole(tx); err != nil {
		return fmt.Errorf("%w: put the newest whole copy back, or remove %s to go on without them", err, filepath.Join(d.cfg.Data, sqlite.NewestFile))
	}
	return nil
}

// noOlder refuses a store that ends before the checkpoint beside it.
func (d *Daemon) noOlder(head audit.Head, key string) error {
	file := filepath.Join(d.cfg.Data, CheckpointFile)
	note, err := noteBeside(d.cfg.Data)
	if err != nil || note == nil {
		return err
	}
	last, err := audit.OpenCheckpoint(note, key)
	switch {
	case err != nil:
		d.log.Warn("the checkpoint beside the store is not one of this log", "file", file, "error", err)
	case last.Head.Seq > head.Seq:
		return fmt.Errorf("entries %d to %d of the audit log are missing, and with them what was revoked then: %s was signed after them; "+
			"put the newest store back, or take a backup into a new folder with `daypass restore`, which ends what may have been revoked; "+
			"removing that file goes on without them as if nothing had been", head.Seq+1, last.Head.Seq, file)
	}
	return nil
}

// noteBeside reads the checkpoint that lies beside a store; nil when there is
// none.
func noteBeside(data string) ([]byte, error) {
	note, err := os.ReadFile(filepath.Join(data, CheckpointFile))
	if errors.Is(err, os.ErrNotExist) || err == nil && len(note) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoint beside the store: %w", err)
	}
	return note, nil
}

// headSigner returns what signs the audit log's head in each commit. The key
// is made at the first start; its public half lies beside it.
func headSigner(data string) (func(audit.Head, [32]byte, time.Time) ([]byte, error), error) {
	folder := filepath.Join(data, keysFolder)
	var public string
	secret, err := credential.LoadOrCreateFile(folder, auditKeyFile, func() ([]byte, error) {
		id := credential.NewID("log")
		skey, vkey, err := audit.NewSigner("daypass/"+id, rand.Reader)
		if err != nil {
			return nil, err
		}
		public = vkey
		return []byte(skey + "\n" + vkey + "\n"), nil
	})
	if err != nil {
		return nil, fmt.Errorf("the audit signing key: %w", err)
	}
	skey, vkey, ok := bytes.Cut(bytes.TrimSpace(secret), []byte("\n"))
	if !ok {
		return nil, errors.New("the audit signing key: the file does not hold a key and its public half")
	}
	signer, err := audit.ParseSigner(string(skey))
	if err != nil {
		return nil, err
	}
	if public == "" {
		public = string(vkey)
	}
	if err := writeFile(filepath.Join(data, auditVKeyFile), []byte(public+"\n")); err != nil {
		return nil, err
	}
	return func(h audit.Head, root [32]byte, at time.Time) ([]byte, error) {
		return audit.SignCheckpoint(signer.Name(), h, root, signer, at)
	}, nil
}

// storeHealth says why the store cannot take everything now.
func (d *Daemon) storeHealth() error {
	if err := d.store.Failure(); err != nil {
		return fmt.Errorf("the store: %w", err)
	}
	if d.store.Full() {
		return sqlstore.ErrFull
	}
	return nil
}

// auditKey is the public half of the audit log's key.
func (d *Daemon) auditKey() (string, error) { return AuditKey(d.cfg.Data) }

// AuditKey reads the public half of a data folder's audit key.
func AuditKey(data string) (string, error) {
	b, err := os.ReadFile(filepath.Join(data, auditVKeyFile))
	if err != nil {
		return "", fmt.Errorf("reading the audit log's public key: %w", err)
	}
	return string(bytes.TrimSpace(b)), nil
}

// checkpointEvery is how often the newest checkpoint is put beside the store.
const checkpointEvery = 10 * time.Second

// keepCheckpoint puts the newest signed checkpoint where it can be copied to a
// place that the operator of this machine does not control.
func (d *Daemon) keepCheckpoint(ctx context.Context) {
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.writeCheckpoint(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (d *Daemon) writeCheckpoint(ctx context.Context) {
	var note []byte
	err := d.store.View(ctx, func(tx *sqlstore.Tx) (err error) {
		_, note, err = tx.Head()
		return err
	})
	if err == nil {
		err = writeFile(filepath.Join(d.cfg.Data, CheckpointFile), note)
	}
	if err != nil && ctx.Err() == nil {
		d.log.Warn("the checkpoint could not be put beside the store", "error", err)
	}
}

// writeFile replaces a file as a whole, or leaves it as it was.
func writeFile(path string, content []byte) error {
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, content) {
		return nil
	}
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer func() { _ = os.Remove(temp.Name()) }() // gone already when all went well
	if _, err = temp.Write(content); err == nil {
		err = temp.Sync() // before the name is its own
	}
	if cerr := temp.Close(); err == nil {
		err = cerr
	}
	failpoint.Hit("daemon.file.before")
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	failpoint.Hit("daemon.file.after")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
