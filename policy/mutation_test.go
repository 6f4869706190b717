package policy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/format"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The tests are tested: every operator of the judge is turned into its neighbour, one at a time, and some test
// has to notice. All mutants are compiled into one binary, in which PORCHLIGHT_MUTANT picks one, so that each
// costs a run and no build. At first every test runs once with none picked, to tell which mutants it comes by: only
// those tests are run against a mutant, the quick ones first, and those that draw their cases with a tenth of them.
// Of those that have to notice a break of the judge (notices ...) none is run: they say nothing of the judge as it is.
//
//	PORCHLIGHT_MUTATE=200 go test ./policy -run TestMutants -v -timeout 3h    200 of them, drawn by PORCHLIGHT_SEED
//	PORCHLIGHT_MUTATE=all ...                                                 all
//	PORCHLIGHT_MUTATE=cap.go:91 ...                                           those that are spelt so
//
// What lives and cannot be killed is in testdata/survivors.txt, with the reason.

// mutant is one change.
type mutant struct {
	id        int
	file      string
	line      int
	was, made string
}

func (m mutant) String() string { return fmt.Sprintf("%s:%d: %s -> %s", m.file, m.line, m.was, m.made) }

// key is what a mutant is called in the list of those that are known to live: lines move.
func (m mutant) key() string { return fmt.Sprintf("%s: %s -> %s", m.file, m.was, m.made) }

var neighbours = map[token.Token]token.Token{
	token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR, token.EQL: token.NEQ, token.NEQ: token.EQL,
	token.LAND: token.LOR, token.LOR: token.LAND, token.ADD: token.SUB, token.SUB: token.ADD, token.AND: token.OR, token.OR: token.AND,
}

var findings = map[string]string{"pass": "wait", "wait": "pass", "refuse": "wait"}

// mutator rewrites the files of the package so that they hold all mutants.
type mutator struct {
	fset *token.FileSet
	info *types.Info
	pkg  *types.Package
	file string
	all  []mutant
}

func (w *mutator) text(n ast.Node) string {
	var b bytes.Buffer
	if err := format.Node(&b, w.fset, n); err != nil {
		panic(err)
	}
	s := strings.Join(strings.Fields(b.String()), " ")
	return s
}

func (w *mutator) add(at token.Pos, was, made string) int {
	if len(was) > 160 {
		was = was[:160] + "…"
	}
	if len(made) > 160 {
		made = made[:160] + "…"
	}
	w.all = append(w.all, mutant{len(w.all) + 1, w.file, w.fset.Position(at).Line, was, made})
	return len(w.all)
}

func (w *mutator) typeName(e ast.Expr) (string, bool) {
	t := w.info.TypeOf(e)
	if t == nil {
		return "", false
	}
	if b, ok := t.Underlying().(*types.Basic); ok && b.Info()&types.IsUntyped != 0 {
		t = types.Default(t)
	}
	return types.TypeString(t, func(p *types.Package) string {
		if p == w.pkg {
			return ""
		}
		return p.Name()
	}), true
}

// either is an expression that is one of two, by the mutant that is picked.
func either(id int, kind string, was, made ast.Expr) ast.Expr {
	body := func(e ast.Expr) *ast.BlockStmt {
		return &ast.BlockStmt{List: []ast.Stmt{&ast.ReturnStmt{Results: []ast.Expr{e}}}}
	}
	fn := &ast.FuncLit{
		Type: &ast.FuncType{Params: &ast.FieldList{}, Results: &ast.FieldList{List: []*ast.Field{{Type: ast.NewIdent(kind)}}}},
		Body: &ast.BlockStmt{List: []ast.Stmt{
			&ast.IfStmt{Cond: picked(id), Body: body(made)},
			&ast.ReturnStmt{Results: []ast.Expr{was}},
		}},
	}
	return &ast.CallExpr{Fun: fn}
}

// picked asks whether a mutant is picked.
func picked(id int) ast.Expr {
	return &ast.CallExpr{Fun: ast.NewIdent("mutantIs"), Args: []ast.Expr{&ast.BasicLit{Kind: token.INT, Value: strconv.Itoa(id)}}}
}

// unless is s, but where a mutant is picked.
func unless(id int, s ast.Stmt) ast.Stmt {
	return &ast.IfStmt{Cond: &ast.UnaryExpr{Op: token.NOT, X: picked(id)}, Body: &ast.BlockStmt{List: []ast.Stmt{s}}}
}

