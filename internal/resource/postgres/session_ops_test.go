package pgkind

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/resource/postgres/gate"
	"pgregory.net/rapid"
)

// play runs a script against ops: what the client sends is written as ">P:a:sql",
// what the server answers as "<1" or "<C:SELECT 1". It returns what was completed.
func play(t *testing.T, script string) (string, error) {
	t.Helper()
	var o ops
	o.init('I')
	var done []string
	for _, step := range strings.Fields(script) {
		step = strings.ReplaceAll(step, "_", " ")
		kind, rest := step[1], ""
		if len(step) > 3 {
			rest = step[3:]
		}
		name, of, _ := strings.Cut(rest, ":")
		if step[0] == '>' {
			p := op{kind: kind, name: name, of: of}
			switch kind {
			case 'Q':
				p.text = textOf([]byte(rest))
			case 'P':
				p.text = textOf([]byte(of))
			}
			if strings.HasPrefix(of, "!") || strings.HasPrefix(rest, "!") {
				p.refusal = &gate.Refusal{Code: "42501"}
			}
			if err := o.push(p); err != nil {
				return strings.Join(done, " "), err
			}
			continue
		}
		if kind == 'D' {
			if err := o.rows(1, 10); err != nil {
				return strings.Join(done, " "), err
			}
			continue
		}
		got, err := o.answer(kind, rest, time.Now())
		if err != nil {
			return strings.Join(done, " "), err
		}
		if got != nil {
			sql := ""
			if got.text != nil {
				sql = got.text.sql
				if got.text.unsure {
					sql += "?"
				}
			}
			done = append(done, fmt.Sprintf("%c=%s/%d", got.kind, strings.ReplaceAll(sql, " ", "_"), got.moved))
		}
	}
	if _, idle := o.idle(); !idle {
		return strings.Join(done, " "), errors.New("something still waits")
	}
	return strings.Join(done, " "), nil
}

func TestAnswersFindTheirStatements(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"a query":                              {">Q:a <T <D <D <C:SELECT_2 <Z:I", "Q=a/2"},
		"of two statements":                    {">Q:a;b <T <D <C:SELECT_1 <C:UPDATE_1 <Z:I", "Q=a;b/1 Q=a;b/0"},
		"an empty one":                         {">Q: <I <Z:I", ""},
		"that fails":                           {">Q:a;b <T <D <E:x <Z:E", "Q=a;b/1"},
		"two at once":                          {">Q:a >Q:b <C:SELECT_0 <Z:I <C:SELECT_0 <Z:I", "Q=a/0 Q=b/0"},
		"an extended query":                    {">P::a >B: >D:P >E: >S <1 <2 <T <D <C:SELECT_1 <Z:I", "E=a/1"},
		"described by its statement":           {">P:s:a >D:s >S <1 <t <n <Z:I", ""},
		"suspended":                            {">P::a >B: >E: >E: >S <1 <2 <D <s <D <C:SELECT_1 <Z:I", "E=a/1 E=a/1"},
		"an error skips to the sync":           {">P::a >B: >E: >S >P::b >B: >E: >S <E:x <Z:I <1 <2 <C:SELECT_0 <Z:I", "P=a/0 E=b/0"},
		"and what comes before it is read":     {">P::a <E:x >B: >E: >Q:z >S <Z:I >Q:b <C:SELECT_0 <Z:I", "P=a/0 Q=b/0"},
		"what follows a late sync is read":     {">P::a <E:x >B: >S >P::b >B: >E: >S <Z:I <1 <2 <C:SELECT_0 <Z:I", "P=a/0 E=b/0"},
		"an error at a sync":                   {">P::a >B: >E: >S <1 <2 <C:INSERT_0_1 <E:x <Z:I", "E=a/0 S=/0"},
		"a Parse that fails takes no place":    {">P:s:a >S <1 <Z:I >P:s:b >S <E:x <Z:I >B::s >E: >S <2 <C:SELECT_0 <Z:I", "P=b/0 E=a/0"},
		"a Parse on the way does":              {">P:s:a >S >P:t:b >B::t >E: >S <1 <Z:I <1 <2 <C:SELECT_0 <Z:I", "E=b/0"},
		"close":                                {">P:s:a >C:s:S >S <1 <3 <Z:I >B::s >S <E:x <Z:I", "B=--_prepared_or_declared_in_SQL_as_s?/0"},
		"names beyond 63 bytes are one":        {">P:" + strings.Repeat("n", 63) + "x:a >S <1 <Z:I >B::" + strings.Repeat("n", 63) + "y >E: >S <2 <C:SELECT_0 <Z:I", "E=a/0"},
		"SQL may have changed a name":          {">P:s:a >S <1 <Z:I >Q:z <C:DEALLOCATE <Z:I >B::s >E: >S <2 <C:SELECT_0 <Z:I", "Q=z/0 E=a?/0"},
		"a portal ends with its transaction":   {">P::a >B:p: >S <1 <2 <Z:I >E:p >S <E:x <Z:I", "E=--_prepared_or_declared_in_SQL_as_p?/0"},
		"copy out":                             {">Q:a <H <D <D <c <C:COPY_2 <Z:I", "Q=a/2"},
		"copy in":                              {">Q:a <G >c <C:COPY_2 <Z:I", "Q=a/0"},
		"copy in, not waited for":              {">Q:a >c <G <C:COPY_2 <Z:I", "Q=a/0"},
		"two copies in":                        {">Q:a >c >c <G <C:COPY_1 <G <C:COPY_1 <Z:I", "Q=a/0 Q=a/0"},
		"an end of a copy that never began":    {">Q:a >c <E:x <Z:I >Q:b <C:SELECT_0 <Z:I", "Q=a/0 Q=b/0"},
		"copy in, extended; its sync is lost":  {">P::a >B: >E: >S <1 <2 <G >c >S <C:COPY_1 <Z:I", "E=a/0"},
		"copy in, extended, that fails":        {">P::a >B: >E: >S <1 <2 <G <E:x >c >S <Z:I", "E=a/0"},
		"a refused query":                      {">Q:!x <E:x <Z:I", "Q=!x/0"},
		"a refused parse":                      {">P::!x >B: >E: >S <E:x <Z:I", "P=!x/0"},
		"FATAL out of the blue":                {"<E:x", ""},
		"an error, then FATAL, in a statement": {">Q:a <E:x <E:x <Z:I", "Q=a/0 Q=a/0"},
	} {
		if got, err := play(t, c.script); err != nil || got != c.want {
			t.Errorf("%s: %q %v, want %q", name, got, err, c.want)
		}
	}
}

