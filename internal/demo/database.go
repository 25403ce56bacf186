package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/daypass/daypass/internal/scratchpg"
)

// database is the guarded PostgreSQL: a throw-away server with orders and
// customers, whose superuser's password nobody in the story ever sees.
type database struct {
	*scratchpg.Server
	passwordFile string
}

// shop is what is in it.
const shop = `
create table orders (id int primary key, total numeric(8, 2) not null, state text not null);
insert into orders values (1001, 49.90, 'paid'), (1002, 129.00, 'paid'), (1003, 15.50, 'sent');
create table customers (id int primary key, name text not null, iban text not null);
insert into customers values (1, 'R. Example', 'DE02120300000000202051');
`

// startDatabase starts it from the programs in bin. The file with its password
// lies in folder.
func startDatabase(ctx context.Context, bin, folder string) (*database, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	password := rand.Text()
	d := &database{passwordFile: filepath.Join(folder, "postgres.password")}
	if err := os.WriteFile(d.passwordFile, []byte(password), 0o600); err != nil {
		return nil, err
	}
	if d.Server, err = scratchpg.Start(ctx, bin, password); err != nil {
		return nil, err
	}
	if err = d.Run(ctx, "postgres", "create database shop"); err == nil {
		err = d.Run(ctx, "shop", shop)
	}
	if err != nil {
		d.Stop()
		return nil, fmt.Errorf("filling the database: %w", err)
	}
	return d, nil
}

// resource is the database in a catalog.
func (d *database) resource() string {
	return fmt.Sprintf(`  - id: orders-db
    kind: postgres
    labels: {env: prod}
    owners: [group:payments]
    postgres: {upstream: %q, user: %s, password: {file: %q}}
    roles:
      read-orders: {actions: [select], tables: [public.orders]}
      write-orders: {actions: [insert, select, update], tables: [public.orders]}
`, d.Upstream("shop"), scratchpg.Superuser, d.passwordFile)
}

// readRule is what the policy says of it.
const readRule = `    - name: developers read orders in the database
      kind: postgres
      when: '"group:developers" in principal.groups && scope.actions == ["select"] && scope.tables == ["public.orders"]'
      approve: auto
      max_duration: 15m
`

// sessions counts the backends of a role, and whether the role is there.
func (d *database) sessions(ctx context.Context, role string) (backends int, there bool, err error) {
	c, err := d.Connect(ctx, "shop")
	if err != nil {
		return 0, false, err
	}
	err = c.QueryRow(ctx, `select (select count(*) from pg_stat_activity where usename = $1), exists (select from pg_roles where rolname = $1)`, role).Scan(&backends, &there)
	return backends, there, errors.Join(err, c.Close(ctx))
}
