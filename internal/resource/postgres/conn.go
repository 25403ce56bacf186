package pgkind

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// conn is a connection of the resource's own login.
type conn struct{ *pgconn.PgConn }

// exec runs statements that return nothing that is looked at, in one round
// trip and, unless they say otherwise, in one transaction.
func (c conn) exec(ctx context.Context, sql string) error {
	_, err := c.Exec(ctx, sql).ReadAll()
	return err
}

// transact runs statements in one transaction, which is over either way.
// What is said afterwards comes after the commit.
func (c conn) transact(ctx context.Context, sql string, afterwards ...string) error {
	err := c.exec(ctx, strings.Join(append([]string{"BEGIN; " + sql, "COMMIT"}, afterwards...), "; "))
	if err != nil && !c.IsClosed() && c.TxStatus() != 'I' {
		return errors.Join(err, c.exec(context.WithoutCancel(ctx), "ROLLBACK"))
	}
	return err
}

// query returns rows as texts; NULL is "".
func (c conn) query(ctx context.Context, sql string, args ...string) ([][]string, error) {
	values := make([][]byte, len(args))
	for i, a := range args {
		values[i] = []byte(a)
	}
	return rowsOf(c.ExecParams(ctx, sql, values, nil, nil, nil).Read())
}

// prepared is query with a statement that the server prepares once for each
// connection: for what is asked at every grant.
func (c conn) prepared(ctx context.Context, sql string, args ...string) ([][]string, error) {
	name, err := c.prepare(ctx, sql)
	if err != nil {
		return nil, err
	}
	values := make([][]byte, len(args))
	for i, a := range args {
		values[i] = []byte(a)
	}
	return rowsOf(c.ExecPrepared(ctx, name, values, nil, nil).Read())
}

// prepare returns the name of a statement that is prepared.
func (c conn) prepare(ctx context.Context, sql string) (string, error) {
	if name, ok := c.CustomData()[sql].(string); ok {
		return name, nil
	}
	name := fmt.Sprintf("daypass_%d", len(c.CustomData()))
	if _, err := c.Prepare(ctx, name, sql, nil); err != nil {
		return "", err
	}
	c.CustomData()[sql] = name
	return name, nil
}

func rowsOf(result *pgconn.Result) ([][]string, error) {
	if result.Err != nil {
		return nil, result.Err
	}
	out := make([][]string, len(result.Rows))
	for i, row := range result.Rows {
		out[i] = make([]string, len(row))
		for j, value := range row {
			out[i][j] = string(value)
		}
	}
	return out, nil
}

// database is the one that c is connected to, which stays the same.
func (c conn) database(ctx context.Context) (name string, oid uint32, err error) {
	type key struct {
		name string
		oid  uint32
	}
	if known, ok := c.CustomData()["database"].(key); ok {
		return known.name, known.oid, nil
	}
	row, err := c.one(ctx, "select datname, oid from pg_database where datname = current_database()")
	if err != nil {
		return "", 0, err
	}
	k := key{row[0], oidOf(row[1])}
	c.CustomData()["database"] = k
	return k.name, k.oid, nil
}

// one returns the only row of a query.
func (c conn) one(ctx context.Context, sql string, args ...string) ([]string, error) {
	rows, err := c.query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 {
		return nil, fmt.Errorf("a query that gives one row gave %d", len(rows))
	}
	return rows[0], nil
}

// column returns the first column of rows.
func column(rows [][]string) []string {
	out := make([]string, len(rows))
	for i, row := range rows {
		out[i] = row[0]
	}
	return out
}

// array writes a text[].
func array(all []string) string {
	quoted := make([]string, len(all))
	for i, one := range all {
		quoted[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(one) + `"`
	}
	return "{" + strings.Join(quoted, ",") + "}"
}

func oidOf(text string) uint32 {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0 // no object has it
	}
	return uint32(n)
}

// SQLSTATEs (PostgreSQL, appendix A).
const (
	undefinedObject = "42704"
	duplicateObject = "42710"
	uniqueViolation = "23505"
	insufficient    = "42501"
	dependent       = "2BP01" // something still belongs to what is to be dropped
)

func state(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// contended reports whether err is what PostgreSQL says when two change the
// same thing at once, and would not say again.
func contended(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "XX000" && strings.Contains(e.Message, "concurrently") ||
		slices.Contains([]string{uniqueViolation, duplicateObject, undefinedObject, dependent, "40001", "40P01", "55P03"}, e.Code))
}

// gone reports whether err says that the server ended the connection.
func gone(err error) bool { return slices.Contains([]string{"57P01", "57P02", "57P03"}, state(err)) }
