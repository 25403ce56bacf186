package demo

import (
	"encoding/json"
	"fmt"
	"io"
)

// Ready is what `daypass dev -o json` prints.
type Ready struct {
	API      string            `json:"api"`
	Console  string            `json:"console"`
	Gateways map[string]string `json:"gateways"`
	Tokens   map[string]string `json:"tokens"`
	Data     string            `json:"data"`
}

// Ready tells where everything is.
func (w *World) Ready() Ready {
	gateways := map[string]string{"http": "http://" + w.Gateway()}
	if at := w.PostgresGateway(); at != "" {
		gateways["postgres"] = at
	}
	return Ready{API: w.API(), Console: w.API(), Gateways: gateways, Tokens: w.Tokens, Data: w.Data}
}

// PrintReady tells it to a program or to a person.
func (w *World) PrintReady(out io.Writer, asJSON bool) error {
	ready := w.Ready()
	if asJSON {
		return json.NewEncoder(out).Encode(ready)
	}
	gateway := "(none: " + w.Without + ")"
	if at := w.PostgresGateway(); at != "" {
		gateway = at
	}
	fmt.Fprintf(out, `Daypass is running, for trying things: on loopback only, with tokens that are
printed here. Its store is marked, and daypass serve refuses it.

  console       %s   (be anybody of the cast with one click)
  API           %s   (read it at %s/docs)
  HTTP gateway  http://orders-api.localhost:%s
  PostgreSQL    %s
  data          %s

Be somebody:

`, ready.Console, ready.API, ready.API, port(w.Gateway()), gateway, ready.Data)
	for _, p := range cast {
		fmt.Fprintf(out, "  export DAYPASS_URL=%s DAYPASS_TOKEN=%s  # %s, %s\n", ready.API, w.Tokens[p.id], p.id, p.what)
	}
	fmt.Fprint(out, `
Then, as user:ana:

  daypass resources
  daypass request orders-api --role read --for 5m --reason "looking around"
  daypass connect orders-api -- /v1/orders
`)
	if w.db != nil {
		fmt.Fprint(out, `
  daypass request orders-db --role read-orders --for 5m --reason "looking around"
  daypass connect orders-db                             # psql: try orders, customers, an update
  daypass connect orders-db -- -c 'select * from orders'
  daypass credential orders-db --format dsn             # or jdbc, pgpass, psql
`)
	}
	_, err := fmt.Fprint(out, "\nCtrl-C ends it.\n")
	return err
}
