package main

import (
	"context"
	"database/sql"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"porchlight/broker/api"
)

func TestMain(m *testing.M) {
	if f := flag.Lookup("test.parallel"); f != nil {
		_ = f.Value.Set("8") // what runs at the same time here mostly waits, however few processors there are
	}
	testscript.Main(suite{m}, map[string]func(){"porchlight": func() { os.Exit(command()) }})
}

// suite is all tests, with a folder for what several of them use.
type suite struct{ *testing.M }

var shared string // the folder

func (s suite) Run() int {
	var err error
	if shared, err = os.MkdirTemp("", "porchlight-shared-"); err != nil {
		panic(err)
	}
	defer os.RemoveAll(shared)
	return s.M.Run()
}

// The command line as it is typed, against gateways that are started for the purpose.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("PORCHLIGHT_DATA", "d")
			e.Setenv("GORACE", "atexit_sleep_ms=0") // otherwise each command ends a second late
			e.Setenv("LATER", time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
			// The ports are the system's to choose.
			return os.WriteFile(filepath.Join(e.WorkDir, "gateway.yaml"), []byte(ports), 0o600)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"ready": ready, "capture": capture, "sql": execSQL, "subst": subst, "terminate": terminate, "lossy": lossy,
		},
	})
}

const ports = "mqtt: {plain: '127.0.0.1:0', tls: '127.0.0.1:0', websocket: ''}\nhttp: {plain: '127.0.0.1:0', metrics: ''}\n"

// ready waits until the gateway on the data folder answers, and sets PORCHLIGHT_API.
func ready(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready DATA")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	e := &env{ctx: ctx, data: ts.MkAbs(args[0])}
	for {
		s, err := ask[api.Status](e, "status", api.None{})
		if err == nil {
			ts.Setenv("PORCHLIGHT_API", "http://"+s.Gateway.Listeners["http"])
			return
		}
		if ctx.Err() != nil {
			ts.Fatalf("the gateway is not ready: %v", err)
		}
		time.Sleep(10 * time.Millisecond) // another process: there is nothing to wait on
	}
}

// lossy puts a network before PORCHLIGHT_API that loses the first answer.
func lossy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: lossy")
	}
	gateway := strings.TrimPrefix(ts.Getenv("PORCHLIGHT_API"), "http://")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	go func() {
		for lost := true; ; lost = false {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g, err := net.Dial("tcp", gateway)
			if err != nil {
				c.Close()
				continue
			}
			go io.Copy(g, c)
			go func() {
				defer c.Close()
				defer g.Close()
				if lost {
					g.Read(make([]byte, 1)) // it has answered
				} else {
					io.Copy(c, g)
				}
			}()
		}
	}()
	ts.Setenv("PORCHLIGHT_API", "http://"+l.Addr().String())
}

// terminate sends SIGTERM to what was started last in the background.
func terminate(ts *testscript.TestScript, neg bool, args []string) {
	all := ts.BackgroundCmds()
	if neg || len(args) != 0 || len(all) == 0 {
		ts.Fatalf("usage: terminate, with something in the background")
	}
	ts.Check(all[len(all)-1].Process.Signal(syscall.SIGTERM))
}

// capture sets a variable to what a pattern's group matches in the last standard output.
func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture VARIABLE PATTERN")
	}
	m := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("%s does not match", args[1])
	}
	ts.Setenv(args[0], m[1])
}

// subst writes a file with the variables in another one put in.
func subst(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: subst FROM TO")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(os.Expand(ts.ReadFile(args[0]), ts.Getenv)), 0o600))
}

// execSQL changes a database behind the gateway's back.
func execSQL(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sql FILE STATEMENT")
	}
	db, err := sql.Open("sqlite3", ts.MkAbs(args[0]))
	ts.Check(err)
	defer db.Close()
	result, err := db.Exec(args[1])
	ts.Check(err)
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		ts.Fatalf("%s changed nothing: %v", strings.TrimSpace(args[1]), err)
	}
}
