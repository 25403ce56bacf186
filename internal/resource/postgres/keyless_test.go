package pgkind

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/resource"
	"github.com/jackc/pgx/v5/pgconn"
)

// keyless is a connection to a server behind a proxy that keeps the key with
// which to cancel for itself (BackendKeyData).
type keyless struct {
	net.Conn
	rest    bytes.Reader
	ready   bool
	dropped *atomic.Int32
}

func (k *keyless) Read(b []byte) (int, error) {
	for k.rest.Len() == 0 {
		if k.ready {
			return k.Conn.Read(b)
		}
		message := make([]byte, 5)
		if _, err := io.ReadFull(k.Conn, message); err != nil {
			return 0, err
		}
		body := make([]byte, binary.BigEndian.Uint32(message[1:])-4)
		if _, err := io.ReadFull(k.Conn, body); err != nil {
			return 0, err
		}
		switch message[0] {
		case 'K':
			k.dropped.Add(1)
			continue
		case 'Z':
			k.ready = true
		}
		k.rest.Reset(slices.Concat(message, body))
	}
	return k.rest.Read(b)
}

// Behind a proxy that sends no key a statement is cancelled all the same, and no
// other one.
//
// Attack: PG-10
func TestCancelWithoutAKey(t *testing.T) {
	w := newWorld(t, "")
	dropped := new(atomic.Int32)
	w.c.deps.Dial = func(string) resource.DialFunc {
		return func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &keyless{Conn: c, dropped: dropped}, nil
		}
	}
	d := newDesk(t, deskOptions{plain: true, world: w, user: "postgres"})
	p, other := d.pass(readOrders, time.Hour), d.pass(readOrders, time.Hour)
	c, neighbour := d.connect(p), d.connect(other)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	sleeps := func(c *pgconn.PgConn, length string) <-chan error {
		done := make(chan error, 1)
		go func() {
			_, err := c.Exec(ctx, "select 'keyless' from pg_sleep("+length+")").ReadAll()
			done <- err
		}()
		return done
	}
	running := func(pass pass) string {
		return d.value("select pid from pg_stat_activity where usename = '" + roleOf(pass.id) + "' and state = 'active' and query like 'select ''keyless''%'")
	}
	mine, others := sleeps(c.PgConn(), "60"), sleeps(neighbour.PgConn(), "3")
	eventually(t, "both run", func() bool { return running(p) != "" && running(other) != "" })
	if dropped.Load() == 0 {
		t.Fatal("the server's keys came through")
	}
	// The process of another grant is none of this one's.
	foreign, err := strconv.ParseUint(running(other), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.c.cancelBackend(ctx, d.r, roleOf(p.id), uint32(foreign)); err != nil {
		t.Error(err)
	}
	began := time.Now()
	if err := c.PgConn().CancelRequest(ctx); err != nil {
		t.Error(err)
	}
	err = <-mine
	if e, ok := errors.AsType[*pgconn.PgError](err); !ok || e.Code != "57014" {
		t.Errorf("%v", err)
	}
	t.Logf("cancelled after %v", time.Since(began))
	if err := <-others; err != nil {
		t.Errorf("the statement of another grant: %v", err)
	}
	expect(t, c, map[string]string{"select count(*) from orders": "1000"})
}
