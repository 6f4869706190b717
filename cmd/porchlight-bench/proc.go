package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a server under measurement: a child of ours, so that its time and memory are its own.
type process struct {
	name string
	cmd  *exec.Cmd
	said tail
	done chan struct{} // closed when it has ended
}

// start runs a command. Whatever it prints is kept, the end of it, for when something fails.
func start(name string, arg ...string) (*process, error) { return startOn(nil, name, arg...) }

// startOn is start, on some cores; nil: those of this process.
func startOn(cores *unix.CPUSet, name string, arg ...string) (*process, error) {
	p := &process{name: name, cmd: exec.Command(arg[0], arg[1:]...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// A child has the cores of the thread that starts it, and is killed when that thread ends, which therefore stays.
		runtime.LockOSThread()
		var err error
		if cores != nil {
			err = unix.SchedSetaffinity(0, cores)
		}
		if err == nil {
			err = p.cmd.Start()
		}
		if started <- err; err == nil {
			_ = p.cmd.Wait() // it is ended by a signal of ours
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// cores are those that this program was started on: the first is for servers, the rest for the generator.
var cores = func() (all unix.CPUSet) {
	_ = unix.SchedGetaffinity(os.Getpid(), &all) // empty: nobody is moved anywhere
	return all
}()

func split() (first, rest unix.CPUSet, ok bool) {
	rest = cores
	for i := 0; cores.Count() > 1; i++ {
		if cores.IsSet(i) {
			first.Set(i)
			rest.Clear(i)
			return first, rest, true
		}
	}
	return first, rest, false
}

// startPinned is start, on a core of its own: servers have the first, the generator the rest, so that neither
// takes time from the other and a server's figures are those of one core. With one core they share it.
func startPinned(name string, arg ...string) (p *process, err error) {
	first, _, ok := split()
	if !ok {
		return start(name, arg...)
	}
	return startOn(&first, name, arg...)
}

// apart keeps this process, the generator, off the core of the servers until back is called.
func apart() (back func(), err error) {
	_, rest, ok := split()
	if !ok {
		return func() {}, nil
	}
	procs := runtime.GOMAXPROCS(rest.Count())
	return func() {
		_ = moveThreads(&cores) // where they were
		runtime.GOMAXPROCS(procs)
	}, moveThreads(&rest)
}

// moveThreads moves every thread of this process.
func moveThreads(to *unix.CPUSet) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		id, err := strconv.Atoi(t.Name())
		if err == nil {
			err = unix.SchedSetaffinity(id, to)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) { // it has ended
			return err
		}
	}
	return nil
}

// listens waits until something answers at a TCP address.
func (p *process) listens(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		c, err := net.Dial("tcp", address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s has ended: %s", p.name, p.said.String())
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen on %s: %s", p.name, address, p.said.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends it, by force if it does not go within ten seconds.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// spent is the processor time that it and its threads have had, in user and kernel mode.
func (p *process) spent() (time.Duration, error) {
	const scheduled = 2 // the clock of all threads, by the kernel's scheduler
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^p.cmd.Process.Pid<<3|scheduled), &t); err != nil {
		return 0, fmt.Errorf("processor time of %s: %w: %s", p.name, err, p.said.String())
	}
	return time.Duration(t.Nano()), nil
}

// resident is the memory that it holds, in bytes.
func (p *process) resident() (int64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("/proc/PID/status has no VmRSS")
}

// own is the processor time of this process: the generator's.
func own() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// tail keeps the last of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

var _ io.Writer = (*tail)(nil)

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if n := len(t.buf); n > 64<<10 {
		t.buf = append([]byte(nil), t.buf[n-32<<10:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// freePort is a port of loopback that nobody has.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
