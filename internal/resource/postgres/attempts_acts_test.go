package pgkind

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

func copiesOut(s *siege, c *pgx.Conn, _ attempt) bool {
	var out bytes.Buffer
	_, _ = c.PgConn().CopyTo(context.Background(), &out, "copy orders to stdout")
	return strings.Count(out.String(), "\n") == 1000
}

// callsOut reports whether the server connects to an address of our choice.
func callsOut(s *siege, c *pgx.Conn, _ attempt) bool {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	called := make(chan struct{})
	go func() {
		if conn, err := l.Accept(); err == nil {
			_ = conn.Close()
			close(called)
		}
	}()
	s.run(c, fmt.Sprintf("select dblink_connect('out', 'host=127.0.0.1 port=%d user=x password=x dbname=orders connect_timeout=2')", l.Addr().(*net.TCPAddr).Port))
	defer func() { _ = l.Close() }()
	select {
	case <-called:
		return true
	case <-time.After(100 * time.Millisecond):
		return false
	}
}

func showsInError(s *siege, c *pgx.Conn, _ attempt) bool {
	for _, from := range []string{"orders", "public.orders"} {
		_, err := c.PgConn().Exec(context.Background(), "select count(*) from "+from+" where id > 500 and card::int > 0").ReadAll()
		if err != nil && strings.Contains(err.Error(), `"card `) {
			return true
		}
	}
	return false
}

func notifies(sql ...string) func(*siege, *pgx.Conn, attempt) bool {
	return func(s *siege, c *pgx.Conn, _ attempt) bool {
		s.run(c, sql...)
		answer(s.app, "select 1") // what was sent is delivered by now
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		n, err := s.app.WaitForNotification(ctx)
		if err != nil {
			s.app = nil // the time limit has closed it
			return false
		}
		for err == nil { // those of the other ways
			_, err = s.app.WaitForNotification(ctx)
		}
		s.app = nil
		return n.Payload == "forged"
	}
}

// burns reports whether transaction numbers are used up.
func burns(times int, sql ...string) func(*siege, *pgx.Conn, attempt) bool {
	return func(s *siege, c *pgx.Conn, _ attempt) bool {
		const next = "select pg_snapshot_xmax(pg_current_snapshot())"
		before := answer(s.admin, next)
		for range times {
			s.run(c, sql...)
		}
		return answer(s.admin, "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint - "+before+" >= 20") == "t"
	}
}

func logsInDirectly(s *siege, c *pgx.Conn, a attempt) bool {
	s.run(c, a.sql...)
	direct, err := s.pg.Try(s.role, "known", s.database)
	if err != nil {
		return false
	}
	_ = direct.Close(context.Background())
	return true
}

func twoResults(_ *siege, c *pgx.Conn, a attempt) bool {
	results, err := c.PgConn().Exec(context.Background(), a.sql[0]).ReadAll()
	return err == nil && len(results) == 2 && len(results[1].Rows) == 1
}
