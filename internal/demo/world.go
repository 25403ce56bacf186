package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/daypass/daypass/client"
	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/daemon"
	"github.com/daypass/daypass/internal/scratchpg"
)

// World is the running cast: their service, their server, their tokens.
type World struct {
	Tokens map[string]string // principal → API token
	Data   string            // the server's data folder

	Without string // why there is no database; "" when there is one

	orders *orders
	db     *database
	daemon *daemon.Daemon
	remove string // a temporary folder, "" when it is to stay
}

// Options say where a world lives. Zero fields take a temporary folder and
// free ports.
type Options struct {
	Folder  string // kept; a temporary folder is removed at the end
	Listen  string // of the API
	Gateway string // of the HTTP gateway
	// Postgres is the folder with PostgreSQL's programs, from which a throw-away
	// server is started; "" for none. Without says why there is none.
	Postgres        string
	PostgresGateway string // of the PostgreSQL gateway
	Log             *slog.Logger
}

// Start starts a world.
func Start(ctx context.Context, o Options) (w *World, err error) {
	w = &World{}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	folder := o.Folder
	if folder == "" {
		if folder, err = os.MkdirTemp("", "daypass-"); err != nil {
			return nil, fmt.Errorf("making a temporary folder: %w", err)
		}
		w.remove = folder
	} else if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder: %w", err)
	}
	if w.Tokens, err = tokensIn(folder); err != nil {
		return nil, err
	}
	key := "orders-key-" + rand.Text()
	keyFile := filepath.Join(folder, "orders.key")
	if err := os.WriteFile(keyFile, []byte(key), 0o600); err != nil {
		return nil, err
	}
	if w.orders, err = startOrders(key); err != nil {
		return nil, err
	}
	gateways := fmt.Sprintf("gateways:\n  http: {listen: %q, domain: localhost}\n", or(o.Gateway, "127.0.0.1:0"))
	if w.Without = scratchpg.ErrNone.Error(); o.Postgres != "" {
		w.Without = ""
		// What is wrong with it is for its owner to know; the rest goes without.
		if w.db, err = startDatabase(ctx, o.Postgres, folder); err != nil {
			w.Without = "PostgreSQL does not start here: " + firstLine(err)
		}
	}
	if w.db != nil {
		// libpq before 15 knows no addresses in certificates.
		gateways += fmt.Sprintf("  postgres: {listen: %q, host: localhost}\n", or(o.PostgresGateway, "127.0.0.1:0"))
	}
	catalog := filepath.Join(folder, "catalog.yaml")
	if err := os.WriteFile(catalog, catalogOf(w.Tokens, w.orders.url, keyFile, w.db), 0o600); err != nil {
		return nil, err
	}
	w.Data = filepath.Join(folder, "data")
	server := filepath.Join(folder, "daypass.yaml")
	text := fmt.Sprintf("listen: %q\ndata: ./data\ncatalog: ./catalog.yaml\n%s", or(o.Listen, "127.0.0.1:0"), gateways)
	if err := os.WriteFile(server, []byte(text), 0o600); err != nil {
		return nil, err
	}
	cfg, err := config.Load(server)
	if err != nil {
		return nil, err
	}
	w.daemon, err = daemon.Start(ctx, daemon.Options{Config: cfg, Log: o.Log, Dev: true, Cast: people()})
	return w, err
}

// tokensIn returns the cast's tokens that a folder keeps, new ones at first.
func tokensIn(folder string) (map[string]string, error) {
	path := filepath.Join(folder, "tokens.json")
	kept, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		tokens := newTokens()
		kept, err = json.Marshal(tokens)
		if err != nil {
			return nil, err
		}
		return tokens, os.WriteFile(path, kept, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the tokens: %w", err)
	}
	tokens := map[string]string{}
	if err := json.Unmarshal(kept, &tokens); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return tokens, nil
}

// API is the base URL of the API.
func (w *World) API() string { return w.daemon.URL() }

// Gateway is the address of the HTTP gateway.
func (w *World) Gateway() string { return w.daemon.GatewayAddr("http") }

// PostgresGateway is the address of the PostgreSQL gateway, "" without a
// database.
func (w *World) PostgresGateway() string {
	if w.db == nil {
		return ""
	}
	return "localhost:" + port(w.daemon.GatewayAddr("postgres"))
}

// Failed delivers the error after which the world is over.
func (w *World) Failed() <-chan error { return w.daemon.Failed() }

// as returns a client that calls as one of the cast.
func (w *World) as(who string) *client.Client { return client.New(w.API(), w.Tokens[who]) }

// Close ends the world and removes its folder if it was a temporary one.
func (w *World) Close() {
	if w.daemon != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		_ = w.daemon.Shutdown(ctx)
		cancel()
	}
	if w.orders != nil {
		w.orders.close()
	}
	if w.db != nil {
		w.db.Stop()
	}
	if w.remove != "" {
		_ = os.RemoveAll(w.remove)
	}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
