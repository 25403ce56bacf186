package sqlstore

import (
	"fmt"

	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/store/sqlstore/db"
)

// PutText keeps personal text beside the log, under its salted digest. subject
// is the person who may have it erased.
func (t *Tx) PutText(digest string, salt [16]byte, text, subject string) error {
	_, err := t.write("keeping a text", func() (int64, error) {
		return t.q.InsertText(t.ctx, db.InsertTextParams{Digest: digest, Salt: salt[:], Body: text, Subject: subject})
	})
	failpoint.Hit("store.text.after")
	return err
}

// Text returns a text, "" when it was erased or never was.
func (t *Tx) Text(digest string) (string, error) {
	text, _, err := t.SaltedText(digest)
	return text, err
}

// SaltedText returns a text and the salt that ties it to its digest; zero when
// it was erased or never was.
func (t *Tx) SaltedText(digest string) (text string, salt [16]byte, err error) {
	if digest == "" {
		return "", salt, nil
	}
	row, err := orNone(read(t, "reading a text", func() (db.TextRow, error) { return t.q.Text(t.ctx, digest) }))
	if err != nil || row.Salt == nil {
		return "", salt, err
	}
	if len(row.Salt) != len(salt) {
		return "", salt, fmt.Errorf("reading a text: its salt has %d bytes", len(row.Salt))
	}
	return row.Body, [16]byte(row.Salt), nil
}

// EraseText forgets a text and its salt. The digest in the log stays and says
// nothing any more, so every proof still holds.
func (t *Tx) EraseText(digest string) error {
	_, err := t.write("erasing a text", func() (int64, error) { return t.q.DeleteText(t.ctx, digest) })
	return err
}

// EraseTextsOf forgets all texts of a person and returns how many there were.
func (t *Tx) EraseTextsOf(subject string) (int, error) {
	n, err := t.write("erasing texts", func() (int64, error) { return t.q.DeleteTextsOf(t.ctx, subject) })
	return int(n), err
}
