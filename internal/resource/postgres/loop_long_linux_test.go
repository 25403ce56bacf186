package pgkind

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource/postgres/gate"
	"github.com/jackc/pgx/v5/pgconn"
)

// While a long statement is looked at, which may take half a second, the loop is
// there for all others; the statement goes out as it is.
//
// Attack: RES-01
func TestALongStatementDoesNotHoldUpOthers(t *testing.T) {
	rec := &record{}
	s := aloneWith(t, rec)
	s.g = &Gateway{target: nothing{}, now: time.Now, log: slog.New(slog.DiscardHandler), sessions: map[net.Conn]*session{}, visitors: newVisitors(1, 1)}
	s.g.cancels.init()
	defer s.g.carrier.close()
	s.resource, s.gate = &policy.Resource{ID: "orders-db"}, gate.Gate{Allowed: gate.Select}
	e := &exchange{}
	client, near := e.pair(t)
	up, server := e.pair(t)
	s.raw, s.client, s.server = near, near, &pgconn.HijackedConn{Conn: up}
	s.g.running.Add(1)
	go s.serve()
	say := append(message('Q', "select '"+string(bytes.Repeat([]byte("x"), 1<<20))+"'\x00"), message('S', "")...)
	got := make(chan []byte, 1)
	go func() {
		b := make([]byte, len(say))
		_, _ = io.ReadFull(server, b)
		got <- b
	}()
	short := len(say) - 10 // the last piece has the end of one message, and another
	if _, err := client.Write(say[:short]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all but the end has come", func() bool { return s.in.Load() == int64(short) })
	turn := func() <-chan struct{} {
		passed := make(chan struct{})
		s.g.carrier.loop.Post(func() { close(passed) })
		return passed
	}
	<-turn()
	s.ops.mu.Lock() // which the statement needs in the end
	if _, err := client.Write(say[short:]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end has come", func() bool { return s.in.Load() == int64(len(say)) })
	select {
	case <-turn():
	case <-time.After(patience):
		t.Error("the loop waits for one session")
	}
	s.ops.mu.Unlock()
	if b := <-got; !bytes.Equal(b, say) {
		t.Error("the server got something else")
	}
	_, _ = server.Write(append(append(message('C', "SELECT 1\x00"), message('Z', "I")...), message('Z', "I")...))
	if _, err := io.ReadFull(client, make([]byte, 14+6+6)); err != nil {
		t.Error(err)
	}
	_ = client.Close()
	s.g.running.Wait()
	if all := rec.of(audit.SessionQuery); len(all) != 1 || all[0].Details["tag"] != "SELECT 1" {
		t.Errorf("on record is %v", all)
	}
}
