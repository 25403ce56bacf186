package rest

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// entry is one operation as the reference at /docs shows it.
type entry struct {
	ID, Method, Path, Summary, Text string
	Token                           bool
	Params, Body                    []row
	Answers                         []row
	Curl                            string
}

type row struct{ Name, Kind, Text string }

type chapter struct {
	Name, Text string
	Entries    []entry
}

var referencePage = template.Must(template.Must(pages.Clone()).Parse(`{{template "head" "Daypass API"}}
<p class="soft">Daypass</p><h1>API</h1>
<p>{{text .Text}}</p><p>The same for programs: <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1).</p>
<nav>{{range .Chapters}}<a href="#{{.Name}}">{{.Name}}</a>{{end}}</nav>
{{range .Chapters}}<h2 id="{{.Name}}">{{.Name}}</h2><p class="soft">{{.Text}}</p>
{{range .Entries}}<details id="{{.ID}}"><summary><b>{{.Method}}</b> <code>{{.Path}}</code><span>{{.Summary}}</span></summary>
{{if .Text}}<p>{{text .Text}}</p>{{end}}{{if not .Token}}<p class="soft">Needs no token.</p>{{end}}
{{if .Params}}<h3>Parameters</h3>{{template "rows" .Params}}{{end}}
{{if .Body}}<h3>Body</h3>{{template "rows" .Body}}{{end}}
<h3>Answers</h3>{{template "rows" .Answers}}
<pre><code>{{.Curl}}</code></pre></details>
{{end}}{{end}}{{template "foot"}}
{{define "rows"}}<table>{{range .}}<tr><td><code>{{.Name}}</code></td><td class="soft">{{.Kind}}</td><td>{{text .Text}}</td></tr>{{end}}</table>{{end}}`))

// text escapes a description and shows its backticks as code.
func text(s string) template.HTML {
	var b strings.Builder
	for i, part := range strings.Split(s, "`") {
		escaped := template.HTMLEscapeString(part)
		if i%2 == 1 {
			escaped = "<code>" + escaped + "</code>"
		}
		b.WriteString(strings.ReplaceAll(escaped, "\n\n", "<br><br>"))
	}
	return template.HTML(b.String()) //nolint:gosec // every part is escaped above
}

// reference renders /docs from the document, once.
func (s *server) reference() []byte {
	doc := s.huma.OpenAPI()
	var chapters []chapter
	for _, tag := range doc.Tags {
		ch := chapter{Name: tag.Name, Text: tag.Description}
		for _, rt := range s.routes {
			if rt.Tag == tag.Name {
				ch.Entries = append(ch.Entries, s.entry(rt))
			}
		}
		chapters = append(chapters, ch)
	}
	var b bytes.Buffer
	err := referencePage.Execute(&b, struct {
		Text     string
		Chapters []chapter
	}{doc.Info.Description, chapters})
	if err != nil {
		panic("rest: the reference cannot be rendered: " + err.Error())
	}
	return b.Bytes()
}

func (s *server) entry(rt Route) entry {
	item := s.huma.OpenAPI().Paths[rt.Path]
	op := map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "DELETE": item.Delete}[rt.Method]
	e := entry{ID: rt.ID, Method: rt.Method, Path: rt.Path, Summary: rt.Summary, Text: rt.Text, Token: !rt.Public}
	for _, p := range op.Parameters {
		kind := p.In
		if p.Required {
			kind += ", required"
		}
		e.Params = append(e.Params, row{p.Name, kind, p.Description})
	}
	if op.RequestBody != nil {
		e.Body = s.bodyRows(op.RequestBody)
	}
	for _, status := range sorted(op.Responses) {
		answer := op.Responses[status]
		kind, what := "", answer.Description
		if answer.Ref != "" {
			kind, what = "Problem", statusText(status)
		}
		for _, media := range sorted(answer.Content) {
			kind = strings.TrimPrefix(strings.TrimPrefix(answer.Content[media].Schema.Ref, schemaPrefix), "List")
			if strings.HasPrefix(strings.TrimPrefix(answer.Content[media].Schema.Ref, schemaPrefix), "List") {
				kind = "list of " + kind
			}
			if kind == "" {
				kind = media
			}
		}
		e.Answers = append(e.Answers, row{status, kind, what})
	}
	e.Curl = s.curl(rt)
	return e
}

func (s *server) bodyRows(body *huma.RequestBody) []row {
	media := body.Content["application/json"]
	if media.Schema.Ref == "" {
		return []row{{strings.Join(sorted(body.Content), ", "), "", media.Schema.Description}}
	}
	schema := s.huma.OpenAPI().Components.Schemas.SchemaFromRef(media.Schema.Ref)
	var rows []row
	for _, name := range sorted(schema.Properties) {
		p := schema.Properties[name]
		kind := p.Type
		if slices.Contains(schema.Required, name) {
			kind += ", required"
		}
		var notes []string
		if len(p.Enum) > 0 {
			notes = append(notes, "one of "+strings.Trim(fmt.Sprint(p.Enum), "[]"))
		}
		if len(p.Examples) > 0 {
			notes = append(notes, fmt.Sprintf("such as `%v`", p.Examples[0]))
		}
		if p.MaxLength != nil {
			notes = append(notes, fmt.Sprintf("at most %d characters", *p.MaxLength))
		}
		rows = append(rows, row{name, kind, strings.Join(notes, "; ")})
	}
	return rows
}

// curl is a call of a route that can be copied.
func (s *server) curl(rt Route) string {
	line := "curl -sS"
	if rt.Method != http.MethodGet && (rt.Method != http.MethodPost || rt.Example == "") {
		line += " -X " + rt.Method
	}
	if rt.Media == "text/event-stream" {
		line += " -N"
	}
	line += ` "$DAYPASS_URL` + strings.ReplaceAll(rt.Path, "{id}", "ID") + `"`
	if !rt.Public {
		line += ` -H "Authorization: Bearer $DAYPASS_TOKEN"`
	}
	switch {
	case rt.Example != "":
		line += " \\\n  -H \"Content-Type: application/json\" -d '" + rt.Example + "'"
	case rt.Media == catalogMedia:
		line += " \\\n  -H \"Content-Type: application/yaml\" --data-binary @catalog.yaml"
	}
	return line
}

func statusText(status string) string {
	n, _ := strconv.Atoi(status)
	return http.StatusText(n)
}