// expr rewrites one expression whose parts have been rewritten; was is how it was spelled before, at a place of the file.
func (w *mutator) expr(e ast.Expr, at token.Pos, was, kind string) ast.Expr {
	switch e := e.(type) {
	case *ast.BinaryExpr:
		to, ok := neighbours[e.Op]
		if !ok || kind == "" || kind == "string" && (e.Op == token.ADD) || strings.Contains(kind, "func") {
			return e
		}
		made := &ast.BinaryExpr{X: e.X, Op: to, Y: e.Y}
		return either(w.add(at, was, e.Op.String()+" becomes "+to.String()), kind, e, made)
	case *ast.Ident:
		if to, ok := findings[e.Name]; ok && kind == "finding" {
			return either(w.add(at, e.Name, to), kind, e, ast.NewIdent(to))
		}
	case *ast.UnaryExpr:
		if e.Op == token.NOT {
			return either(w.add(at, was, "without !"), kind, e, e.X)
		}
	}
	return e
}

// rewrite goes through a tree, the leaves first.
func (w *mutator) rewrite(n ast.Node) {
	var walk func(e ast.Expr) ast.Expr
	var stmts func(list []ast.Stmt)
	var stmt func(s ast.Stmt) ast.Stmt
	exprs := func(list []ast.Expr) {
		for i := range list {
			list[i] = walk(list[i])
		}
	}
	walk = func(e ast.Expr) ast.Expr {
		if e == nil {
			return nil
		}
		tv, known := w.info.Types[e]
		if known && tv.IsType() {
			return e
		}
		if known && tv.Value != nil {
			return e // a constant
		}
		was, at := w.text(e), e.Pos()
		kind := ""
		if known {
			kind, _ = w.typeName(e)
		}
		switch x := e.(type) {
		case *ast.BinaryExpr:
			x.X, x.Y = walk(x.X), walk(x.Y)
		case *ast.UnaryExpr:
			if x.Op != token.AND { // an address needs a place
				x.X = walk(x.X)
			}
		case *ast.ParenExpr:
			x.X = walk(x.X)
			return x
		case *ast.CallExpr:
			exprs(x.Args)
			if s, ok := x.Fun.(*ast.SelectorExpr); ok {
				if _, call := s.X.(*ast.CallExpr); call {
					s.X = walk(s.X)
				}
			}
			return x
		case *ast.IndexExpr:
			x.Index = walk(x.Index)
			return x
		case *ast.SliceExpr:
			x.Low, x.High = walk(x.Low), walk(x.High)
			return x
		case *ast.CompositeLit:
			for i := range x.Elts {
				if kv, ok := x.Elts[i].(*ast.KeyValueExpr); ok {
					kv.Value = walk(kv.Value)
				} else {
					x.Elts[i] = walk(x.Elts[i])
				}
			}
			return x
		case *ast.FuncLit:
			stmts(x.Body.List)
			return x
		}
		return w.expr(e, at, was, kind)
	}
	stmt = func(s ast.Stmt) ast.Stmt {
		switch s := s.(type) {
		case *ast.ExprStmt:
			s.X = walk(s.X)
		case *ast.AssignStmt:
			was, at := w.text(s), s.Pos()
			exprs(s.Rhs)
			if s.Tok != token.DEFINE {
				for _, l := range s.Lhs {
					if i, ok := l.(*ast.Ident); ok && i.Name == "_" {
						return s
					}
				}
				return unless(w.add(at, was, "left out"), s)
			}
		case *ast.ReturnStmt:
			exprs(s.Results)
		case *ast.IfStmt:
			if s.Init != nil {
				if d, ok := s.Init.(*ast.AssignStmt); ok {
					exprs(d.Rhs)
				}
			}
			s.Cond = walk(s.Cond)
			stmts(s.Body.List)
			if s.Else != nil {
				s.Else = stmt(s.Else)
			}
		case *ast.BlockStmt:
			stmts(s.List)
		case *ast.ForStmt:
			s.Cond = walk(s.Cond)
			stmts(s.Body.List)
		case *ast.RangeStmt:
			stmts(s.Body.List)
		case *ast.SwitchStmt:
			if s.Init != nil {
				if d, ok := s.Init.(*ast.AssignStmt); ok {
					exprs(d.Rhs)
				}
			}
			for _, c := range s.Body.List {
				c := c.(*ast.CaseClause)
				if s.Tag == nil {
					exprs(c.List)
				}
				stmts(c.Body)
			}
		case *ast.IncDecStmt:
			return unless(w.add(s.Pos(), w.text(s), "left out"), s)
		case *ast.LabeledStmt:
			s.Stmt = stmt(s.Stmt)
		}
		return s
	}
	stmts = func(list []ast.Stmt) {
		for i := range list {
			list[i] = stmt(list[i])
		}
	}
	switch n := n.(type) {
	case *ast.FuncDecl:
		if n.Body != nil {
			stmts(n.Body.List)
		}
	}
}

// notJudging are files whose mutants tell nothing about judgements: names and spelling.
var notJudging = []string{"policy.go", "cause.go"}

