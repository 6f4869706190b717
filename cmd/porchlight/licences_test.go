package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// licence is under what terms the program has a library in it.
type licence struct {
	Module, Version string
	Name            string // as SPDX spells it; "": not known
	Text            string
	Notice          string // what must be passed on beside it; "": nothing
}

// permissive licences ask for nothing but to be passed on.
var permissive = []string{"Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "0BSD"}

// exceptions are libraries under other terms, with what follows.
var exceptions = map[string]string{
	"github.com/veraison/go-cose": "MPL-2.0", // asks that changes of its own files are passed on: there are none, and its source is where its name says
}

// classify names a licence by its words; "" if it is not one that is known here.
func classify(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	title := text[:min(len(text), 200)] // the licences of one family name each other further down
	has := func(all ...string) bool {
		return !slices.ContainsFunc(all, func(s string) bool { return !strings.Contains(text, s) })
	}
	switch {
	case strings.Contains(title, "GNU"):
		return "GPL"
	case strings.Contains(title, "Mozilla Public License Version 2.0"):
		return "MPL-2.0"
	case strings.Contains(title, "Eclipse Public License"):
		return "EPL"
	case has("Apache License", "Version 2.0, January 2004"):
		return "Apache-2.0"
	case has("Permission is hereby granted, free of charge, to any person obtaining a copy"):
		return "MIT"
	case has("Redistributions in binary form must reproduce", "endorse or promote products"):
		return "BSD-3-Clause"
	case has("Redistributions in binary form must reproduce"):
		return "BSD-2-Clause"
	case has("Permission to use, copy, modify, and", "distribute this software for any purpose with or without fee", "above copyright notice"):
		return "ISC"
	}
	return ""
}

// licences are those of all that is linked into the program, by module.
func licences(t *testing.T) (all []licence) {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=Module", "./cmd/porchlight")
	cmd.Dir, cmd.Stderr = "../..", os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			Module *struct {
				Path, Version, Dir string
				Main               bool
			}
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if m := p.Module; m != nil && !m.Main && !seen[m.Path] {
			seen[m.Path] = true
			all = append(all, read(t, m.Path, m.Version, m.Dir))
		}
	}
	slices.SortFunc(all, func(a, b licence) int { return cmp.Compare(a.Module, b.Module) })
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return append(all, read(t, "the Go programming language", "", strings.TrimSpace(string(root))))
}

// read finds the licence among a module's files.
func read(t *testing.T, module, version, dir string) licence {
	t.Helper()
	l := licence{Module: module, Version: version}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	find := func(prefixes ...string) (text string) {
		for _, f := range files {
			if f.IsDir() || text != "" || !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(strings.ToUpper(f.Name()), p) }) {
				continue
			}
			raw, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			text = strings.ReplaceAll(string(raw), "\r\n", "\n")
		}
		return text
	}
	l.Text = find("LICENSE", "LICENCE", "COPYING", "UNLICENSE")
	if strings.Contains(l.Text, "Eclipse Distribution License v1.0") { // at our choice
		l.Text = find("EDL-V10")
	}
	if l.Name = classify(l.Text); l.Name == "Apache-2.0" {
		l.Notice = find("NOTICE")
	}
	return l
}

// page is configs/LICENSES.md: the list, and all that must be passed on with the program.
func page(all []licence) string {
	var b strings.Builder
	b.WriteString("# Licences\n\nThe program `porchlight` has these libraries in it. Go test makes this file anew: `go test ./cmd/porchlight -run Licences -update`.\n\n| module | version | licence |\n|---|---|---|\n")
	for _, l := range all {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", l.Module, l.Version, l.Name)
	}
	b.WriteString("| SQLite, within github.com/mattn/go-sqlite3 | | public domain |\n\nThe text of Apache-2.0 is in LICENSE, above this file, and on Debian in /usr/share/common-licenses/Apache-2.0. The source of what is under MPL-2.0 is at the address that is its name, in the version above, unchanged.\n")
	done := map[string]bool{}
	for i, l := range all {
		text := l.Text
		if l.Name == "Apache-2.0" {
			text = l.Notice
		}
		if text = strings.TrimSpace(text); text == "" || done[text] {
			continue
		}
		done[text] = true
		var names []string
		for _, o := range all[i:] {
			if o.Name != "Apache-2.0" && strings.TrimSpace(o.Text) == text || o.Name == "Apache-2.0" && strings.TrimSpace(o.Notice) == text {
				names = append(names, o.Module)
			}
		}
		fmt.Fprintf(&b, "\n## %s\n\n```\n%s\n```\n", strings.Join(names, ", "), strings.ReplaceAll(text, "```", "'''"))
	}
	return b.String()
}

// Nothing is in the program whose terms are not known or ask for more than to be passed on, and the file that
// passes them on is of today.
func TestLicences(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the list is of the program for Linux")
	}
	all := licences(t)
	for _, l := range all {
		if !slices.Contains(permissive, l.Name) && (l.Name == "" || exceptions[l.Module] != l.Name) {
			t.Errorf("%s %s is under %q: is that permitted here?", l.Module, l.Version, cmp.Or(l.Name, "nothing that is known"))
		}
	}
	for module := range exceptions {
		if !slices.ContainsFunc(all, func(l licence) bool { return l.Module == module }) {
			t.Errorf("%s is an exception, and is not in the program", module)
		}
	}
	const file = "../../configs/LICENSES.md"
	want := page(all)
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not of today: go test ./cmd/porchlight -run Licences -update", file)
	}
}

func TestClassify(t *testing.T) {
	tests := map[string]string{
		"GNU LESSER GENERAL PUBLIC LICENSE Version 3": "GPL", "GNU AFFERO GENERAL PUBLIC LICENSE": "GPL", "Eclipse Public License - v 2.0": "EPL",
		"Mozilla Public License Version 2.0":                                                           "MPL-2.0",
		"Permission is hereby granted, free of charge, to any person obtaining a copy\n of this":       "MIT",
		"Redistributions in binary form must reproduce the above":                                      "BSD-2-Clause",
		"Redistributions in binary form must\nreproduce the above\nnor to endorse or promote products": "BSD-3-Clause",
		"Business Source License 1.1":                                                                  "", "": "",
	}
	for text, want := range tests {
		if got := classify(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
