package smtp

import (
	"bytes"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"strings"

	"github.com/daypass/daypass/internal/notify"
)

// maxSubject is in characters; encoded they stay far under the 998 bytes of a
// line (RFC 5322 §2.1.1) because the encoder's words are folded.
const maxSubject = 150

// compose writes the mail (RFC 5322). All lines end in CRLF. Auto-Submitted
// (RFC 3834) keeps out-of-office programs from answering.
func compose(from mail.Address, to string, m notify.Message) ([]byte, error) {
	var b bytes.Buffer
	header := func(name, value string) {
		// Whatever came this far with a line end in it ends no header.
		value = strings.NewReplacer("\r\n ", "\r\n ", "\r", " ", "\n", " ").Replace(value)
		b.WriteString(name + ": " + value + "\r\n")
	}
	header("From", from.String())
	header("To", (&mail.Address{Address: to}).String())
	header("Subject", subject(m.Subject))
	header("Date", m.At.UTC().Format("Mon, 02 Jan 2006 15:04:05 +0000"))
	header("Message-ID", messageID(m.ID, from.Address))
	header("Auto-Submitted", "auto-generated")
	header("MIME-Version", "1.0")
	header("Content-Type", "text/plain; charset=utf-8")
	header("Content-Transfer-Encoding", "quoted-printable")
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	if _, err := w.Write([]byte(text(m.Text))); err != nil {
		return nil, fmt.Errorf("encoding the mail: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("encoding the mail: %w", err)
	}
	return b.Bytes(), nil
}

// subject encodes by RFC 2047 and folds between the encoded words.
func subject(s string) string {
	s = mime.QEncoding.Encode("utf-8", notify.Plain(s, maxSubject))
	return strings.ReplaceAll(s, "?= =?", "?=\r\n =?")
}

// text normalises line ends to CRLF; the lines themselves are Plain already.
func text(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	return strings.ReplaceAll(s, "\n", "\r\n")
}

// messageID is the same in every attempt at one message, so that a mailbox, or
// a person, can tell a repetition. Bytes that it may not hold are left out.
func messageID(id, from string) string {
	keep := func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
			return r
		}
		return -1
	}
	domain := from[strings.LastIndexByte(from, '@')+1:]
	return "<" + strings.Map(keep, id) + "@" + strings.Map(keep, domain) + ">"
}
