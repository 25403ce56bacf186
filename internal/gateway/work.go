package gateway

import (
	"strings"
	"sync"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
)

// Of a session that runs its last statements can be looked at, each with the
// beginning of its text.
const (
	lastStatements = 20
	lastText       = 200 // bytes
)

// work is what a session does and has done. It takes no memory for statements
// before there are any.
type work struct {
	mu    sync.Mutex
	doing string
	done  totals
	last  []statement // a ring once it is full
	next  int         // the oldest of a full ring
}

// totals count the statements that are over.
type totals struct{ statements, rows, bytes int64 }

// statement is one that is over, as short as can be.
type statement struct {
	sql, sqlstate string
	length        int // of the whole text
	rows, bytes   int64
	duration      time.Duration
	at            int64 // when it was over, in Unix milliseconds
	refused       bool
}

func (w *work) does(doing string) {
	w.mu.Lock()
	w.doing = doing
	w.mu.Unlock()
}

func (w *work) did(st *audit.Statement, at time.Time) {
	one := statement{
		sql: st.SQL, sqlstate: st.SQLState, length: max(len(st.SQL), st.Length), rows: st.Rows, bytes: st.Bytes,
		duration: st.Duration, at: at.UnixMilli(), refused: st.Refused != "",
	}
	if len(one.sql) > lastText {
		one.sql = strings.Clone(one.sql[:lastText]) // the rest need not stay
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done.statements++
	w.done.rows += st.Rows
	w.done.bytes += st.Bytes
	if len(w.last) < lastStatements {
		w.last = append(w.last, one)
		return
	}
	w.last[w.next] = one
	w.next = (w.next + 1) % lastStatements
}

func (w *work) now() (doing string, done totals) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.doing, w.done
}

// recent are the last statements, the oldest first.
func (w *work) recent() []api.SessionStatement {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]api.SessionStatement, 0, len(w.last))
	for i := range w.last {
		s := &w.last[(w.next+i)%len(w.last)]
		out = append(out, api.SessionStatement{
			N: w.done.statements - int64(len(w.last)-1-i), SQL: strings.ToValidUTF8(s.sql, "\uFFFD"), SQLLength: s.length, Rows: s.rows, Bytes: s.bytes,
			DurationMS: float64(s.duration.Microseconds()) / 1000, SQLState: s.sqlstate, Refused: s.refused, At: api.TimeOf(time.UnixMilli(s.at)),
		})
	}
	return out
}
