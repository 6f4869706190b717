package main

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"porchlight/device"
)

// yamlFile is a file in YAML, or in JSON, which is YAML too.
type yamlFile struct {
	path string
	raw  []byte
	tree *ast.File
}

func parseYAML(path string, raw []byte) (*yamlFile, error) {
	tree, err := parser.ParseBytes(raw, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: write YAML or JSON", located(path, err))
	}
	return &yamlFile{path, raw, tree}, nil
}

// located is an error of the parser with the file and the line it is about.
func located(path string, err error) error {
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil {
		fix := ""
		if strings.HasSuffix(at.GetMessage(), "where mapping is expected") {
			fix = ": write keys with their values, as in name: oak"
		}
		return fmt.Errorf("%s:%d: %s%s", path, at.GetToken().Position.Line, at.GetMessage(), fix)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// decode reads the file into v. An unknown key is an error that names the nearest one. A key
// without a value leaves what v has.
func (f *yamlFile) decode(v any) error {
	if err := f.hold(v, true); err != nil {
		return err
	}
	if len(f.tree.Docs) > 1 {
		return fmt.Errorf("%s: it has %d documents: write one", f.path, len(f.tree.Docs))
	}
	for _, doc := range f.tree.Docs {
		body, ok := doc.Body.(*ast.MappingNode)
		if !ok && empty(doc.Body) {
			continue
		}
		if ok {
			prune(body)
		}
		if err := yaml.NewDecoder(strings.NewReader(""), yaml.Strict()).DecodeFromNode(doc.Body, v); err != nil {
			return located(f.path, err)
		}
	}
	return nil
}

// empty reports whether n is nothing: null, or comments alone.
func empty(n ast.Node) bool {
	return n == nil || n.Type() == ast.NullType || n.Type() == ast.CommentType
}

// prune takes the keys that have no value out of a mapping.
func prune(n *ast.MappingNode) {
	n.Values = slices.DeleteFunc(n.Values, func(v *ast.MappingValueNode) bool {
		if inner, ok := v.Value.(*ast.MappingNode); ok {
			prune(inner)
		}
		return empty(v.Value)
	})
}

// check holds the keys of the file against the fields of v, by their yaml or json names.
func (f *yamlFile) check(v any) error { return f.hold(v, false) }

// hold is check, and, if words is set, has the types that read text read it, so that what they say is
// told with its line.
func (f *yamlFile) hold(v any, words bool) error {
	var err error
	for _, doc := range f.tree.Docs {
		err = errors.Join(err, f.walk(doc.Body, reflect.TypeOf(v), words))
	}
	return err
}

// shouldBe says what a value is, and what it should be, if it does not fit its type; "": it fits, or whoever reads it says so.
func shouldBe(n ast.Node, t reflect.Type) (is, want string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	_, whole := n.(*ast.IntegerNode)
	_, broken := n.(*ast.FloatNode)
	_, boolean := n.(*ast.BoolNode)
	_, list := n.(*ast.SequenceNode)
	_, keyed := n.(ast.MapNode)
	_, scalar := n.(ast.ScalarNode)
	_, reads := reflect.New(t).Interface().(encoding.TextUnmarshaler)
	switch kind := t.Kind(); {
	case empty(n) || !scalar && !list && !keyed || reads && scalar:
	case (kind == reflect.String || reads) && !scalar:
		want = "write a text"
	case t == reflect.TypeFor[time.Duration]():
		s, ok := n.(*ast.StringNode)
		if ok {
			_, err := time.ParseDuration(s.Value)
			ok = err == nil
		}
		if !ok {
			want = "write a length of time such as 10s, 45m or 2h"
		}
	case kind >= reflect.Int && kind <= reflect.Uint64 && !whole:
		want = "write a whole number"
	case (kind == reflect.Float32 || kind == reflect.Float64) && !whole && !broken:
		want = "write a number"
	case kind == reflect.Bool && !boolean:
		want = "write true or false"
	case kind == reflect.Slice && !list:
		want = "write a list, as in [one, two]"
	case (kind == reflect.Struct || kind == reflect.Map) && !keyed:
		want = "write keys with their values, as in name: oak"
	}
	switch {
	case list:
		return "a list", want
	case keyed:
		return "keys with values", want
	}
	return fmt.Sprintf("%.40s", n), want
}

func (f *yamlFile) walk(n ast.Node, t reflect.Type, words bool) error {
	if is, want := shouldBe(n, t); words && want != "" {
		name := strings.TrimPrefix(strings.TrimPrefix(n.GetPath(), "$"), ".")
		if _, scalar := n.(ast.ScalarNode); name == "" && scalar {
			is = "one value" // which may be a key that was given for another file
		}
		name = cmp.Or(name, "the file")
		return fmt.Errorf("%s:%d: %s is %s: %s", f.path, n.GetToken().Position.Line, name, is, want)
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == reflect.TypeFor[time.Time]() {
		return nil
	}
	if text, ok := reflect.New(t).Interface().(encoding.TextUnmarshaler); ok {
		if s, scalar := n.(ast.ScalarNode); scalar && words && !empty(n) {
			if err := text.UnmarshalText([]byte(s.GetToken().Value)); err != nil {
				return fmt.Errorf("%s:%d: %w", f.path, s.GetToken().Position.Line, err)
			}
		}
		return nil
	}
	var err error
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, value := range n.Values {
			err = errors.Join(err, f.walk(value, t, words))
		}
	case *ast.MappingValueNode:
		if t.Kind() == reflect.Map {
			return f.walk(n.Value, t.Elem(), words)
		}
		if t.Kind() != reflect.Struct {
			return nil
		}
		key := n.Key.GetToken().Value
		known := keys(t)
		inner, ok := known[key]
		if !ok {
			hint := "leave it out"
			if near := device.Nearest(key, slices.Sorted(maps.Keys(known))); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			return fmt.Errorf("%s:%d: key %q is unknown: %s", f.path, n.Key.GetToken().Position.Line, key, hint)
		}
		return f.walk(n.Value, inner, words)
	case *ast.SequenceNode:
		if t.Kind() != reflect.Slice {
			return nil
		}
		for _, value := range n.Values {
			err = errors.Join(err, f.walk(value, t.Elem(), words))
		}
	}
	return err
}

// keys are the fields of a struct as files spell them.
func keys(t reflect.Type) map[string]reflect.Type {
	all := map[string]reflect.Type{}
	for field := range t.Fields() {
		if field.Anonymous {
			maps.Copy(all, keys(field.Type))
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if name == "" {
			name, _, _ = strings.Cut(field.Tag.Get("json"), ",")
		}
		if name != "" && name != "-" {
			all[name] = field.Type
		}
	}
	return all
}

// at is the file and line of a field such as texts[0].body, or of what is nearest around it.
func (f *yamlFile) at(field string) string {
	for where := "$." + field; where != ""; {
		if p, err := yaml.PathString(where); err == nil {
			if n, err := p.FilterFile(f.tree); err == nil && n != nil && n.GetToken() != nil {
				tok := n.GetToken()
				if n.Type() == ast.MappingType || n.Type() == ast.MappingValueType {
					for tok.Prev != nil && tok.Position.Line == tok.Prev.Position.Line {
						tok = tok.Prev
					}
				}
				return fmt.Sprintf("%s:%d", f.path, tok.Position.Line)
			}
		}
		where = where[:max(strings.LastIndexAny(where, ".["), 0)]
	}
	return f.path
}
