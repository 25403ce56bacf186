package audit

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"

	"github.com/daypass/daypass/api"
)

// MaxLine is the longest line of an export that is read, in bytes.
const MaxLine = 1 << 20

// VerifyOptions says what VerifyExport trusts.
type VerifyOptions struct {
	Key         string   // the trusted vkey; "" takes the export's own word for it, and the report says so
	OlderKeys   []string // trusted for Checkpoints only: those before a rotation
	Checkpoints [][]byte // signed checkpoints of the log that were kept elsewhere
}

// VerifyExport checks an export: NDJSON lines as ExportEvent writes them, from
// seq 1 without a gap, and the trailer. The hashed bytes in a line are what
// counts, and all else in the line must be what these bytes say, byte for byte;
// a visible reason is held against its digest where the line has its salt.
// What is wrong with an entry is a *Fault, other errors are of reading. It
// keeps one line in memory.
func VerifyExport(r io.Reader, opts VerifyOptions) (Report, error) {
	x := &exportReader{opts: opts}
	if opts.Key != "" {
		if err := x.begin(opts.Key); err != nil {
			return Report{}, err
		}
	} else if len(opts.Checkpoints) > 0 {
		return Report{}, errors.New("audit: a checkpoint is of no use without the key that it is checked with: name the trusted key")
	} else if err := x.begin(""); err != nil {
		return Report{}, err
	}
	in := bufio.NewReaderSize(r, 64<<10)
	var long []byte // a line that does not fit the reader's buffer
	for {
		line, err := in.ReadSlice('\n')
		if len(long) > 0 || errors.Is(err, bufio.ErrBufferFull) {
			if long = append(long, line...); len(long) > MaxLine {
				return Report{}, x.fault("its line is longer than %d bytes", MaxLine)
			}
			if errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			line, long = long, long[:0]
		}
		if err != nil && err != io.EOF {
			return Report{}, fmt.Errorf("reading the export: %w", err)
		}
		if len(line) > 0 {
			if err := x.line(bytes.TrimSuffix(line, []byte("\n"))); err != nil {
				return Report{}, err
			}
		}
		if err == io.EOF {
			return x.end()
		}
	}
}

type exportReader struct {
	opts      VerifyOptions
	v         *Verifier
	trailer   *ExportTrailer
	unchecked int64
}

func (x *exportReader) begin(key string) error {
	keys := slices.Clone(x.opts.OlderKeys)
	if key != "" {
		keys = append(keys, key)
	}
	var err error
	x.v, err = NewVerifier(VerifierOptions{Keys: keys, Checkpoints: x.opts.Checkpoints})
	return err
}

// fault names the entry that should be where the reader is.
func (x *exportReader) fault(format string, args ...any) error {
	return &Fault{x.v.seq + 1, fmt.Sprintf(format, args...)}
}

func (x *exportReader) line(line []byte) error {
	if x.trailer != nil {
		return x.fault("something follows the checkpoint, which must come last")
	}
	if bytes.HasPrefix(line, []byte(`{"checkpoint":`)) {
		var t ExportTrailer
		if err := json.Unmarshal(line, &t); err != nil || !sameJSON(line, t) {
			return x.fault("the last line is not as it was written")
		}
		x.trailer = &t
		return nil
	}
	var got api.Event
	if err := json.Unmarshal(line, &got); err != nil {
		return x.fault("its line is not an event: %v", err)
	}
	if got.Leaf == nil {
		return x.fault("its line lacks the hashed bytes: only an export with them can be verified")
	}
	seq, raw := x.v.seq+1, []byte(got.Leaf.Bytes)
	e, s, err := decode(raw)
	if err != nil {
		return x.fault("its hashed bytes are not those of an entry: %v", err)
	}
	if seq == 1 && e.Seq > 1 {
		return x.fault("is missing: the export begins at entry %d, and can be tied to its checkpoint only when it begins at 1", e.Seq)
	}
	if err := x.reason(got, e); err != nil {
		return err
	}
	leaf := Leaf{Index: got.Leaf.Index, First: got.Leaf.First, Count: got.Leaf.Count}
	want := eventOf(raw, e, s, &leaf, got.Reason)
	want.Leaf.ReasonSalt = got.Leaf.ReasonSalt
	if !sameJSON(line, want) {
		return x.fault("its line is not what its hashed bytes say%s", difference(got, want))
	}
	return x.v.Add(Row{Seq: e.Seq, Leaf: leaf, Bytes: raw})
}

