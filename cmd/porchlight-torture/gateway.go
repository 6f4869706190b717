//go:build linux

package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

//go:embed shim/disk.c
var diskSource []byte

// disk is what the shim is told, and what it counts: the same as struct control in shim/disk.c.
type disk struct {
	full, badSync, badWrite, badRead, early, seed uint32
	writes, syncs, refused, failed, lost          uint64
}

// gateway is the real gateway as a child process, on a disk and a clock of ours.
type gateway struct {
	dir     string // of all that follows
	data    string
	copy    string // the databases as they would be after a power cut
	binary  string
	old     string // the binary that is started first; "": the same
	shim    string // "": on the plain disk
	config  string
	lease   time.Duration
	allowed time.Duration
	ports   []int // mqtt, tls, http, metrics
	keep    net.Listener
	disk    *disk
	clock   *int64 // ms that people's clock is ahead
	zones   string // folder of time zones; "": those that the gateway has

	mu      sync.Mutex
	cmd     *exec.Cmd
	ended   chan struct{}
	wanted  bool // it is to run: an end is not ours
	starts  int
	crashes []string
}

// mapped makes a file of zeros and maps it.
func mapped(path string, size int) ([]byte, error) {
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
}

// newGateway makes the folder of a gateway. plain leaves the disk as it is.
func newGateway(dir, binary, old string, seed uint64, lease, allowance time.Duration, plain bool) (*gateway, error) {
	g := &gateway{dir: dir, data: filepath.Join(dir, "d"), copy: filepath.Join(dir, "copy"), binary: binary, old: old, config: filepath.Join(dir, "gateway.yaml"), lease: lease, allowed: allowance}
	if err := errors.Join(os.MkdirAll(g.data, 0o700), os.MkdirAll(g.copy, 0o700)); err != nil {
		return nil, err
	}
	clock, err := mapped(filepath.Join(dir, "clock"), 8)
	if err != nil {
		return nil, err
	}
	g.clock = (*int64)(unsafe.Pointer(&clock[0]))
	control, err := mapped(filepath.Join(dir, "disk"), int(unsafe.Sizeof(disk{})))
	if err != nil {
		return nil, err
	}
	g.disk = (*disk)(unsafe.Pointer(&control[0]))
	g.disk.seed = uint32(seed)
	if !plain {
		g.shim = filepath.Join(dir, "disk.so")
		if err := os.WriteFile(filepath.Join(dir, "disk.c"), diskSource, 0o600); err != nil {
			return nil, err
		}
		if out, err := exec.Command("cc", "-O2", "-shared", "-fPIC", "-o", g.shim, filepath.Join(dir, "disk.c"), "-ldl", "-lpthread").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("compile the disk: %w: %s", err, out)
		}
	}
	if g.ports, g.keep, err = free(rand.New(rand.NewPCG(seed, 9)), 4); err != nil {
		return nil, err
	}
	return g, os.WriteFile(g.config, fmt.Appendf(nil, `mqtt: {plain: '%s', tls: '%s', websocket: '', connections_per_address: 100000, max_connections: 100000, failed_logins: 1000000, takeovers: 1000000, frames_per_second: 100000, bytes_per_second: 100000000, home_frames_per_second: 100000, home_bytes_per_second: 100000000}
http: {plain: '%s', metrics: '%s'}
discovery: {on: false}
brands: {rate: 100000, burst: 100000}
delivery: {learner: off, lease: %s, allowance: %s, acknowledgement: 5s, facts_at_once: 1000000, facts_per_minute: 1000000}
`, g.addr(0), g.addr(1), g.addr(2), g.addr(3), lease, allowance), 0o600)
}

func (g *gateway) addr(i int) string { return fmt.Sprint("127.0.0.1:", g.ports[i]) }

// free finds n ports in a row that nothing listens on, outside of the range from which the system takes the ports of those
// who dial: while the gateway is down, nobody else gets them. The one before them stays taken.
func free(rng *rand.Rand, n int) (ports []int, kept net.Listener, err error) {
	listen := func(port int) (net.Listener, error) { return net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)) }
	for range 1000 {
		first := 20000 + (n+1)*rng.IntN(10000/(n+1))
		if kept, err = listen(first); err != nil {
			continue
		}
		ports = nil
		for port := first + 1; port <= first+n; port++ {
			if l, err := listen(port); err == nil {
				l.Close()
				ports = append(ports, port)
			}
		}
		if len(ports) == n {
			return ports, kept, nil
		}
		kept.Close()
	}
	return nil, nil, errors.New("no free ports")
}

// databases are the files of the data folder that the shim looks after.
func (g *gateway) databases(dir string) []string {
	all, _ := filepath.Glob(filepath.Join(dir, "porchlight.db*")) // the pattern is good
	return slices.DeleteFunc(all, func(name string) bool { return strings.HasSuffix(name, "-shm") || strings.HasSuffix(name, ".lock") })
}

