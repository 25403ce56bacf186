package wire

import "encoding/binary"

const (
	header = 5 // the type and the length of a message

	// MaxStatement is the longest Query or Parse message, in bytes.
	MaxStatement = 16 << 20
	// maxSmall is the longest of the messages that PostgreSQL takes for small
	// (PQ_SMALL_MESSAGE_LIMIT).
	maxSmall = 10_000
	// maxLarge is the longest message that PostgreSQL reads (PQ_LARGE_MESSAGE_LIMIT).
	maxLarge = 1<<30 - 2
	// maxNames is how much of a Bind is kept: the names of its portal and of its
	// statement are in there.
	maxNames = 1024
	// maxReport is how much of an ErrorResponse or NoticeResponse is kept.
	maxReport = 64 << 10
	// maxToken is the longest answer of a client that proves who it is
	// (PG_MAX_AUTH_TOKEN_LENGTH).
	maxToken = 65_535

	kept = 64 << 10 // a buffer that grew beyond this is not kept for the next message
)

// rule is what is done with messages of one type.
type rule struct {
	known bool
	head  int // this much of the body is gathered before any of it is handed on
	limit int // and this much is the most that it may have
}

type rules [256]rule

// Part is a stretch of a stream of messages: one whole message, a run of whole
// messages of one type, or a piece of a long one. The zero Part says that the
// bytes were taken in and that more are needed.
type Part struct {
	Type byte
	// Raw is what to forward. It is part of the chunk, unless Held; then it
	// is the scanner's and valid until the next call of Next.
	Raw []byte
	// Body is what the message says, without its header, where one message
	// begins in this part: all of it, if Whole, or how much of it there is.
	Body  []byte
	Count int  // messages that begin in this part
	Whole bool // all of them end in it too
	Held  bool // Raw is not part of the chunk: some of it came with earlier ones
}

// Scanner finds the messages in what one side sends. Framing does not depend on
// the state of a session, so that a gateway and a server cannot disagree about
// it. What a gateway has to look at comes whole; the rest goes through as it is
// read, however long it is.
type Scanner struct {
	// Run is the most messages that are put into one part; 0 is no limit.
	Run int

	rules *rules
	hold  []byte // what was taken in of a message and not handed on
	full  bool   // hold was handed on
	typ   byte
	left  int // bytes still to come of the message that was handed on in part
	err   error
}

// Clients scans what a client sends after it has logged in, Servers what a
// server sends.
func Clients() *Scanner { return &Scanner{rules: &fromClient} }

// Servers scans what a server sends.
func Servers() *Scanner { return &Scanner{rules: &fromServer} }

// Boundary reports whether what was handed on so far ends with a whole message,
// so that a message of ours can follow it.
func (s *Scanner) Boundary() bool { return s.left == 0 }

// Idle reports whether nothing of a message has come yet.
func (s *Scanner) Idle() bool { return s.left == 0 && (s.full || len(s.hold) == 0) }

// Completes reports whether chunk, which comes next, is the end of a message that
// is handed on in one piece of more than n bytes.
func (s *Scanner) Completes(chunk []byte, n int) bool {
	if s.full || len(s.hold) < header {
		return false
	}
	r, size, err := s.look(s.hold)
	need := min(r.head, size-header) + header
	return err == nil && need > n && len(chunk) >= need-len(s.hold)
}

// Next returns the next part of the stream, of which chunk are the bytes that
// were read last, and what remains of chunk: to be given to Next again until
// nothing remains. An error is an *Error; it stays.
func (s *Scanner) Next(chunk []byte) (part Part, rest []byte, err error) {
	switch {
	case s.err != nil:
		return Part{}, nil, s.err
	case len(chunk) == 0:
		return Part{}, nil, nil
	case s.left > 0:
		n := min(s.left, len(chunk))
		s.left -= n
		return Part{Type: s.typ, Raw: chunk[:n], Whole: s.left == 0}, chunk[n:], nil
	}
	if s.full {
		s.release()
	}
	if len(s.hold) > 0 || len(chunk) < header {
		return s.gather(chunk)
	}
	r, size, err := s.look(chunk)
	if err != nil {
		return Part{}, nil, s.fail(err)
	}
	if need := min(r.head, size-header) + header; len(chunk) < need {
		return s.gather(chunk)
	}
	if size > len(chunk) {
		s.typ, s.left = chunk[0], size-len(chunk)
		return Part{Type: chunk[0], Raw: chunk, Body: chunk[header:], Count: 1}, nil, nil
	}
	part = Part{Type: chunk[0], Raw: chunk[:size], Body: chunk[header:size], Count: 1, Whole: true}
	if r.head == 0 {
		s.run(&part, chunk)
	}
	return part, chunk[len(part.Raw):], nil
}

// run puts the whole messages of the same type that follow in the chunk into the
// part. Rows come in thousands.
func (s *Scanner) run(part *Part, chunk []byte) {
	end, limit := len(part.Raw), s.rules[part.Type].limit
	for part.Count != s.Run && len(chunk)-end >= header && chunk[end] == part.Type {
		length := int(binary.BigEndian.Uint32(chunk[end+1:]))
		if length < 4 || length-4 > limit || len(chunk)-end <= length {
			break // the next call says what is to be said about it
		}
		end += length + 1
		part.Count++
	}
	if part.Count > 1 {
		part.Raw, part.Body = chunk[:end], nil
	}
}

// gather takes bytes in until a message can be handed on.
func (s *Scanner) gather(chunk []byte) (Part, []byte, error) {
	if n := header - len(s.hold); n > 0 {
		n = min(n, len(chunk))
		s.hold = append(s.hold, chunk[:n]...)
		chunk = chunk[n:]
		if len(s.hold) < header {
			return Part{}, nil, nil
		}
	}
	r, size, err := s.look(s.hold)
	if err != nil {
		return Part{}, nil, s.fail(err)
	}
	need := min(r.head, size-header) + header
	n := min(need-len(s.hold), len(chunk))
	s.hold = append(s.hold, chunk[:n]...) // grows with what came, not with what was announced
	chunk = chunk[n:]
	if len(s.hold) < need {
		return Part{}, nil, nil
	}
	s.full, s.typ, s.left = true, s.hold[0], size-need
	return Part{Type: s.typ, Raw: s.hold, Body: s.hold[header:], Count: 1, Whole: s.left == 0, Held: true}, chunk, nil
}

// look reads the header of a message: its rule, and its size with the header.
func (s *Scanner) look(b []byte) (rule, int, error) {
	r, length := s.rules[b[0]], binary.BigEndian.Uint32(b[1:header])
	switch {
	case !r.known:
		return rule{}, 0, s.unknown(b[0])
	case length < 4:
		return rule{}, 0, violation("message %q has the invalid length %d", b[0], length)
	case uint64(length)-4 > uint64(r.limit):
		return rule{}, 0, violation("message %q has %d bytes; at most %d are taken", b[0], length, r.limit+4)
	}
	return r, int(length) + 1, nil
}

func (s *Scanner) unknown(typ byte) error {
	switch {
	case s.rules == &fromClient && typ == 'F':
		return fatal(CodeFeature, "function calls of the protocol are refused; call the function in a SELECT")
	case s.rules == &fromServer && typ == 'W':
		return fatal(CodeFeature, "replication is refused")
	}
	return violation("message type %q is not known here", typ)
}

func (s *Scanner) fail(err error) error {
	s.release()
	s.err = err
	return err
}

func (s *Scanner) release() {
	if s.full = false; cap(s.hold) > kept {
		s.hold = nil
	}
	s.hold = s.hold[:0]
}
