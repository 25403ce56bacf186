package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/goccy/go-yaml/ast"
)

// NodeDecoder is implemented by types that read their node themselves. What
// they return is placed at the node unless it is an Errors.
type NodeDecoder interface {
	DecodeYAML(node ast.Node) error
}

// Decode reads src, at most MaxServerSize bytes, into the struct that into
// points to. Its error is an Errors that names the file.
func Decode(name string, src []byte, into any) error {
	root, err := Parse(name, src, MaxServerSize)
	if err != nil {
		return err
	}
	if root == nil {
		root = ast.Mapping(nil, true)
	}
	return nameErrors(name, DecodeNode(root, into))
}

func nameErrors(name string, err error) error {
	var errs Errors
	if errors.As(err, &errs) {
		for i := range errs { // an empty file has no places
			errs[i].Line, errs[i].Column = max(errs[i].Line, 1), max(errs[i].Column, 1)
		}
		return errs.in(name)
	}
	return err
}

// DecodeNode reads node into what into points to; a nil node changes nothing.
// Its error is an Errors without a file name.
//
// Fields are matched by their `yaml:"name"` tags, exactly; fields without a tag
// are not read; `yaml:"name,required"` must be given. A field `yaml:",rest"`
// of type []Entry takes the keys that no other field takes; without one they
// are errors. A key without a value (or null) is as if it were not there.
// Understood are structs, pointers, slices, maps with string keys, string,
// bool, int, int64, time.Duration (as the API writes durations), ast.Node,
// NodeDecoder and encoding.TextUnmarshaler.
func DecodeNode(node ast.Node, into any) error {
	if isNull(node) {
		return nil
	}
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		return fmt.Errorf("decoding into %T, which is no pointer", into)
	}
	var d decoder
	d.value(node, target.Elem())
	return d.errs.Sorted().Err()
}

type decoder struct{ errs Errors }

func (d *decoder) fault(node ast.Node, format string, args ...any) {
	d.errs = append(d.errs, Errorf(node, format, args...))
}

var (
	nodeType     = reflect.TypeFor[ast.Node]()
	entriesType  = reflect.TypeFor[[]Entry]()
	durationType = reflect.TypeFor[time.Duration]()
)

func (d *decoder) value(node ast.Node, v reflect.Value) {
	if v.Type() == nodeType {
		v.Set(reflect.ValueOf(node))
		return
	}
	switch to := v.Addr().Interface().(type) {
	case NodeDecoder:
		d.errs = append(d.errs, At(node, to.DecodeYAML(node))...)
		return
	case encoding.TextUnmarshaler:
		d.text(node, func(s string) error { return to.UnmarshalText([]byte(s)) })
		return
	}
	if v.Type() == durationType {
		d.text(node, func(s string) error {
			length, err := api.ParseDuration(s)
			v.SetInt(int64(length))
			return err
		})
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(node, v.Elem())
	case reflect.Struct:
		d.structure(node, v)
	case reflect.Map:
		d.mapping(node, v)
	case reflect.Slice:
		d.list(node, v)
	case reflect.String:
		d.text(node, func(s string) error { v.SetString(s); return nil })
	case reflect.Bool:
		if p, ok := plain(node); ok && (p == "true" || p == "false") {
			v.SetBool(p == "true")
			return
		}
		d.fault(node, "must be true or false")
	case reflect.Int, reflect.Int64:
		i, err := integer(node)
		if err != nil {
			d.fault(node, "%s", err)
			return
		}
		v.SetInt(i)
	default:
		d.fault(node, "cannot be read into %s", v.Type())
	}
}

func (d *decoder) text(node ast.Node, set func(string) error) {
	s, err := text(node)
	if err == nil {
		err = set(s)
	}
	if err != nil {
		d.fault(node, "%s", err)
	}
}

func integer(node ast.Node) (int64, error) {
	p, ok := plain(node)
	if !ok || !plainNumber.MatchString(p) {
		return 0, fmt.Errorf("must be a whole number, not %s", describe(node))
	}
	i, err := strconv.ParseInt(p, 10, 64)
	if !plainInteger.MatchString(p) || err != nil || i > maxInteger || i < -maxInteger {
		return 0, errors.New("must be a whole number, written as such, below 2^53")
	}
	return i, nil
}

func (d *decoder) list(node ast.Node, v reflect.Value) {
	seq, ok := node.(*ast.SequenceNode)
	if !ok {
		d.fault(node, "must be a list ([a, b] or lines that begin with -), not %s", describe(node))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values))
	for i, item := range seq.Values {
		if isNull(item) {
			d.fault(within(item, node), "an entry of the list is empty")
			continue
		}
		d.value(item, out.Index(i))
	}
	v.Set(out)
}

func (d *decoder) mapping(node ast.Node, v reflect.Value) {
	if v.Type().Key().Kind() != reflect.String {
		d.fault(node, "cannot be read into %s", v.Type())
		return
	}
	entries, errs := entriesOf(node)
	d.errs = append(d.errs, errs...)
	out := reflect.MakeMapWithSize(v.Type(), len(entries))
	for _, e := range entries {
		if e.Value == nil {
			d.fault(e.KeyNode, "%q has no value", clip(e.Key))
			continue
		}
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(e.Value, item)
		out.SetMapIndex(reflect.ValueOf(e.Key).Convert(v.Type().Key()), item)
	}
	v.Set(out)
}

func (d *decoder) structure(node ast.Node, v reflect.Value) {
	entries, errs := entriesOf(node)
	d.errs = append(d.errs, errs...)
	if entries == nil && len(errs) > 0 {
		return
	}
	given := make(map[string]Entry, len(entries))
	for _, e := range entries {
		given[e.Key] = e
	}
	var known []string
	rest := reflect.Value{}
	for i := range v.NumField() {
		name, option, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		switch {
		case option == "rest" && v.Field(i).Type() == entriesType:
			rest = v.Field(i)
			continue
		case name == "" || name == "-":
			continue
		}
		known = append(known, name)
		e, ok := given[name]
		switch {
		case ok && e.Value != nil:
			d.value(e.Value, v.Field(i))
		case ok && option == "required":
			d.fault(e.KeyNode, "%s has no value", name)
		case option == "required":
			d.fault(node, "%s is missing", name)
		}
	}
	for _, e := range entries {
		switch {
		case slices.Contains(known, e.Key):
		case rest.IsValid():
			rest.Set(reflect.Append(rest, reflect.ValueOf(e)))
		default:
			d.errs = append(d.errs, UnknownKey(e, known))
		}
	}
}

// UnknownKey is the fault of a key that is none of known.
func UnknownKey(e Entry, known []string) Error {
	for _, k := range known {
		if near(e.Key, k) {
			return Errorf(e.KeyNode, "unknown key %q: did you mean %q?", clip(e.Key), k)
		}
	}
	sorted := slices.Sorted(slices.Values(known))
	return Errorf(e.KeyNode, "unknown key %q: known here are %s", clip(e.Key), strings.Join(sorted, ", "))
}

// near reports whether a and b differ by at most two edits (half of the
// word for short ones), whatever their case.
func near(a, b string) bool {
	return len(a) <= 64 && len(b) <= 64 && Distance(a, b) <= min(2, len(b)/2)
}

// Distance is how many edits of a byte make a into b, whatever their case: for
// offering the name that somebody meant. It takes time in the product of their
// lengths; of more than 128 bytes it is the sum of them.
func Distance(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	if len(a) > 128 || len(b) > 128 {
		return len(a) + len(b)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}