// mutants writes an overlay for the go command that holds all mutants of the package, into dir.
func mutants(t *testing.T, dir string) (overlay string, all []mutant) {
	t.Helper()
	fset := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	var paths []string
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files, paths = append(files, f), append(paths, name)
	}
	w := &mutator{fset: fset, info: &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}}
	conf := types.Config{Importer: importer.ForCompiler(fset, "source", nil)}
	if w.pkg, err = conf.Check("porchlight/policy", fset, files, w.info); err != nil {
		t.Fatal(err)
	}
	replace := map[string]string{}
	for i, f := range files {
		if slices.Contains(notJudging, paths[i]) {
			continue
		}
		w.file = paths[i]
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name != "init" {
				w.rewrite(fn)
			}
		}
		f.Comments = nil // they would land between the new lines
		var b bytes.Buffer
		if err := format.Node(&b, fset, f); err != nil {
			t.Fatal(err)
		}
		here, err := filepath.Abs(paths[i])
		if err != nil {
			t.Fatal(err)
		}
		there := filepath.Join(dir, paths[i])
		const embedded = "var ownSafety " // its directive was a comment
		src := bytes.Replace(b.Bytes(), []byte("\n"+embedded), []byte("\n//go:embed safety.json\n"+embedded), 1)
		if err := os.WriteFile(there, src, 0o600); err != nil {
			t.Fatal(err)
		}
		replace[here] = there
	}
	here, err := filepath.Abs("mutant_picked.go")
	if err != nil {
		t.Fatal(err)
	}
	there := filepath.Join(dir, "mutant_picked.go")
	if err := os.WriteFile(there, fmt.Appendf(nil, pickedSource, len(w.all)+1), 0o600); err != nil {
		t.Fatal(err)
	}
	replace[here] = there
	raw, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay, w.all
}

// pickedSource goes into the binary of all mutants. Which of them a run comes by is marked in a file, however the
// run ends.
const pickedSource = `package policy

import (
	"os"
	"strconv"
	"syscall"
)

var mutantPicked, _ = strconv.Atoi(os.Getenv("PORCHLIGHT_MUTANT"))

var mutantsReached = func() []byte {
	f, err := os.OpenFile(os.Getenv("PORCHLIGHT_REACHED"), os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, %d, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	return b
}()

func mutantIs(id int) bool {
	if mutantsReached != nil {
		mutantsReached[id] = 1
	}
	return id == mutantPicked
}
`

// fewer is n, or a tenth of it where the tests are run against a mutant: what the first tenth notices all notice.
func fewer(n int) int {
	if os.Getenv("PORCHLIGHT_MUTANT") != "" {
		return max(1, n/10)
	}
	return n
}

// many is how many cases a test tries: short, or long where PORCHLIGHT_LONG is set.
func many(short, long int) int {
	if os.Getenv("PORCHLIGHT_LONG") != "" {
		return long
	}
	return fewer(short)
}

// hunter is one test that a mutant has to survive, if the test comes by it.
type hunter struct {
	name  string
	takes time.Duration // of the processor
	by    []byte        // by the number of a mutant: 1 if the test comes by it
}

// Hunters that take no longer than this are sent together, and what takes longer goes alone.
var together = []time.Duration{30 * time.Millisecond, 150 * time.Millisecond}

func (h *hunter) company() int { n, _ := slices.BinarySearch(together, h.takes); return n }

// hunt is a binary that holds all mutants, and the tests in it.
type hunt struct {
	binary, dir string
	mutants     int
	hunters     []hunter // the quickest first
	most        int      // seconds of the processor that a run may take: what never ends has used them up some time
}

