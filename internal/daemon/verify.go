package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/replay"
	"github.com/daypass/daypass/internal/store/sqlite"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// VerifyOptions says what to verify an audit log against.
type VerifyOptions struct {
	Key         string   // the trusted public key; "": the one that lies with the log
	Checkpoints [][]byte // kept elsewhere: signed notes, or the API's JSON
}

// Verified is what VerifyData found in a data folder whose log is whole.
type Verified struct {
	audit.Report
	Rows replay.Report // what the rows hold, equal to the log played back
}

// String says both.
func (v Verified) String() string { return v.Report.String() + "; " + v.Rows.String() }

// VerifyData checks the audit log of a data folder, offline or beside a
// running server, also against the checkpoint that lies beside it; and whether
// the rows beside the log are what it says, as of the same snapshot. What is
// wrong with an entry is an *audit.Fault, what differs in a row is a
// *replay.Difference.
func VerifyData(ctx context.Context, dir string, o VerifyOptions) (Verified, error) {
	var v Verified
	notes, _, err := notesOf(o.Checkpoints)
	if err != nil {
		return v, err
	}
	pinned := o.Key != ""
	if !pinned {
		if o.Key, err = AuditKey(dir); err != nil {
			return v, err
		}
	}
	// Before the store is opened, which may go on growing: the checkpoint is
	// of what it holds, unless its tail was cut off.
	beside, err := noteBeside(dir)
	if err != nil {
		return v, err
	}
	if beside != nil {
		notes = append(notes, beside)
	}
	store, err := sqlite.OpenReadOnly(ctx, dir)
	if err != nil {
		return v, fmt.Errorf("opening the store: %w", err)
	}
	defer func() { _ = store.Close() }() // it was only read
	if err := store.Sound(ctx); err != nil {
		return v, err
	}
	err = store.View(ctx, func(tx *sqlstore.Tx) (err error) {
		if v.Report, err = tx.VerifyAudit(audit.VerifierOptions{Keys: []string{o.Key}, Checkpoints: notes}); err != nil {
			return err
		}
		if err := store.Whole(tx); err != nil {
			return err
		}
		if err := tx.VerifyBeside(); err != nil {
			return err
		}
		v.Rows, err = replay.Check(tx)
		return err
	})
	if pinned {
		v.Key, v.Pinned = o.Key, true
	}
	return v, err
}

// VerifyFile checks an export.
func VerifyFile(path string, o VerifyOptions) (audit.Report, error) {
	notes, key, err := notesOf(o.Checkpoints)
	if err != nil {
		return audit.Report{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return audit.Report{}, err
	}
	defer func() { _ = f.Close() }() // it was only read
	pinned := o.Key != ""
	if !pinned && key != "" {
		o.Key = key // it came with the checkpoint, which was kept elsewhere
		pinned = true
	}
	if !pinned && len(notes) > 0 {
		if o.Key, err = trailerKey(f); err != nil {
			return audit.Report{}, err
		}
	}
	report, err := audit.VerifyExport(f, audit.VerifyOptions{Key: o.Key, Checkpoints: notes})
	report.Pinned = pinned
	return report, err
}

// notesOf returns the signed notes of checkpoints, and the key that came with
// one of them.
func notesOf(files [][]byte) (notes [][]byte, key string, err error) {
	for _, f := range files {
		if !bytes.HasPrefix(bytes.TrimSpace(f), []byte("{")) {
			notes = append(notes, f)
			continue
		}
		var cp api.Checkpoint
		if err := json.Unmarshal(f, &cp); err != nil {
			return nil, "", fmt.Errorf("reading the checkpoint: %w", err)
		}
		notes = append(notes, []byte(cp.Checkpoint))
		key = cp.Key
	}
	return notes, key, nil
}

// trailerKey reads the key at the end of an export, and goes back to its
// beginning.
func trailerKey(f io.ReadSeeker) (string, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	from := max(0, end-(64<<10))
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return "", err
	}
	tail, err := io.ReadAll(f)
	if err != nil {
		return "", err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	tail = bytes.TrimRight(tail, "\n")
	var trailer audit.ExportTrailer
	if err := json.Unmarshal(tail[bytes.LastIndexByte(tail, '\n')+1:], &trailer); err != nil || trailer.Key == "" {
		return "", errors.New("the export has no key at its end: name the trusted key with --key")
	}
	return trailer.Key, nil
}
