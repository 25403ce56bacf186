package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/daypass/daypass/api"
)

// exportOf writes m as an export, the reason of an entry being its ID.
func exportOf(t fatal, m *memory) []byte {
	t.Helper()
	var out bytes.Buffer
	for i, r := range m.rows {
		e, err := DecodeEntry(r.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		var reason *string
		salt := &[16]byte{byte(i)}
		if e.Reason.Digest != "" {
			text := reasonOf(e.ID)
			reason = &text
		}
		line, err := ExportEvent(r.Bytes, r.Leaf, reason, salt)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(line, '\n'))
	}
	end, err := ExportEnd(m.checkpoint(), m.vkey)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(append(end, '\n'))
	return out.Bytes()
}

func reasonOf(id string) string { return "because of <" + id + "> & \u2028 more" }

// exportLog is a small log with a batch, reasons and hostile text.
func exportLog(t fatal) *memory {
	m := newMemory(t)
	first := plain(1)
	first.Reason = NewText([16]byte{0}, reasonOf(first.ID))
	m.append(first)
	hostile := plain(2)
	hostile.Details = map[string]any{"path": "a\n\x00\xff<b>", "$cut": "\u2028\x1b"}
	second := plain(3)
	second.Reason = NewText([16]byte{2}, reasonOf(second.ID))
	m.append(hostile, second)
	m.append(plain(4))
	return m
}

func TestExportIsVerified(t *testing.T) {
	m := exportLog(t)
	export := exportOf(t, m)
	report, err := VerifyExport(bytes.NewReader(export), VerifyOptions{Key: m.vkey})
	if err != nil {
		t.Fatal(err)
	}
	if report.Head != m.head || report.Vouched != 4 || !report.Pinned || report.Key != m.vkey || report.UncheckedReasons != 0 || strings.Contains(report.String(), "own word") {
		t.Errorf("%+v", report)
	}
	report, err = VerifyExport(bytes.NewReader(export), VerifyOptions{})
	if err != nil || report.Pinned || !strings.Contains(report.String(), "own word") {
		t.Errorf("without a trusted key: %+v, %v", report, err)
	}
	if bytes.Count(export, []byte("\n")) != 5 {
		t.Errorf("%d lines, want one for each entry and the checkpoint", bytes.Count(export, []byte("\n")))
	}
	empty := newMemory(t)
	if report, err := VerifyExport(bytes.NewReader(exportOf(t, empty)), VerifyOptions{Key: empty.vkey}); err != nil || report.Head != (Head{}) {
		t.Errorf("an empty log: %+v, %v", report, err)
	}
	// As another encoder of the same wire type writes it: without HTML escapes.
	if bare := unescapeHTML(t, export); bytes.Equal(bare, export) {
		t.Error("the export has nothing to escape")
	} else if _, err := VerifyExport(bytes.NewReader(bare), VerifyOptions{Key: m.vkey}); err != nil {
		t.Errorf("without HTML escapes: %v", err)
	}
}