// same makes the databases in one folder what they are in another.
func (g *gateway) same(from, to string) error {
	for _, name := range append(g.databases(to), filepath.Join(to, "porchlight.db-shm")) {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	for _, name := range g.databases(from) {
		if err := copyFile(name, filepath.Join(to, filepath.Base(name))); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// start starts the gateway; it does not wait until it runs. What is in the data folder counts as on disk.
func (g *gateway) start() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shim != "" {
		if err := g.same(g.data, g.copy); err != nil {
			return fmt.Errorf("copy the databases: %w", err)
		}
	}
	binary := g.binary
	if g.starts == 0 && g.old != "" {
		binary = g.old
	}
	g.starts++
	log, err := os.OpenFile(filepath.Join(g.dir, "gateway.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(binary, "--data", g.data, "serve", "--config", g.config)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = append(os.Environ(), "PORCHLIGHT_TORTURE_CLOCK="+filepath.Join(g.dir, "clock"))
	if g.shim != "" {
		cmd.Env = append(cmd.Env, "LD_PRELOAD="+g.shim, "PORCHLIGHT_DISK_CONTROL="+filepath.Join(g.dir, "disk"),
			"PORCHLIGHT_DISK_FILES="+filepath.Join(g.data, "porchlight.db"), "PORCHLIGHT_DISK_COPY="+g.copy)
	}
	if g.zones != "" {
		cmd.Env = append(cmd.Env, "ZONEINFO="+g.zones)
	}
	// The death of the thread that starts a child would end it, too: this one stays.
	started := make(chan error)
	ended := make(chan struct{})
	go func() {
		lockThread()
		started <- cmd.Start()
		if cmd.Process == nil {
			return
		}
		_ = cmd.Wait() // its state says how
		close(ended)
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.wanted && g.cmd == cmd {
			g.crashes = append(g.crashes, fmt.Sprintf("the gateway ended by itself: %v", cmd.ProcessState))
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	g.cmd, g.ended, g.wanted = cmd, ended, true
	return nil
}

// running reports whether the process is there.
func (g *gateway) running() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended == nil {
		return false
	}
	select {
	case <-g.ended:
		return false
	default:
		return true
	}
}

// crashed reports whether it has ever ended by itself.
func (g *gateway) crashed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.crashes) > 0
}

// works starts the gateway unless it runs, and waits until it works.
func (g *gateway) works(ctx context.Context) error {
	if !g.running() {
		if err := g.start(); err != nil {
			return err
		}
	}
	return g.ready(ctx)
}

// folder is the data folder, which an upgrade moves.
func (g *gateway) folder() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.data
}

// started is how often the gateway was started.
func (g *gateway) started() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.starts
}

// ready waits until the gateway answers and works.
func (g *gateway) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	client := http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.addr(2)+"/readyz", nil)
		if err != nil {
			return err
		}
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		if !g.running() {
			return fmt.Errorf("the gateway did not start: %s: see %s", g.last(), filepath.Join(g.dir, "gateway.log"))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the gateway is not ready: %w: see %s", ctx.Err(), filepath.Join(g.dir, "gateway.log"))
		case <-time.After(5 * time.Millisecond): // another process: there is nothing to wait on
		}
	}
}

// end ends the process by a signal, and waits.
func (g *gateway) end(by syscall.Signal) error {
	g.mu.Lock()
	cmd, ended := g.cmd, g.ended
	g.wanted = false
	g.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Signal(by); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		_ = cmd.Process.Signal(syscall.SIGQUIT) // so that it says where it hangs
		<-ended
		return fmt.Errorf("the gateway does not end: see %s", filepath.Join(g.dir, "gateway.log"))
	}
	if by == syscall.SIGTERM && !cmd.ProcessState.Success() {
		return fmt.Errorf("the gateway did not end well: %v", cmd.ProcessState)
	}
	return nil
}

// cutPower ends the process and leaves of its databases what had been synced.
func (g *gateway) cutPower() error {
	if err := g.end(syscall.SIGKILL); err != nil {
		return err
	}
	return g.same(g.copy, g.data)
}

func (g *gateway) set(what *uint32, to uint32) { atomic.StoreUint32(what, to) }

// ahead is by how much people's clock is ahead.
func (g *gateway) ahead() time.Duration {
	return time.Duration(atomic.LoadInt64(g.clock)) * time.Millisecond
}

// ask has the gateway do an operator's verb.
func (g *gateway) ask(ctx context.Context, verb string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(g.folder(), "porchlight.sock"))
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://porchlight/"+verb, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", verb, resp.Status, raw)
	}
	return json.Unmarshal(raw, out)
}

// insist asks until there is an answer, whatever becomes of the gateway meanwhile.
func (g *gateway) insist(ctx context.Context, verb string, in, out any) error {
	for {
		err := g.ask(ctx, verb, in, out)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if strings.Contains(err.Error(), ": 4") { // it has an answer, and that is no
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// last is the last line of the gateway's log.
func (g *gateway) last() string {
	raw, err := os.ReadFile(filepath.Join(g.dir, "gateway.log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return lines[len(lines)-1]
}

// said are the lines of the gateway's log that it should never say.
func (g *gateway) said() (all []string) {
	raw, err := os.ReadFile(filepath.Join(g.dir, "gateway.log"))
	if err != nil {
		return []string{err.Error()}
	}
	for _, line := range strings.Split(string(raw), "\n") {
		for _, bad := range []string{"DATA RACE", "panic", "fatal error", "SIGSEGV", "disk shim"} {
			if strings.Contains(line, bad) {
				all = append(all, line)
				break
			}
		}
	}
	return all
}

// check has the gateway's own command compare its tables with its journal, while it does not run.
func (g *gateway) check(ctx context.Context) (damage []string) {
	cmd := exec.CommandContext(ctx, g.binary, "--data", g.data, "rebuild", "--check")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		if !strings.HasSuffix(line, " events") {
			damage = append(damage, line)
		}
	}
	return damage[:min(len(damage), 20)]
}