// run runs tests against a mutant.
func (h *hunt) run(id int, names []string, more ...string) (took time.Duration, out []byte, err error) {
	cmd := exec.Command("sh", "-c", fmt.Sprintf(`ulimit -t %d; ulimit -v 8000000; exec "$@"`, h.most), "sh", h.binary, "-rapid.nofailfile", "-rapid.seed=1", "-rapid.shrinktime=1ms",
		"-test.failfast", "-test.timeout=1h", "-test.skip=/^notices", "-test.run=^("+strings.Join(names, "|")+")$")
	cmd.Env = append(os.Environ(), append(more, fmt.Sprint("PORCHLIGHT_MUTANT=", id), "PORCHLIGHT_MUTATE=", "PORCHLIGHT_LONG=", "GOMAXPROCS=1")...)
	out, err = cmd.CombinedOutput()
	if cmd.ProcessState != nil {
		took = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	return took, out, err
}

// muster finds out which test comes by which mutant, and how long it takes.
func (h *hunt) muster(t *testing.T) {
	h.most = 600
	out, err := exec.Command(h.binary, "-test.list", "^(Test|Fuzz)").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.FieldsSeq(string(out)) {
		if name == "TestMutants" || strings.Contains(name, "Allocat") { // a mutant allocates
			continue
		}
		reached := filepath.Join(h.dir, "reached")
		if err := os.WriteFile(reached, make([]byte, h.mutants+1), 0o600); err != nil {
			t.Fatal(err)
		}
		took, out, err := h.run(0, []string{name}, "PORCHLIGHT_REACHED="+reached)
		if err != nil {
			t.Fatalf("%s fails with no mutant picked: %v\n%s", name, err, out)
		}
		by, err := os.ReadFile(reached)
		if err != nil {
			t.Fatal(err)
		}
		h.hunters = append(h.hunters, hunter{name, took, by})
	}
	slices.SortStableFunc(h.hunters, func(a, b hunter) int { return cmp.Compare(a.takes, b.takes) })
	h.most = 30 + 10*int(h.hunters[len(h.hunters)-1].takes/time.Second)
}

// kills says which tests kill a mutant; "" if it lives.
func (h *hunt) kills(id int) string {
	var names []string
	for i := range h.hunters {
		g := &h.hunters[i]
		if g.by[id] != 0 {
			names = append(names, g.name)
		}
		last := i == len(h.hunters)-1 || g.company() == len(together) || h.hunters[i+1].company() != g.company()
		if last && len(names) > 0 {
			if _, _, err := h.run(id, names); err != nil {
				return strings.Join(names, "|")
			}
			names = nil
		}
	}
	return ""
}

func TestMutants(t *testing.T) {
	want := os.Getenv("PORCHLIGHT_MUTATE")
	if want == "" {
		t.Skip("set PORCHLIGHT_MUTATE to how many mutants are to be tried, or to all")
	}
	dir := t.TempDir()
	overlay, all := mutants(t, dir)
	h := hunt{binary: filepath.Join(dir, "mutants.test"), dir: dir, mutants: len(all)}
	// Nothing is inlined: with all mutants in them some functions would grow until no memory is left.
	build := exec.Command("go", "test", "-c", "-gcflags=porchlight/policy=-l", "-overlay", overlay, "-o", h.binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	h.muster(t)
	seed, _ := strconv.ParseUint(os.Getenv("PORCHLIGHT_SEED"), 10, 64) // 0 unless it is set
	chosen := slices.Clone(all)
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	if n, err := strconv.Atoi(want); err == nil {
		chosen = chosen[:min(n, len(chosen))]
	} else if want != "all" {
		chosen = slices.DeleteFunc(chosen, func(m mutant) bool { return !strings.Contains(m.String(), want) })
	}
	if len(chosen) == 0 {
		t.Fatalf("there is no mutant %q", want)
	}
	reasons := survivors(t)
	var mu sync.Mutex
	var alive []mutant
	tried := 0
	work := make(chan mutant)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for m := range work {
				lives := h.kills(m.id) == ""
				mu.Lock()
				if tried++; lives {
					alive = append(alive, m)
					fmt.Fprintf(os.Stderr, "lives: %s   %s\n", m, reasons[m.key()])
				}
				if tried%20 == 0 {
					fmt.Fprintf(os.Stderr, "%d of %d tried, %d live\n", tried, len(chosen), len(alive))
				}
				mu.Unlock()
			}
		})
	}
	for _, m := range chosen {
		work <- m
	}
	close(work)
	wg.Wait()
	slices.SortFunc(alive, func(a, b mutant) int { return a.id - b.id })
	explained := 0
	for _, m := range alive {
		reason := reasons[m.key()]
		if reason != "" {
			explained++
		}
		t.Logf("lives: %s   %s", m, reason)
	}
	killed := float64(tried-len(alive)) / float64(tried)
	t.Logf("%d of %d mutants tried: %.1f %% killed, %d live, %d of them for a reason that is written down", tried, len(all), 100*killed, len(alive), explained)
	if killed < 0.9 && len(chosen) >= 100 {
		t.Errorf("%.1f %% killed, want at least 90 %%", 100*killed)
	}
}

// survivors reads why some mutants may live: testdata/survivors.txt, a mutant and its reason on two lines.
func survivors(t *testing.T) map[string]string {
	raw, err := os.ReadFile("testdata/survivors.txt")
	if err != nil {
		if os.IsNotExist(err) {
			return nil
		}
		t.Fatal(err)
	}
	reasons := map[string]string{}
	lines := strings.Split(string(raw), "\n")
	for i := 0; i+1 < len(lines); i++ {
		if reason, ok := strings.CutPrefix(lines[i+1], "\t"); ok && !strings.HasPrefix(lines[i], "\t") {
			reasons[lines[i]] = reason
		}
	}
	return reasons
}
