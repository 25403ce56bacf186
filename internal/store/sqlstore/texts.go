package sqlstore

import (
	"fmt"

	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/store/sqlstore/db"
)

// ownText is a text that this transaction has written itself: who has just
// asked is shown what they asked.
type ownText struct {
	text string
	salt [16]byte
}

// PutText keeps personal text beside the log, under its salted digest. subject
// is the person who may have it erased.
func (t *Tx) PutText(digest string, salt [16]byte, text, subject string) error {
	_, err := t.write("keeping a text", func() (int64, error) {
		return t.q.InsertText(t.ctx, db.InsertTextParams{Digest: digest, Salt: salt[:], Body: text, Subject: subject})
	})
	failpoint.Hit("store.text.after")
	if err == nil {
		if t.texts == nil {
			t.texts = map[string]ownText{}
		}
		t.texts[digest] = ownText{text, salt}
	}
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
	if own, ok := t.texts[digest]; ok {
		return own.text, own.salt, nil
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
	delete(t.texts, digest)
	_, err := t.write("erasing a text", func() (int64, error) { return t.q.DeleteText(t.ctx, digest) })
	return err
}

// EraseTextsOf forgets all texts of a person and returns how many there were.
func (t *Tx) EraseTextsOf(subject string) (int, error) {
	clear(t.texts)
	n, err := t.write("erasing texts", func() (int64, error) { return t.q.DeleteTextsOf(t.ctx, subject) })
	return int(n), err
}

// TextsOf returns the digests of what a person wrote.
func (t *Tx) TextsOf(subject string) ([]string, error) {
	return read(t, "looking for texts", func() ([]string, error) { return t.q.TextsOf(t.ctx, subject) })
}

// ReasonsOf returns the digests of the texts that entries about a request have,
// but for why an earlier erasure was.
func (t *Tx) ReasonsOf(request string) ([]string, error) {
	rows, err := read(t, "looking for texts of "+request, func() ([]*string, error) { return t.q.ReasonsOf(t.ctx, &request) })
	var out []string
	for _, d := range rows {
		if d != nil {
			out = append(out, *d)
		}
	}
	return out, err
}

// BlankReplies puts another answer in the place of the kept ones that match,
// and returns how many there were.
func (t *Tx) BlankReplies(status int, body []byte, match func(principal string, body []byte) bool) (int, error) {
	const act = "blanking kept answers"
	rows, err := read(t, act, func() ([]db.AllRepliesRow, error) { return t.q.AllReplies(t.ctx) })
	n := 0
	for _, row := range rows {
		if !match(row.Principal, row.Body) {
			continue
		}
		n++
		_, err := t.write(act, func() (int64, error) {
			return t.q.BlankReply(t.ctx, db.BlankReplyParams{Status: int64(status), Body: body, Principal: row.Principal, Route: row.Route, Key: row.Key})
		})
		if err != nil {
			return n, err
		}
	}
	return n, err
}

// ForgetJobErrors forgets what went wrong with jobs: a receiver may have
// repeated what it was sent.
func (t *Tx) ForgetJobErrors() error {
	_, err := t.write("forgetting errors of jobs", func() (int64, error) { return t.q.ForgetJobErrors(t.ctx) })
	return err
}