// reason holds a visible reason against the digest in the hashed bytes.
func (x *exportReader) reason(got api.Event, e *Entry) error {
	switch {
	case got.Reason == nil && got.Leaf.ReasonSalt == "":
		return nil
	case got.Reason == nil || e.Reason.Digest == "":
		return x.fault("its line shows a reason or a salt where its hashed bytes have none")
	case got.Leaf.ReasonSalt == "":
		x.unchecked++
		return nil
	}
	raw, err := hex.DecodeString(got.Leaf.ReasonSalt)
	if err != nil || len(raw) != 16 {
		return x.fault("its reason_salt is not 32 hex digits")
	}
	if NewText([16]byte(raw), *got.Reason) != e.Reason {
		return x.fault("its reason is not the text that was recorded")
	}
	return nil
}

func (x *exportReader) end() (Report, error) {
	if x.trailer == nil && len(x.opts.Checkpoints) > 0 {
		return x.endWithout()
	}
	if x.trailer == nil {
		return Report{}, x.fault("is missing, or the last line with the checkpoint is: the end of the export was cut off")
	}
	key := x.opts.Key
	if key == "" {
		key = x.trailer.Key
		if _, err := ParseVerifier(key); err != nil {
			return Report{}, &Fault{1, fmt.Sprintf("cannot be vouched for: %v", err)}
		}
		x.v.opts.Keys = []string{key}
	} else if key != x.trailer.Key {
		return Report{}, &Fault{x.v.report.Vouched + 1, "cannot be vouched for: the export names another key than the trusted one"}
	} else {
		x.v.opts.Keys = []string{key}
	}
	report, err := x.v.Finish([]byte(x.trailer.Checkpoint))
	if err != nil {
		return Report{}, err
	}
	report.Key, report.Pinned, report.UncheckedReasons = key, x.opts.Key != "", x.unchecked
	return report, nil
}

// endWithout ends an export that has no last line of its own, such as the
// API's NDJSON kept as it came: the checkpoints that were given vouch for what
// they cover, and the report says for how much that is.
func (x *exportReader) endWithout() (Report, error) {
	report, err := x.v.Finish()
	if err != nil {
		return Report{}, err
	}
	report.Key, report.Pinned, report.UncheckedReasons = x.opts.Key, true, x.unchecked
	return report, nil
}

// sameJSON reports whether line is v as encoding/json writes it, with or
// without its escapes for HTML: anything looser would let a byte be changed.
func sameJSON(line []byte, v any) bool {
	var buf bytes.Buffer
	for _, html := range []bool{true, false} {
		buf.Reset()
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(html)
		if enc.Encode(v) == nil && bytes.Equal(bytes.TrimSuffix(buf.Bytes(), []byte("\n")), line) {
			return true
		}
	}
	return false
}

// difference names the first visible field that differs, for a person to read.
func difference(got, want api.Event) string {
	x, y := reflect.ValueOf(got), reflect.ValueOf(want)
	for i := range x.NumField() {
		if !reflect.DeepEqual(x.Field(i).Interface(), y.Field(i).Interface()) {
			name, _, _ := bytes.Cut([]byte(x.Type().Field(i).Tag.Get("json")), []byte(","))
			return fmt.Sprintf(": %s differs", name)
		}
	}
	return ""
}
