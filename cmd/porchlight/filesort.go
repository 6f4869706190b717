package main

import (
	"fmt"
	"slices"

	"github.com/goccy/go-yaml/ast"
)

// fileSort is a sort of file that a command takes.
type fileSort struct {
	what    string   // as a sentence names it
	command string   // which takes it; %s is the file
	keys    []string // at its top, and at the top of no other sort
}

// The sorts.
var (
	messageFile     = fileSort{"a message", "porchlight push %s", []string{"purpose", "category", "texts", "not_after", "condition", "needs"}}
	homeFile        = fileSort{"a home", "porchlight home add --file %s", []string{"zone", "rooms", "devices", "script", "consents"}}
	preferencesFile = fileSort{"what a home wants", "porchlight home preferences import HOME %s", []string{"asking", "moments", "quiet", "caps", "spacing", "mutes", "channels"}}
	configFile      = fileSort{"a configuration", "porchlight serve --config %s", []string{"mqtt", "http", "tls", "discovery", "delivery", "brands", "traces", "log"}}
	noticesFile     = fileSort{"a notice", "porchlight notice add %s", []string{"purposes", "operations", "retention_days", "layers"}}
)

// be fails if the file has keys of another sort, and none of s: that is more than a misspelt key.
func (f *yamlFile) be(s fileSort) error {
	var top []string
	for _, doc := range f.tree.Docs {
		switch body := doc.Body.(type) {
		case *ast.MappingNode:
			for _, v := range body.Values {
				top = append(top, v.Key.GetToken().Value)
			}
		case *ast.MappingValueNode:
			top = append(top, body.Key.GetToken().Value)
		}
	}
	if s.shares(top) {
		return nil
	}
	for _, other := range []fileSort{messageFile, homeFile, preferencesFile, configFile, noticesFile} {
		if other.shares(top) {
			return fmt.Errorf("%s seems to be %s, not %s: "+other.command, f.path, other.what, s.what, shellWord(f.path))
		}
	}
	return nil
}

// shares reports whether one of the keys is one of the sort's own.
func (s fileSort) shares(keys []string) bool {
	return slices.ContainsFunc(keys, func(k string) bool { return slices.Contains(s.keys, k) })
}