// A line may be longer than any buffer on the way.
func TestExportOfLongLines(t *testing.T) {
	m := newMemory(t)
	for i := range 3 {
		e := plain(i)
		e.Scope = must[json.RawMessage](t)(json.Marshal(map[string]string{"a": strings.Repeat(`\`, MaxValue/2-10)}))
		e.Details = map[string]any{"a": strings.Repeat(`\`, MaxDetails/4), "b": strings.Repeat(`"`, MaxDetails/8)}
		m.append(e)
	}
	export := exportOf(t, m)
	longest := 0
	for line := range bytes.Lines(export) {
		longest = max(longest, len(line))
	}
	if longest < 80<<10 || longest > MaxLine {
		t.Fatalf("the longest line has %d bytes", longest)
	}
	report, err := VerifyExport(bytes.NewReader(export), VerifyOptions{Key: m.vkey})
	if err != nil || report.Head.Seq != 3 {
		t.Errorf("%+v, %v", report, err)
	}
	export[bytes.LastIndexByte(export[:len(export)/2], '\\')] = '/'
	if _, err := VerifyExport(bytes.NewReader(export), VerifyOptions{Key: m.vkey}); faultOf(t, err).Seq != 2 {
		t.Errorf("a changed byte: %v", err)
	}
}

func unescapeHTML(t fatal, export []byte) []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	for line := range bytes.Lines(export) {
		if bytes.HasPrefix(line, []byte(`{"checkpoint"`)) {
			out.Write(line)
			continue
		}
		var v api.Event
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		if err := enc.Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// Invariant: A31
// Attack: AUD-01
func TestEveryChangedByteOfAnExportIsNamed(t *testing.T) {
	m := exportLog(t)
	export := exportOf(t, m)
	lines := int64(bytes.Count(export, []byte("\n")))
	line := int64(1)
	for i, was := range export {
		// A flipped bit, and one of the characters that JSON is lax about, in turn.
		for _, now := range []byte{was ^ 1<<(i%8), " \n\t\"0}A"[i%7]} {
			if now == was {
				continue
			}
			b := bytes.Clone(export)
			b[i] = now
			_, err := VerifyExport(bytes.NewReader(b), VerifyOptions{Key: m.vkey})
			f := faultOf(t, err)
			switch {
			case line < lines && f.Seq != line:
				t.Fatalf("byte %d of line %d, %q for %q: named %v", i, line, now, was, f)
			case line == lines && f.Seq != lines && f.Seq != 1:
				t.Fatalf("byte %d of the checkpoint, %q for %q: named %v", i, now, was, f)
			}
		}
		if was == '\n' {
			line++
		}
	}
}

// Invariant: A31
// Attack: AUD-01, AUD-02
func TestChangedLinesOfAnExportAreNamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMemory(t)
		drawLog(t, m, rapid.IntRange(2, 8).Draw(t, "leaves"))
		lines := slices.Collect(bytes.Lines(exportOf(t, m)))
		i := rapid.IntRange(0, len(lines)-2).Draw(t, "line")
		want := int64(i + 1)
		switch rapid.IntRange(0, 4).Draw(t, "change") {
		case 0:
			lines = slices.Delete(lines, i, i+1)
		case 1:
			lines = slices.Insert(lines, i+1, lines[i])
		case 2:
			j := rapid.IntRange(0, len(lines)-2).Filter(func(j int) bool { return j != i }).Draw(t, "other")
			lines[i], lines[j] = lines[j], lines[i]
			want = int64(min(i, j) + 1)
		case 3: // cut off, checkpoint and all
			lines = lines[:i]
		case 4: // cut off, checkpoint kept
			lines = append(lines[:i:i], lines[len(lines)-1])
		}
		_, err := VerifyExport(bytes.NewReader(bytes.Join(lines, nil)), VerifyOptions{Key: m.vkey})
		if f := faultOf(t, err); f.Seq != want {
			t.Fatalf("named %v, want entry %d", f, want)
		}
	})
}

// Someone who changes an entry coherently, with its bytes and what shows of
// them, is found by the checkpoint; a checkpoint kept elsewhere narrows it down.
//
// Invariant: A31
func TestACoherentForgeryOfAnExportIsFound(t *testing.T) {
	m := newMemory(t)
	for i := range 3 {
		m.append(plain(i))
	}
	kept := m.checkpoint()
	for i := range 3 {
		m.append(plain(3 + i))
	}
	export := exportOf(t, m)
	forged := bytes.ReplaceAll(export, []byte("/v1/orders/4"), []byte("/v1/orders/7"))
	_, err := VerifyExport(bytes.NewReader(forged), VerifyOptions{Key: m.vkey})
	if f := faultOf(t, err); f.Seq != 1 || !strings.Contains(f.What, "cannot be vouched for") {
		t.Errorf("named %v", f)
	}
	_, err = VerifyExport(bytes.NewReader(forged), VerifyOptions{Key: m.vkey, Checkpoints: [][]byte{kept}})
	if f := faultOf(t, err); f.Seq != 4 {
		t.Errorf("with an earlier checkpoint: named %v, want entry 4", f)
	}
	if _, err := VerifyExport(bytes.NewReader(export), VerifyOptions{Checkpoints: [][]byte{kept}}); err == nil {
		t.Error("took a checkpoint without a key to check it with")
	}

	// A forger with a key of his own convinces only those who name none.
	mallory := newMemory(t)
	mallory.signer, mallory.vkey = newKey(t, 66)
	mallory.append(plain(1))
	if _, err := VerifyExport(bytes.NewReader(exportOf(t, mallory)), VerifyOptions{Key: m.vkey}); err == nil {
		t.Error("took an export signed with another key")
	}
	// Nor does the right key's name beside a foreign signature.
	swapped := bytes.ReplaceAll(exportOf(t, mallory), []byte(mallory.vkey), []byte(m.vkey))
	if _, err := VerifyExport(bytes.NewReader(swapped), VerifyOptions{}); err == nil {
		t.Error("took a signature by another key than the one named")
	}
}

func TestExportsThatCannotBeVerified(t *testing.T) {
	m := exportLog(t)
	export := exportOf(t, m)
	lines := slices.Collect(bytes.Lines(export))
	longer := newMemory(t)
	longer.append(plain(1))
	early := longer.checkpoint()
	longer.append(plain(2))
	beyond := exportOf(t, longer)
	beyond = slices.Concat(slices.Collect(bytes.Lines(beyond))[0], slices.Collect(bytes.Lines(beyond))[1], must[[]byte](t)(ExportEnd(early, longer.vkey)))
	var visible api.Event
	if err := json.Unmarshal(lines[0], &visible); err != nil {
		t.Fatal(err)
	}
	visible.Leaf = nil
	for name, c := range map[string]struct {
		export []byte
		seq    int64
		says   string
	}{
		"nothing":              {nil, 1, "cut off"},
		"a later start":        {bytes.Join(lines[1:], nil), 1, "begins at entry 2"},
		"beyond its end":       {beyond, 2, "behind the last checkpoint"},
		"a line after the end": {append(bytes.Clone(export), lines[0]...), 5, "follows the checkpoint"},
		"no hashed bytes":      {must[[]byte](t)(json.Marshal(visible)), 1, "lacks the hashed bytes"},
		"a long line":          {bytes.Repeat([]byte("x"), MaxLine+2), 1, "longer than"},
		"not JSON":             {[]byte("hello\n"), 1, "not an event"},
		"an empty line":        {slices.Concat([]byte("\n"), export), 1, "not an event"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := VerifyExport(bytes.NewReader(c.export), VerifyOptions{})
			if f := faultOf(t, err); f.Seq != c.seq || !strings.Contains(f.What, c.says) {
				t.Errorf("named %v, want entry %d: …%s…", f, c.seq, c.says)
			}
		})
	}
	if _, err := VerifyExport(io.MultiReader(bytes.NewReader(lines[0]), broken{}), VerifyOptions{}); err == nil || !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("a read error: %v", err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, fmt.Errorf("disk on fire") }

func TestReasonsOfAnExport(t *testing.T) {
	m := exportLog(t)
	lines := slices.Collect(bytes.Lines(exportOf(t, m)))
	edit := func(f func(*api.Event)) []byte {
		var l api.Event
		if err := json.Unmarshal(lines[0], &l); err != nil {
			t.Fatal(err)
		}
		f(&l)
		b := must[[]byte](t)(json.Marshal(l))
		return slices.Concat(append(b, '\n'), bytes.Join(lines[1:], nil))
	}
	other := "another reason"
	if _, err := VerifyExport(bytes.NewReader(edit(func(l *api.Event) { l.Reason = &other })), VerifyOptions{Key: m.vkey}); faultOf(t, err).Seq != 1 {
		t.Error(err)
	}
	if _, err := VerifyExport(bytes.NewReader(edit(func(l *api.Event) { l.Leaf.ReasonSalt = "zz" })), VerifyOptions{Key: m.vkey}); faultOf(t, err).Seq != 1 {
		t.Error(err)
	}
	if _, err := VerifyExport(bytes.NewReader(edit(func(l *api.Event) { l.Reason = nil })), VerifyOptions{Key: m.vkey}); faultOf(t, err).Seq != 1 {
		t.Error("a salt without a reason:", err)
	}
	erased, err := VerifyExport(bytes.NewReader(edit(func(l *api.Event) { l.Reason, l.Leaf.ReasonSalt = nil, "" })), VerifyOptions{Key: m.vkey})
	if err != nil || erased.UncheckedReasons != 0 {
		t.Errorf("erased: %+v, %v", erased, err)
	}
	bare, err := VerifyExport(bytes.NewReader(edit(func(l *api.Event) { l.Leaf.ReasonSalt = "" })), VerifyOptions{Key: m.vkey})
	if err != nil || bare.UncheckedReasons != 1 || !strings.Contains(bare.String(), "1 reasons") {
		t.Errorf("without its salt: %+v, %v", bare, err)
	}
	// An entry without a reason cannot be given one.
	var l api.Event
	if err := json.Unmarshal(lines[3], &l); err != nil {
		t.Fatal(err)
	}
	l.Reason = &other
	lines[3] = append(must[[]byte](t)(json.Marshal(l)), '\n')
	if _, err := VerifyExport(bytes.NewReader(bytes.Join(lines, nil)), VerifyOptions{Key: m.vkey}); faultOf(t, err).Seq != 4 {
		t.Error(err)
	}
}

func TestEventOfShowsTheWire(t *testing.T) {
	m := exportLog(t)
	why := "why"
	ev, err := EventOf(m.rows[1].Bytes, nil, &why)
	if err != nil {
		t.Fatal(err)
	}
	b := must[[]byte](t)(json.Marshal(ev))
	want := `{"id":"evt_2","seq":2,"time":"2026-11-23T14:00:02.123Z","type":"access.allowed","actor":"user:ana","on_behalf_of":null,"request":null,"grant":null,"session":null,` +
		`"resource":"orders-api","scope":{"methods":["GET"]},"outcome":"allowed","reason":"why","source":{"ip":"192.0.2.1","channel":"gateway:http"},` +
		`"details":{"$$cut":"\u2028\u001b","path":{"$hex":"610a00ff3c623e"}}}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	if _, err := EventOf([]byte("{}"), nil, nil); err == nil {
		t.Error("made an event of no entry")
	}
}

// What the API streams, kept as it came, has no last line of its own: a
// checkpoint that was kept elsewhere vouches for it.
func TestAnExportWithoutItsLastLine(t *testing.T) {
	m := exportLog(t)
	export := exportOf(t, m)
	lines := bytes.SplitAfter(bytes.TrimSuffix(export, []byte("\n")), []byte("\n"))
	bare := bytes.Join(lines[:4], nil)
	if _, err := VerifyExport(bytes.NewReader(bare), VerifyOptions{Key: m.vkey}); err == nil {
		t.Error("whole without anything that vouches for it")
	}
	var trailer ExportTrailer
	if err := json.Unmarshal(lines[4], &trailer); err != nil {
		t.Fatal(err)
	}
	opts := VerifyOptions{Key: m.vkey, Checkpoints: [][]byte{[]byte(trailer.Checkpoint)}}
	report, err := VerifyExport(bytes.NewReader(bare), opts)
	if err != nil || report.Vouched != 4 || !report.Pinned {
		t.Errorf("%+v, %v", report, err)
	}
	if _, err := VerifyExport(bytes.NewReader(bytes.Join(lines[:3], nil)), opts); faultOf(t, err).Seq != 4 {
		t.Errorf("a lost tail: %v", err)
	}
	changed := bytes.Replace(bare, []byte("user:"), []byte("user;"), 1)
	if _, err := VerifyExport(bytes.NewReader(changed), opts); err == nil {
		t.Error("a changed byte went unnoticed")
	}
}
