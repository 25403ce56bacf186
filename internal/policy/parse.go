package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/daypass/daypass/internal/config"
	"github.com/goccy/go-yaml/ast"
	"github.com/gowebpki/jcs"
)

// text is a string that knows its place in the file.
type text = config.Located[string]

// catalogEntry and the …Entry types are the file as it is written.
type catalogEntry struct {
	Principals []config.Located[principalEntry] `yaml:"principals"`
	Groups     []config.Located[groupEntry]     `yaml:"groups"`
	Resources  []config.Located[resourceEntry]  `yaml:"resources"`
	Policy     policyEntry                      `yaml:"policy"`
}

type policyEntry struct {
	Guardrails []config.Located[guardrailEntry] `yaml:"guardrails"`
	Rules      []config.Located[ruleEntry]      `yaml:"rules"`
}

// checker collects what is wrong while it builds the catalog.
type checker struct {
	c     *Catalog
	kinds map[string]Kind
	envs  *environments
	errs  config.Errors

	groups    map[string]ast.Node // every group that exists, and where it first stands
	fromLogin []string            // groups that a login may put people into
	open      map[string]bool     // these, and the groups that have them as members
}

func (k *checker) fault(node ast.Node, format string, args ...any) {
	k.errs = append(k.errs, config.Errorf(node, format, args...))
}

// Parse checks a catalog in YAML or JSON, at most config.MaxCatalogSize bytes.
// Its error is a Problems, with everything that is wrong with it. Nothing of a
// faulty catalog is usable; a file without content is the empty catalog.
func Parse(src []byte, kinds []Kind) (*Catalog, error) {
	root, err := config.Parse("", src, config.MaxCatalogSize)
	if err != nil {
		return nil, asProblems(err)
	}
	k := &checker{c: &Catalog{source: slices.Clone(src), places: make(map[string]Place)}, kinds: make(map[string]Kind), groups: make(map[string]ast.Node)}
	for _, kind := range kinds {
		k.kinds[kind.Name()] = kind
	}
	if k.envs, err = newEnvironments(kinds); err != nil {
		return nil, Problems{{Line: 1, Column: 1, Message: err.Error()}}
	}
	var file catalogEntry
	k.errs = append(k.errs, config.At(root, config.DecodeNode(root, &file))...)
	k.principals(file.Principals)
	k.membership(file.Groups)
	k.resources(file.Resources)
	k.policy(file.Policy)
	k.places(file)
	if len(k.errs) == 0 {
		k.canonical(root)
	}
	if len(k.errs) > 0 {
		return nil, problemsOf(k.errs.Sorted())
	}
	k.c.seal()
	return k.c, nil
}

func asProblems(err error) error {
	var errs config.Errors
	if errors.As(err, &errs) {
		return problemsOf(errs)
	}
	return Problems{{Line: 1, Column: 1, Message: err.Error()}}
}

func (k *checker) canonical(root ast.Node) {
	k.c.canonical = []byte("{}")
	if root == nil {
		return
	}
	raw, err := config.JSON(root)
	if err != nil {
		k.errs = append(k.errs, config.At(root, err)...)
		return
	}
	if k.c.canonical, err = jcs.Transform(raw); err != nil {
		k.fault(root, "cannot be written as canonical JSON: %s", err)
	}
}

// The forms of identifiers: plain ASCII in lower case, so that no two look
// alike. A resource's ID becomes a label of a host name.
var (
	typedID     = regexp.MustCompile(`^(user|service|agent|group):[a-z0-9][a-z0-9._@-]{0,127}$`)
	resourceID  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	roleName    = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	labelName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$`)
	entryName   = regexp.MustCompile(`^[^\s\pC](?:[^\pC\pZ]| )*$`)
	tokenDigest = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)
)

// typed checks the form of an ID and that its type is one of kinds.
func (k *checker) typed(id text, what string, types ...string) bool {
	if !id.Sound() {
		return false
	}
	prefix, _, ok := strings.Cut(id.Value, ":")
	switch {
	case !ok:
		k.fault(id.Node, "%q has no type: write %s, such as %s:%s", clip(id.Value), anyOf(types), types[0], exampleName(id.Value))
	case !slices.Contains([]string{"user", "service", "agent", "group"}, prefix):
		k.fault(id.Node, "%q has the unknown type %q: %s is one of %s", clip(id.Value), clip(prefix), what, anyOf(types))
	case !slices.Contains(types, prefix):
		k.fault(id.Node, "%q cannot be %s: write %s", clip(id.Value), what, anyOf(types))
	case !typedID.MatchString(id.Value):
		k.fault(id.Node, "%q is not an ID: after the type come a-z, 0-9 and . _ @ -, at most 128, the first a letter or digit", clip(id.Value))
	default:
		return true
	}
	return false
}

func exampleName(s string) string {
	if s = strings.Trim(s, ":"); typedID.MatchString("user:" + s) {
		return s
	}
	return "ana"
}

func anyOf(types []string) string {
	out := make([]string, len(types))
	for i, t := range types {
		out[i] = t + ":…"
	}
	return strings.Join(out, " or ")
}

// labels checks the names and sizes of a map of texts.
func (k *checker) labels(m config.Located[map[string]string], what string) map[string]string {
	out := make(map[string]string, len(m.Value))
	for name, value := range m.Value {
		switch {
		case !labelName.MatchString(name):
			k.fault(m.Node, "the %s name %q is not allowed: use letters, digits and . _ / -", what, clip(name))
		case len(value) > 1024:
			k.fault(m.Node, "the %s %s is longer than 1024 bytes", what, name)
		}
		out[name] = value
	}
	return out
}

func clip(s string) string { return clipTo(s, 60) }

func clipTo(s string, most int) string {
	if len(s) > most {
		return fmt.Sprintf("%s…", strings.ToValidUTF8(s[:most], ""))
	}
	return s
}
