package workload

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"github.com/goccy/go-yaml/ast"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/dial"
)

var _ config.Check = Check

// Check is the part of a configuration's check that is this package's: each
// condition compiles, each file of keys can be read, and no host is one that
// would be refused when it is dialled.
func Check(s *config.Server, root ast.Node) config.Errors {
	var errs config.Errors
	env, err := environment()
	if err != nil {
		return config.At(root, err)
	}
	for i, w := range s.Identity.Workloads {
		at := func(more ...string) ast.Node {
			return config.Find(root, append([]string{"identity", "workloads", strconv.Itoa(i)}, more...)...)
		}
		if w.JWKS.File != "" {
			if _, err := readKeys(w.JWKS.File); err != nil {
				errs = append(errs, config.Errorf(at("jwks", "file"), "%s", err))
			}
		} else if u, err := url.Parse(w.JWKS.URL); err == nil {
			if err := dial.CheckHost(u.Hostname()); err != nil {
				errs = append(errs, config.Errorf(at("jwks", "url"), "%s", err))
			}
		}
		for n, r := range w.Rules {
			node := at("rules", strconv.Itoa(n), "when")
			if _, _, err := compile(env, r.When); err != nil {
				line, column := config.Position(node)
				if f, ok := errors.AsType[fault](err); ok {
					line, column = config.Inside(node, f.line, f.column)
				}
				errs = append(errs, config.Error{Line: line, Column: column, Message: "condition: " + err.Error()})
			}
		}
	}
	return errs
}

// mutable are claims that somebody can give to something else: a repository
// that is renamed or deleted leaves its name to whoever takes it next.
var mutable = []string{
	"sub", "repository", "repository_owner", "job_workflow_ref", "workflow_ref", "workflow", "actor",
	"project_path", "namespace_path", "ci_config_ref_uri", "user_login", "user_email",
	"kubernetes.io/namespace", "kubernetes.io/serviceaccount/name",
}

// lasting are those that name one thing for ever.
var lasting = []string{
	"repository_id", "repository_owner_id", "enterprise_id", "project_id", "namespace_id", "kubernetes.io/serviceaccount/uid",
}

// Warnings says which rules let in more than they seem to.
func Warnings(list []config.Workload) []string {
	var out []string
	env, err := environment()
	if err != nil {
		return nil
	}
	for _, w := range list {
		for _, r := range w.Rules {
			_, checked, err := compile(env, r.When)
			if err != nil {
				continue // Check says so
			}
			for _, why := range weak(checked) {
				out = append(out, fmt.Sprintf("identity.workloads: the rule %q of %s %s", r.Name, w.Issuer, why))
			}
		}
	}
	return out
}

// weak says what of a condition is easily meant otherwise.
func weak(checked *cel.Ast) []string {
	reads, loose := readsOf(checked)
	var out []string
	bound := slices.ContainsFunc(reads, func(name string) bool { return slices.Contains(lasting, name) })
	var names []string
	for _, name := range reads {
		if slices.Contains(mutable, name) {
			names = append(names, name)
		}
	}
	switch {
	case bound:
	case len(reads) == 0:
		out = append(out, "reads no claim: every job of this issuer is let in, or none")
	case len(names) > 0:
		out = append(out, fmt.Sprintf("rests on %s, which may come to name something else: add an ID that does not, such as repository_id, project_id or kubernetes.io/serviceaccount/uid", strings.Join(names, ", ")))
	}
	if loose {
		out = append(out, "uses matches() without ^ and $: it is true wherever the pattern is found in the text")
	}
	return out
}

// readsOf lists the claims that a condition reads, the inner ones with slashes,
// and reports whether it matches a pattern that is not bound to both ends.
func readsOf(checked *cel.Ast) (reads []string, loose bool) {
	celast.PreOrderVisit(checked.NativeRep().Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		if name, ok := claimOf(e); ok && !slices.Contains(reads, name) {
			reads = append(reads, name)
		}
		if e.Kind() != celast.CallKind || e.AsCall().FunctionName() != "matches" {
			return
		}
		args := e.AsCall().Args()
		if len(args) == 0 || args[len(args)-1].Kind() != celast.LiteralKind {
			return
		}
		pattern, ok := args[len(args)-1].AsLiteral().(types.String)
		loose = loose || ok && !(strings.HasPrefix(string(pattern), "^") && strings.HasSuffix(string(pattern), "$"))
	}))
	slices.Sort(reads)
	return reads, loose
}

// claimOf is the claim that an expression reads: claims.a, claims["a"].b …
func claimOf(e celast.Expr) (string, bool) {
	var operand celast.Expr
	var name string
	switch e.Kind() {
	case celast.SelectKind:
		operand, name = e.AsSelect().Operand(), e.AsSelect().FieldName()
	case celast.CallKind:
		call := e.AsCall()
		if call.FunctionName() != operators.Index || len(call.Args()) != 2 || call.Args()[1].Kind() != celast.LiteralKind {
			return "", false
		}
		literal, ok := call.Args()[1].AsLiteral().(types.String)
		if !ok {
			return "", false
		}
		operand, name = call.Args()[0], string(literal)
	default:
		return "", false
	}
	if operand.Kind() == celast.IdentKind && operand.AsIdent() == "claims" {
		return name, true
	}
	outer, ok := claimOf(operand)
	return outer + "/" + name, ok
}