// Attack: PG-03, PG-14
func TestAnswersThatDoNotFit(t *testing.T) {
	for name, script := range map[string]string{
		"unasked":                       "<C:SELECT_1",
		"rows unasked":                  "<D",
		"a second end":                  ">Q:a <C:SELECT_0 <Z:I <Z:I",
		"an end within a pipeline":      ">P::a >S <Z:I",
		"rows for a Parse":              ">P::a >S <D",
		"another order":                 ">P::a >B: >S <2",
		"a refused query that runs":     ">Q:!x <C:SELECT_1",
		"a refused query with rows":     ">Q:!x <T",
		"a refused parse that succeeds": ">P::!x >S <1",
		"more after an error":           ">Q:a <E:x <C:SELECT_1",
		"a query within a copy":         ">Q:a <G >Q:b",
		"a query before a copy":         ">Q:a >Q:b <G",
	} {
		if got, err := play(t, script); !errors.Is(err, errProtocol) {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
}

// The ring is a queue.
func TestFifo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f fifo
		var naive []int64
		next := int64(0)
		t.Repeat(map[string]func(*rapid.T){
			"push": func(*rapid.T) { f.push(op{bytes: next}); naive = append(naive, next); next++ },
			"push many": func(*rapid.T) {
				for range 20 {
					f.push(op{bytes: next})
					naive = append(naive, next)
					next++
				}
			},
			"pop": func(*rapid.T) {
				if len(naive) == 0 {
					return
				}
				f.pop()
				naive = naive[1:]
			},
			"": func(t *rapid.T) {
				if f.n != len(naive) {
					t.Fatalf("%d, not %d", f.n, len(naive))
				}
				for i, want := range naive {
					if f.at(i).bytes != want {
						t.Fatalf("at %d: %d, not %d", i, f.at(i).bytes, want)
					}
				}
			},
		})
	})
}

// An execute's text is known before the server has answered.
func TestTheTextThatAnExecuteWillRun(t *testing.T) {
	var o ops
	o.init('I')
	push := func(p op) {
		t.Helper()
		if err := o.push(p); err != nil {
			t.Fatal(err)
		}
	}
	push(op{kind: 'P', name: "s", text: textOf([]byte("a"))})
	push(op{kind: 'B', name: "p", of: "s"})
	if got := o.intended("p").sql; got != "a" {
		t.Error(got)
	}
	for _, kind := range []byte{'1', '2'} {
		if _, err := o.answer(kind, "", time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if got := o.intended("p").sql; got != "a" {
		t.Error(got)
	}
	push(op{kind: 'B', name: "p", of: "s"})
	if got := o.intended("p").sql; got != "a" {
		t.Error(got)
	}
}

// A client can have thousands of names and a server say a thousand times in what
// is read at once that SQL has changed what they stand for: what that takes does
// not go by how many there are.
//
// Attack: RES-01
func TestManyNamesAndManyDoubts(t *testing.T) {
	took := func(names int) time.Duration {
		var o ops
		o.init('I')
		for i := range names {
			p := op{kind: 'P', name: fmt.Sprint("s", i), text: textOf([]byte("select 1"))}
			if err := o.push(p); err != nil {
				t.Fatal(err)
			}
			if _, err := o.answer('1', "", time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		if err := o.push(op{kind: 'Q', text: textOf([]byte("deallocate all; …"))}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for range 5000 {
			if _, err := o.answer('C', "DEALLOCATE ALL", began); err != nil {
				t.Fatal(err)
			}
		}
		return time.Since(began)
	}
	few, many := took(1), took(maxNamed)
	if many > 20*few+50*time.Millisecond {
		t.Errorf("%v with one name, %v with %d", few, many, maxNamed)
	}
}
