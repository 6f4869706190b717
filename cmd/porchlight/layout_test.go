package main

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// arrows are the imports that the packages of the house may make of each other. A new one goes
// in here first; so does a new package.
var arrows = map[string][]string{
	"cmd/porchlight":         {"broker", "broker/api", "broker/delivery", "device", "device/authority", "device/registry", "device/store", "device/wire", "device/ledger", "firmware-sim/sim", "policy", "policy/consent", "policy/words"},
	"cmd/porchlight-torture": {"device", "device/wire", "firmware-sim/sim"},
	"broker":                 {"broker/delivery", "device", "device/authority", "device/registry", "device/store", "device/wire"},
	"broker/api":             {"broker/delivery", "device", "device/authority", "device/ledger", "device/registry", "device/store", "policy", "policy/consent"},
	"firmware-sim":           {"device", "device/wire", "firmware-sim/sim"},
	"broker/delivery":        {"device", "device/authority", "device/registry", "device/store", "device/twin", "device/wire", "device/ledger", "policy", "policy/consent", "policy/consent/signals", "policy/words"},
	"firmware-sim/sim":       {"device", "device/wire"},
	"policy/consent":         {"device", "device/ledger", "device/registry", "device/store", "policy"},
	"policy/words":           {"device", "policy"},
	"policy/consent/signals": {"policy"},
	"policy":                 {"device"},
	"device/registry":        {"device", "device/store"},
	"device/twin":            {"device", "device/store"},
	"device/wire":            {"device"},
	"device/store":           {"device", "device/ledger"},
	"device/ledger":          {"device"},
	"device/authority":       {"device"},
	"device":                 {},
}

// floors: every arrow points down, and never to a neighbour, so that no door knows another.
var floors = map[string]int{
	"cmd/porchlight": 5, "cmd/porchlight-torture": 5,
	"broker": 4, "broker/api": 4, "firmware-sim": 4,
	"broker/delivery": 3, "firmware-sim/sim": 3,
	"policy/consent": 2, "policy/consent/signals": 2, "policy/words": 2,
	"device/registry": 1, "policy": 1, "device/twin": 1, "device/wire": 1,
	"device/store": 0, "device/authority": 0,
	"device/ledger": -1, // the log's arithmetic, for the store
	"device":        -2, // the vocabulary, under everything
}

// topLevel is what may stand at the top. Hidden files and what .gitignore names may too.
var topLevel = []string{
	"cmd", "broker", "device", "policy", "firmware-sim", "configs", "go.mod", "go.sum", "README.md",
	"LICENSE", "Makefile", "CONTRIBUTING.md",
	"build", "node_modules", "porchlight", "porchlight-data",
}

// pure packages reach neither SQL nor the network nor cgo, whatever they import.
var pure = []string{"device", "device/ledger", "policy", "policy/words", "policy/consent/signals", "device/wire"}

const module = "porchlight/"

type pkg struct {
	ImportPath string
	Dir        string
	Name       string
	GoFiles    []string
	CgoFiles   []string
	Imports    []string
}

// goList asks the go command about packages.
func goList(t *testing.T, args ...string) (all []pkg) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Name,GoFiles,CgoFiles,Imports"}, args...)...)
	cmd.Dir = "../.."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v", args, err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("go list %s: %v", args, err)
		}
		all = append(all, p)
	}
}

func TestArrows(t *testing.T) {
	for _, p := range goList(t, "./...") {
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, ok := arrows[name]
		if !ok {
			t.Errorf("package %s has no place in the house: give it one in arrows and floors", name)
			continue
		}
		for _, path := range p.Imports {
			to, ours := strings.CutPrefix(path, module)
			if ours && !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s: there is no such arrow", name, to)
			}
		}
	}
	for from, all := range arrows {
		for _, to := range all {
			if above, below := floors[from], floors[to]; above <= below {
				t.Errorf("the arrow from %s (floor %d) to %s (floor %d) does not point down", from, above, to, below)
			}
		}
	}
}

func TestPureFloors(t *testing.T) {
	sql := func(p pkg) bool {
		return p.ImportPath == "database/sql" || strings.HasPrefix(p.ImportPath, "github.com/mattn/") || p.ImportPath == module+"device/store"
	}
	network := func(p pkg) bool {
		return p.ImportPath == "net" || p.ImportPath == "net/http" || p.ImportPath == "crypto/tls"
	}
	for _, name := range pure {
		for _, p := range goList(t, "-deps", "./"+name) {
			if sql(p) || network(p) || len(p.CgoFiles) > 0 {
				t.Errorf("%s reaches %s", name, p.ImportPath)
			}
		}
	}
	for _, p := range goList(t, "-deps", "./firmware-sim/sim") {
		inside, ours := strings.CutPrefix(p.ImportPath, module)
		if sql(p) || ours && !slices.Contains([]string{"device", "device/wire", "firmware-sim/sim"}, inside) {
			t.Errorf("the simulator reaches %s: it knows nothing but the wire", p.ImportPath)
		}
	}
}

func TestPackageComments(t *testing.T) {
	for _, p := range goList(t, "./...") {
		var comments []string
		for _, file := range append(p.GoFiles, p.CgoFiles...) {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc != nil {
				comments = append(comments, f.Doc.Text())
			}
		}
		if len(comments) != 1 {
			t.Errorf("%s has %d package comments, want 1", p.ImportPath, len(comments))
			continue
		}
		words := strings.Join(strings.Fields(comments[0]), " ")
		for _, word := range []string{" In: ", " Out: ", " Never: "} {
			if !strings.Contains(words, word) {
				t.Errorf("the package comment of %s does not say%s", p.ImportPath, word)
			}
		}
	}
}

func TestTopLevel(t *testing.T) {
	all, err := os.ReadDir("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(topLevel, e.Name()) {
			t.Errorf("%s does not belong at the top", e.Name())
		}
	}
}
