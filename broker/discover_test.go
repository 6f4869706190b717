//go:build linux

package broker

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
)

// Tests that send run in network namespaces of their own: the gateway in one, a neighbour in
// another, and between them cables that end nowhere else.

const apartKey = "PORCHLIGHT_TEST_APART"

// patiently bounds the waits of these tests; nothing depends on how long it is.
const patiently = 30 * time.Second

// apart runs the test that calls it again in a new network namespace. It reports true there.
// Where none can be made, the test is skipped.
func apart(t *testing.T) bool {
	t.Helper()
	if os.Getenv(apartKey) == t.Name() {
		must(t, "ip", "link", "set", "lo", "up")
		return true
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("ip (Debian: iproute2) is not installed: no network can be made to announce on")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), apartKey+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	runtime.LockOSThread() // Pdeathsig is the thread's
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		t.Skipf("no network namespace can be made here: %v", err)
	}
	err = cmd.Wait()
	switch {
	case err != nil:
		t.Errorf("in its own network: %v\n%s", err, out.String())
	case strings.Contains(out.String(), "--- SKIP"):
		t.Skip(out.String())
	case !strings.Contains(out.String(), "--- PASS: "+t.Name()):
		t.Errorf("it did not run in its own network:\n%s", out.String())
	}
	return false
}

func must(t *testing.T, command ...string) {
	t.Helper()
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
}

// neighbour is another machine: a thread in a network namespace of its own. What is opened and
// started there stays there.
type neighbour struct {
	t    *testing.T
	path string
	work chan func()
}

func newNeighbour(t *testing.T) *neighbour {
	n := &neighbour{t: t, work: make(chan func())}
	ready, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		n.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), syscall.Gettid())
		ready <- syscall.Unshare(syscall.CLONE_NEWNET)
		for f := range n.work {
			f()
		}
	}()
	t.Cleanup(func() { close(n.work); <-ended })
	if err := <-ready; err != nil {
		t.Skipf("no second network namespace can be made here: %v", err)
	}
	return n
}

// do runs f over there.
func (n *neighbour) do(f func()) {
	done := make(chan struct{})
	n.work <- func() { defer close(done); f() }
	<-done
}

// cable lays a cable from the interface near here to far over there. near goes up last, with
// the addresses that are given; those of far are the neighbour's.
func (n *neighbour) cable(near, far string, nearAddrs, farAddrs []string) {
	n.t.Helper()
	add := func(name string, addrs []string) {
		for _, a := range addrs {
			command := []string{"ip", "address", "add", a, "dev", name}
			if strings.Contains(a, ":") {
				command = append(command, "nodad") // it can be used at once
			}
			must(n.t, command...)
		}
		must(n.t, "ip", "link", "set", name, "up")
	}
	must(n.t, "ip", "link", "add", near, "type", "veth", "peer", "name", far)
	must(n.t, "ip", "link", "set", far, "netns", n.path)
	n.do(func() { add(far, farAddrs) })
	add(near, nearAddrs)
}

// all returns everything that was heard until now.
func (s *station) all() []dnsmessage.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.kept)
}

// station is a socket of multicast DNS over there, on one interface. It is made of nothing of
// the gateway's.
type station struct {
	t     *testing.T
	conn  *net.UDPConn
	group *net.UDPAddr
	heard chan dnsmessage.Message

	mu   sync.Mutex
	kept []dnsmessage.Message
}

func (n *neighbour) station(network, far string) *station {
	n.t.Helper()
	var s *station
	n.do(func() { s = listenAt(n.t, network, far) })
	return s
}

func listenAt(t *testing.T, network, name string) *station {
	t.Helper()
	s := &station{t: t, heard: make(chan dnsmessage.Message, 1024), group: &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}}
	if network == "udp6" {
		s.group = &net.UDPAddr{IP: net.ParseIP("ff02::fb"), Port: 5353, Zone: name}
	}
	i, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	if s.conn, err = net.ListenMulticastUDP(network, i, s.group); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := make([]byte, 65536)
		for {
			size, _, err := s.conn.ReadFromUDP(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if err := m.Unpack(b[:size]); err != nil {
				t.Errorf("a packet that cannot be read: %v: %x", err, b[:size])
				continue
			}
			s.mu.Lock()
			s.kept = append(s.kept, m)
			s.mu.Unlock()
			s.heard <- m
		}
	}()
	t.Cleanup(func() { s.conn.Close(); <-ended })
	return s
}

// await returns the next message that is what is waited for, passing over others.
func (s *station) await(what string, is func(dnsmessage.Message) bool) dnsmessage.Message {
	s.t.Helper()
	timeout := time.After(patiently)
	for {
		select {
		case m := <-s.heard:
			if is(m) {
				return m
			}
		case <-timeout:
			s.t.Fatalf("%s did not come", what)
		}
	}
}

func (s *station) send(m dnsmessage.Message) {
	s.t.Helper()
	b, err := m.Pack()
	if err == nil {
		_, err = s.conn.WriteToUDP(b, s.group)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// askUntil asks until the whole answer is want: what was told everybody within the last second
// is not repeated.
func (s *station) askUntil(q dnsmessage.Message, want ...string) {
	s.t.Helper()
	var last []string
	for range int(patiently / (100 * time.Millisecond)) {
		s.send(q)
		again := time.After(100 * time.Millisecond)
	answers:
		for {
			select {
			case m := <-s.heard:
				if !m.Response {
					continue
				}
				if last = append(said(m.Answers), said(m.Additionals)...); slices.Equal(last, want) {
					return
				}
			case <-again:
				break answers
			}
		}
	}
	equalLines(s.t, "answer to "+q.GoString(), last, want)
	s.t.FailNow()
}

func ask(name string, t dnsmessage.Type) dnsmessage.Message {
	return dnsmessage.Message{Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: t, Class: dnsmessage.ClassINET}}}
}

// said spells records out, in the order in which they came.
func said(rs []dnsmessage.Resource) (all []string) {
	for _, r := range rs {
		var body string
		switch b := r.Body.(type) {
		case *dnsmessage.PTRResource:
			body = "PTR " + b.PTR.String()
		case *dnsmessage.SRVResource:
			body = fmt.Sprintf("SRV %d %s", b.Port, b.Target)
		case *dnsmessage.TXTResource:
			body = "TXT " + strings.Join(b.TXT, " ")
		case *dnsmessage.AResource:
			body = "A " + netip.AddrFrom4(b.A).String()
		case *dnsmessage.AAAAResource:
			body = "AAAA " + netip.AddrFrom16(b.AAAA).String()
		}
		all = append(all, fmt.Sprintf("%s %x %d %s", r.Header.Name, uint16(r.Header.Class), r.Header.TTL, body))
	}
	return all
}

func equalLines(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got  %s\n want %s", what, strings.Join(got, "\n      "), strings.Join(want, "\n      "))
	}
}

// everything is an announcement on a network with these addresses, A or AAAA before each.
func everything(addresses ...string) []string {
	all := []string{
		"_services._dns-sd._udp.local. 1 4500 PTR _porchlight._tcp.local.",
		"_porchlight._tcp.local. 1 4500 PTR Porchlight k7m2p9qx._porchlight._tcp.local.",
		"Porchlight k7m2p9qx._porchlight._tcp.local. 8001 120 SRV 8883 porchlight-k7m2p9qx.local.",
		"Porchlight k7m2p9qx._porchlight._tcp.local. 8001 4500 TXT v=1 hh=k7m2p9qx",
	}
	for _, a := range addresses {
		all = append(all, "porchlight-k7m2p9qx.local. 8001 120 "+a)
	}
	return all
}

func probing(m dnsmessage.Message) bool { return !m.Response && len(m.Authorities) > 0 }

func announces(m dnsmessage.Message) bool {
	return m.Response && len(m.Answers) > 1 && m.Answers[0].Header.Name.String() == "_services._dns-sd._udp.local." && m.Answers[1].Header.TTL > 0
}

// telling reports whether m announces exactly these addresses.
func telling(addresses ...string) func(dnsmessage.Message) bool {
	return func(m dnsmessage.Message) bool {
		return announces(m) && slices.Equal(said(m.Answers), everything(addresses...))
	}
}

func goodbye(m dnsmessage.Message) bool {
	return m.Response && len(m.Answers) > 0 && m.Answers[0].Header.Name.String() == "_porchlight._tcp.local." && m.Answers[0].Header.TTL == 0
}

// announcing is a Discovery that runs.
type announcing struct {
	*Discovery
	t     *testing.T
	lines chan string // the log
	kept  []string    // all of it; after stop
	stop  func()      // ends it and waits; may be called twice
}

func (a *announcing) Write(b []byte) (int, error) {
	a.kept = append(a.kept, string(b))
	a.lines <- string(b)
	return len(b), nil
}

// awaitLog returns the next line of the log that contains text.
func (a *announcing) awaitLog(text string) string {
	a.t.Helper()
	timeout := time.After(patiently)
	for {
		select {
		case l := <-a.lines:
			if strings.Contains(l, text) {
				return l
			}
		case <-timeout:
			a.t.Fatalf("the log never said %q", text)
		}
	}
}

// awaitLooks returns when it has looked at the interfaces some more times.
func (a *announcing) awaitLooks() {
	for range 4 {
		for last := a.own.Load(); a.own.Load() == last; {
			time.Sleep(time.Millisecond)
		}
	}
}

func announce(t *testing.T, listener string, interfaces ...string) *announcing {
	t.Helper()
	a := &announcing{t: t, lines: make(chan string, 4096)}
	o := DiscoveryOptions{ID: "k7m2p9qx", Interfaces: interfaces}
	if listener != "" {
		o.Listener = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(listener))
	}
	d, err := Discover(o, slog.New(slog.NewTextHandler(a, nil)))
	if err != nil {
		t.Fatal(err)
	}
	d.every = 50 * time.Millisecond
	a.Discovery = d
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx); close(ended) }()
	a.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(a.stop)
	return a
}

func TestDiscoveryOfTheGateway(t *testing.T) {
	t.Parallel()
	if !apart(t) {
		return
	}
	n := newNeighbour(t)
	n.cable("home0", "far0", []string{"192.168.77.1/24", "fd00:77::1/64", "2001:db8:77::1/64"}, []string{"192.168.77.2/24", "fd00:77::2/64"})
	four, six := n.station("udp4", "far0"), n.station("udp6", "far0")
	a := announce(t, "[::]:8883")
	all := everything("A 192.168.77.1", "AAAA fd00:77::1")

	// It asks whether the names are free, says that it is there, and says so again.
	for version, s := range map[string]*station{"IPv4": four, "IPv6": six} {
		for range 3 {
			m := s.await("a probe over "+version, probing)
			if len(m.Questions) != 2 || len(m.Authorities) != 4 || len(m.Answers) != 0 {
				t.Errorf("probe over %s: %v", version, m.GoString())
			}
		}
		for range 2 {
			m := s.await("an announcement over "+version, announces)
			equalLines(t, "announced over "+version, said(m.Answers), all)
			if m.ID != 0 || !m.Authoritative || len(m.Questions) != 0 {
				t.Errorf("announcement over %s: header %v", version, m.Header)
			}
		}
	}

	// Somebody who speaks multicast DNS asks, and everybody hears the answer.
	for name, want := range map[string][]string{
		"_porchlight._tcp.local.":                     {all[1], all[2], all[3], all[4], all[5]},
		"_SERVICES._dns-sd._udp.local.":               {all[0]},
		"Porchlight k7m2p9qx._porchlight._tcp.local.": {all[2], all[3], all[4], all[5]},
		"porchlight-k7m2p9qx.local.":                  {all[4], all[5]},
	} {
		for _, s := range []*station{four, six} {
			s.askUntil(ask(name, dnsmessage.TypeALL), want...)
		}
	}

	// A device that knows only how to ask a plain question hears the answer alone.
	var alone *net.UDPConn
	var err error
	n.do(func() {
		if alone, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(192, 168, 77, 2)}); err == nil {
			var i *net.Interface
			if i, err = net.InterfaceByName("far0"); err == nil {
				err = ipv4.NewPacketConn(alone).SetMulticastInterface(i)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer alone.Close()
	q := ask("_porchlight._tcp.local.", dnsmessage.TypePTR)
	q.ID = 4711
	b, err := q.Pack()
	if err == nil {
		_, err = alone.WriteToUDP(b, four.group)
	}
	if err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1500)
	alone.SetReadDeadline(time.Now().Add(patiently))
	size, from, err := alone.ReadFromUDPAddrPort(answer)
	if err != nil {
		t.Fatal(err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(answer[:size]); err != nil {
		t.Fatal(err)
	}
	if from.String() != "192.168.77.1:5353" || m.ID != 4711 || len(m.Questions) != 1 {
		t.Errorf("answer from %s: %v", from, m.GoString())
	}
	equalLines(t, "told alone", append(said(m.Answers), said(m.Additionals)...), []string{
		"_porchlight._tcp.local. 1 10 PTR Porchlight k7m2p9qx._porchlight._tcp.local.",
		"Porchlight k7m2p9qx._porchlight._tcp.local. 1 10 SRV 8883 porchlight-k7m2p9qx.local.",
		"Porchlight k7m2p9qx._porchlight._tcp.local. 1 10 TXT v=1 hh=k7m2p9qx",
		"porchlight-k7m2p9qx.local. 1 10 A 192.168.77.1",
		"porchlight-k7m2p9qx.local. 1 10 AAAA fd00:77::1",
	})

	a.stop()
	for version, s := range map[string]*station{"IPv4": four, "IPv6": six} {
		m := s.await("a goodbye over "+version, goodbye)
		for _, r := range m.Answers {
			if r.Header.TTL != 0 {
				t.Errorf("goodbye over %s: %s", version, said(m.Answers))
			}
		}
		if len(m.Answers) != len(all)-1 {
			t.Errorf("goodbye over %s: %s", version, said(m.Answers))
		}
	}
}

// A browser that nobody here wrote.
const browser = `
import sys, time, zeroconf
class Listener:
    def add_service(self, z, kind, name):
        i = z.get_service_info(kind, name, timeout=30000)
        print("+", name, i.port, sorted(i.properties.items()), sorted(i.parsed_addresses()), flush=True)
    def update_service(self, z, kind, name): pass
    def remove_service(self, z, kind, name): print("-", name, flush=True)
z = zeroconf.Zeroconf(interfaces=["192.168.77.2"])
b = zeroconf.ServiceBrowser(z, "_porchlight._tcp.local.", Listener())
print("browsing", flush=True)
sys.stdin.read()
z.close()
`

func TestDiscoveryByAnotherBrowser(t *testing.T) {
	t.Parallel()
	python := ""
	for _, p := range []string{"/usr/bin/python3", "python3"} {
		if python == "" && exec.Command(p, "-c", "import zeroconf").Run() == nil {
			python = p
		}
	}
	if python == "" {
		t.Skip("no Python with zeroconf (Debian: python3-zeroconf) is installed")
	}
	if !apart(t) {
		return
	}
	n := newNeighbour(t)
	n.cable("home0", "far0", []string{"192.168.77.1/24"}, []string{"192.168.77.2/24"})
	cmd := exec.Command(python, "-c", browser)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	n.do(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(2*patiently, func() { cmd.Process.Kill() })
	defer limit.Stop()
	lines := bufio.NewScanner(out)
	expect := func(want string) {
		t.Helper()
		if !lines.Scan() {
			cmd.Wait()
			t.Fatalf("the browser ended before %q: %s", want, complaints.String())
		}
		if lines.Text() != want {
			t.Errorf("the browser says %q, want %q", lines.Text(), want)
		}
	}
	expect("browsing")
	a := announce(t, "0.0.0.0:8883")
	expect("+ Porchlight k7m2p9qx._porchlight._tcp.local. 8883 [(b'hh', b'k7m2p9qx'), (b'v', b'1')] ['192.168.77.1']")
	a.stop()
	expect("- Porchlight k7m2p9qx._porchlight._tcp.local.")
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("the browser: %v: %s", err, complaints.String())
	}
}

// tap sees every frame that comes in by an interface over there.
func (n *neighbour) tap(far string) *os.File {
	n.t.Helper()
	var f *os.File
	n.do(func() {
		i, err := net.InterfaceByName(far)
		if err != nil {
			n.t.Error(err)
			return
		}
		every := binary.NativeEndian.Uint16([]byte{0, syscall.ETH_P_ALL})
		fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, int(every))
		if err != nil {
			n.t.Error(err)
			return
		}
		err = errors.Join(syscall.Bind(fd, &syscall.SockaddrLinklayer{Protocol: every, Ifindex: i.Index}),
			syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Sec: int64(patiently / time.Second)}))
		if err != nil {
			n.t.Error(err)
		}
		f = os.NewFile(uintptr(fd), "tap on "+far)
	})
	if f == nil {
		n.t.FailNow()
	}
	n.t.Cleanup(func() { f.Close() })
	return f
}

var groupOfSix = net.ParseIP("ff02::fb").To16()

// marked is what the tests send as the last packet of all.
const marked = "that was all"

// untilMarked returns what came in by a tap, ARP and what IPv6 needs for itself left out.
func (n *neighbour) untilMarked(tap *os.File) (frames [][]byte) {
	n.t.Helper()
	b := make([]byte, 65536)
	for {
		size, from, err := syscall.Recvfrom(int(tap.Fd()), b, 0)
		if err != nil {
			n.t.Fatalf("%s: %v", tap.Name(), err)
		}
		f := b[:size]
		switch {
		case from.(*syscall.SockaddrLinklayer).Pkttype == syscall.PACKET_OUTGOING || len(f) < 14:
		case bytes.Contains(f, []byte(marked)):
			return frames
		case f[12] == 0x08 && f[13] == 0x00, // IPv4, of any kind: IGMP would say that we listen there
			f[12] == 0x86 && f[13] == 0xdd && (bytes.Contains(f, []byte{0x14, 0xe9}) || bytes.Contains(f, groupOfSix)): // IPv6, port 5353 or the group
			frames = append(frames, bytes.Clone(f))
		}
	}
}

func TestDiscoveryIsSilentInPublic(t *testing.T) {
	t.Parallel()
	if !apart(t) {
		return
	}
	n := newNeighbour(t)
	public := map[string]string{ // interface: the neighbour there
		"open": "203.0.113.2", "both": "198.51.100.2", "shared": "100.64.0.2", "six": "2001:db8:1::2",
	}
	n.cable("open", "far-open", []string{"203.0.113.1/24"}, []string{"203.0.113.2/24"})
	n.cable("both", "far-both", []string{"192.168.1.1/24", "198.51.100.1/24"}, []string{"198.51.100.2/24"})
	n.cable("shared", "far-shared", []string{"100.64.0.1/24"}, []string{"100.64.0.2/24"})
	n.cable("six", "far-six", []string{"2001:db8:1::1/64"}, []string{"2001:db8:1::2/64"})
	n.cable("home0", "far0", []string{"192.168.77.1/24"}, []string{"192.168.77.2/24"})
	taps := map[string]*os.File{}
	for near := range public {
		taps[near] = n.tap("far-" + near)
	}
	home := n.tap("far0")
	four, outside := n.station("udp4", "far0"), n.station("udp4", "far-open")
	listenAt(t, "udp4", "open") // another program here, which speaks there: packets from there come to all of this machine

	a := announce(t, "[::]:8883")
	for range 2 {
		four.await("an announcement", announces)
	}
	all := everything("A 192.168.77.1")
	four.askUntil(ask("_porchlight._tcp.local.", dnsmessage.TypePTR), all[1:]...)
	outside.send(ask("_services._dns-sd._udp.local.", dnsmessage.TypePTR)) // every socket of the group gets it, before the next one
	four.askUntil(ask("porchlight-k7m2p9qx.local.", dnsmessage.TypeA), all[4])
	a.stop()
	four.await("a goodbye", goodbye)
	for _, m := range four.all() {
		if m.Response && !announces(m) && m.Answers[0].Header.Name.String() == "_services._dns-sd._udp.local." {
			t.Errorf("a question from outside is answered at home: %q", said(m.Answers))
		}
	}

	public["home0"], taps["home0"] = "192.168.77.2", home
	for near, to := range public {
		c, err := net.Dial("udp", net.JoinHostPort(to, "9"))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, marked)
		c.Close()
		frames := n.untilMarked(taps[near])
		if near == "open" {
			frames = slices.DeleteFunc(frames, func(f []byte) bool { return f[14+9] == 2 }) // the other program's IGMP
		}
		if near == "home0" {
			if len(frames) < 7 {
				t.Errorf("the tap at home saw %d frames", len(frames)) // then the others prove nothing
			}
		} else if len(frames) != 0 {
			t.Errorf("%d frames went out by %s, the first: %x", len(frames), near, frames[0])
		}
	}
}

func TestDiscoveryFollowsTheNetwork(t *testing.T) {
	t.Parallel()
	if !apart(t) {
		return
	}
	const nowhere = "the gateway is not announced on any network now"
	n := newNeighbour(t)
	a := announce(t, "[::]:8883")
	a.awaitLog(nowhere)
	a.awaitLooks()

	// The network comes after the gateway.
	n.cable("home0", "far0", []string{"192.168.77.1/24"}, []string{"192.168.77.2/24"})
	four := n.station("udp4", "far0")
	four.await("an announcement", telling("A 192.168.77.1"))

	// Another address.
	must(t, "ip", "address", "add", "192.168.77.3/24", "dev", "home0")
	four.await("an announcement of both addresses", telling("A 192.168.77.1", "A 192.168.77.3"))

	// It becomes a public network. Nobody is told goodbye there.
	must(t, "ip", "address", "add", "203.0.113.1/24", "dev", "home0")
	a.awaitLog("home0: has a public address")
	must(t, "ip", "address", "delete", "203.0.113.1/24", "dev", "home0")
	anew := func() {
		t.Helper()
		for _, is := range []func(dnsmessage.Message) bool{probing, announces} {
			four.await("a new announcement", func(m dnsmessage.Message) bool {
				if goodbye(m) {
					t.Error("a goodbye")
				}
				return is(m)
			})
		}
	}
	anew()

	// The plug is pulled, and put back.
	must(t, "ip", "link", "set", "home0", "down")
	a.awaitLog("home0: is down")
	must(t, "ip", "link", "set", "home0", "up")
	anew()

	// The interface goes for good.
	must(t, "ip", "link", "delete", "home0")
	a.awaitLog(nowhere)
	a.stop()
	last := ""
	for _, l := range a.kept {
		if _, l, _ = strings.Cut(l, "level="); l == last && strings.Contains(l, nowhere) {
			t.Errorf("logged twice: %s", l)
		}
		last = l
	}
}

// Another gateway has the same ID: its data folder was copied. Who is there stays.
func TestDiscoveryGivesWay(t *testing.T) {
	t.Parallel()
	if !apart(t) {
		return
	}
	n := newNeighbour(t)
	n.cable("home0", "far0", []string{"192.168.77.1/24"}, []string{"192.168.77.2/24"})
	must(t, "ip", "link", "set", "home0", "addrgenmode", "none")
	must(t, "ip", "-6", "address", "flush", "dev", "home0") // IPv4 only: one voice
	four := n.station("udp4", "far0")
	other := newNotice("k7m2p9qx", 8883, nets("192.168.77.2/24"))
	a := announce(t, "[::]:8883")
	gone, ended := make(chan struct{}), make(chan time.Duration)
	go func() { // it never stops saying so
		var gap time.Duration
		for last := time.Now(); ; {
			four.send(other.answer(other.all, 0))
			gap, last = max(gap, time.Since(last)), time.Now()
			select {
			case <-gone:
				ended <- gap
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	announced := false
	for range 5 {
		four.await("a probe", func(m dnsmessage.Message) bool {
			announced = announced || m.Response
			return probing(m)
		})
	}
	if l := a.awaitLog("has the same ID"); !strings.Contains(l, "level=WARN") {
		t.Errorf("logged as %s", l)
	}
	close(gone)
	if gap := <-ended; announced && gap < 2*betweenProbes {
		t.Errorf("it was announced, though the other one said at least every %v that it has the name", gap)
	}

	// The other one has gone.
	four.await("an announcement", telling("A 192.168.77.1"))

	// A gateway that starts asks first, and is told.
	four.askUntil(other.probe(), everything("A 192.168.77.1")[2:]...)

	// One that does not ask, or was cut off when it did, is there all the same.
	four.send(other.answer(other.all, 0))
	a.awaitLog("has the same ID")
}

func TestDiscoveryOnLoopback(t *testing.T) {
	t.Parallel()
	if !apart(t) {
		return
	}
	n := newNeighbour(t)
	n.cable("home0", "far0", []string{"192.168.77.1/24"}, nil)
	for listener, why := range map[string]string{"127.0.0.1:8883": "on loopback only", "[::1]:8883": "on loopback only", "": "no listener for MQTT over TLS"} {
		a := announce(t, listener)
		if l := a.awaitLog(why); !strings.Contains(l, "level=INFO") {
			t.Errorf("logged as %s", l)
		}
		a.stop()
		if len(a.lines) != 0 {
			t.Errorf("listener %q: logged besides: %s", listener, <-a.lines)
		}
	}
	here := listenAt(t, "udp4", "lo")
	a := announce(t, "127.0.0.1:8883", "lo", "home0", "home1")
	a.awaitLog(`not announced on every interface that was named" left_out="home0: the gateway does not listen there; home1: is not there"`)
	here.await("an announcement on loopback, which was named", telling("A 127.0.0.1"))
}

func TestDiscoveryHistory(t *testing.T) {
	t.Parallel()
	h := make(history, 4)
	now := time.Now()
	if got := h.before(now, 0b1011); got != 0b1011 {
		t.Errorf("%04b may be told first, want 1011", got)
	}
	h.add(now, 0b0011)
	if got := h.before(now.Add(betweenSame-1), 0b0110); got != 0b0100 {
		t.Errorf("%04b may be told within a second, want 0100", got)
	}
	if got := h.before(now.Add(betweenSame), 0b0110); got != 0b0110 {
		t.Errorf("%04b may be told after a second, want 0110", got)
	}
}

// Nobody beyond the network is answered, whatever address a packet says it comes from.
func TestDiscoveryNear(t *testing.T) {
	t.Parallel()
	v := voice{segment: segment{tell: nets("192.168.1.5/24", "fd12::5/64")}}
	for from, want := range map[string]bool{
		"192.168.1.9": true, "::ffff:192.168.1.9": true, "fd12::9": true, "fe80::9%eth0": true, "169.254.1.1": true,
		"192.168.2.9": false, "8.8.8.8": false, "fd12:0:0:1::9": false, "2a02:1::9": false,
	} {
		if got := v.near(netip.MustParseAddr(from)); got != want {
			t.Errorf("%s: near %t, want %t", from, got, want)
		}
	}
}

func TestDiscoverRefuses(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*DiscoveryOptions){
		"no ID":                func(o *DiscoveryOptions) { o.ID = "" },
		"short ID":             func(o *DiscoveryOptions) { o.ID = "k7m2p9q" },
		"long ID":              func(o *DiscoveryOptions) { o.ID = "k7m2p9qxy" },
		"ID in capitals":       func(o *DiscoveryOptions) { o.ID = "K7M2P9QX" },
		"ID with a dot":        func(o *DiscoveryOptions) { o.ID = "k7m2.9qx" },
		"ID and a line":        func(o *DiscoveryOptions) { o.ID = "k7m2p9qx\n" },
		"nameless interface":   func(o *DiscoveryOptions) { o.Interfaces = []string{"eth0", ""} },
		"listener not of TCP":  func(o *DiscoveryOptions) { o.Listener = &net.UnixAddr{Name: "x", Net: "unix"} },
		"nothing wrong at all": nil,
	} {
		o := DiscoveryOptions{ID: "k7m2p9qx", Listener: &net.TCPAddr{IP: net.IPv6unspecified, Port: 8883}}
		if edit != nil {
			edit(&o)
		}
		if _, err := Discover(o, slog.New(slog.DiscardHandler)); (err != nil) != (edit != nil) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestChooseInterfaces(t *testing.T) {
	t.Parallel()
	const usual = net.FlagUp | net.FlagRunning | net.FlagMulticast | net.FlagBroadcast
	tests := map[string]struct {
		edit  func(*nic)
		named string // the operator's interface, if any
		bound string // where the listener is, :: if empty
		want  string // addresses announced
		why   string // or why not
	}{
		"a home's network":          {want: "192.168.1.5"},
		"10/8":                      {edit: with("10.1.2.3/8"), want: "10.1.2.3"},
		"172.16/12":                 {edit: with("172.31.255.1/16"), want: "172.31.255.1"},
		"172.32 is public":          {edit: with("172.32.0.1/16"), why: "has a public address"},
		"unique local":              {edit: with("fd12::5/64", "fe80::5/64"), want: "fd12::5"},
		"usual at home":             {edit: with("192.168.1.5/24", "2a02:1::5/64", "fd12::5/64", "fe80::5/64"), want: "192.168.1.5 fd12::5"},
		"IPv4 comes first":          {edit: with("fd12::5/64", "192.168.1.5/24"), want: "192.168.1.5 fd12::5"},
		"public":                    {edit: with("203.0.113.5/24"), why: "has a public address"},
		"public beside private":     {edit: with("192.168.1.5/24", "203.0.113.5/24"), why: "has a public address"},
		"public beside local IPv6":  {edit: with("fd12::5/64", "8.8.8.8/24"), why: "has a public address"},
		"shared by a provider":      {edit: with("100.64.1.5/10"), why: "has a public address"},
		"IPv6 of the internet only": {edit: with("2a02:1::5/64", "fe80::5/64"), why: "has no private address"},
		"fe80 only":                 {edit: with("fe80::5/64"), why: "has no private address"},
		"no address":                {edit: with(), why: "has no private address"},
		"169.254 only":              {edit: with("169.254.1.5/16", "fe80::5/64"), want: "169.254.1.5 fe80::5"},
		"169.254 beside better":     {edit: with("169.254.1.5/16", "192.168.1.5/24"), want: "192.168.1.5"},
		"down":                      {edit: func(n *nic) { n.flags &^= net.FlagUp }, why: "is down"},
		"cable pulled":              {edit: func(n *nic) { n.flags &^= net.FlagRunning }, why: "is down"},
		"loopback":                  {edit: func(n *nic) { n.flags |= net.FlagLoopback }, why: "is loopback"},
		"a VPN":                     {edit: func(n *nic) { n.flags |= net.FlagPointToPoint }, why: "has one other end, as a VPN has"},
		"no multicast":              {edit: func(n *nic) { n.flags &^= net.FlagMulticast }, why: "has no multicast"},
		"too many":                  {edit: with(many(12)...), want: strings.ReplaceAll(strings.Join(many(8), " "), "/24", "")},

		"named":                {named: "eth0", want: "192.168.1.5"},
		"named, public":        {named: "eth0", edit: with("203.0.113.5/24", "2a02:1::5/64", "fe80::5/64"), want: "203.0.113.5 2a02:1::5"},
		"named, loopback":      {named: "eth0", edit: func(n *nic) { n.flags = net.FlagUp | net.FlagRunning | net.FlagLoopback; with("127.0.0.1/8")(n) }, want: "127.0.0.1"},
		"named, VPN":           {named: "eth0", edit: func(n *nic) { n.flags |= net.FlagPointToPoint }, want: "192.168.1.5"},
		"named, down":          {named: "eth0", edit: func(n *nic) { n.flags &^= net.FlagUp }, why: "is down"},
		"another named":        {named: "eth1", why: "is not there"},
		"bound to it":          {bound: "192.168.1.5", edit: with("192.168.1.5/24", "192.168.1.6/24", "fd12::5/64"), want: "192.168.1.5"},
		"bound to another":     {bound: "192.168.2.5", why: "the gateway does not listen there"},
		"bound to IPv4":        {bound: "0.0.0.0", edit: with("192.168.1.5/24", "fd12::5/64"), want: "192.168.1.5"},
		"bound to loopback":    {bound: "127.0.0.1", named: "eth0", why: "the gateway does not listen there"},
		"bound to what public": {bound: "203.0.113.5", edit: with("203.0.113.5/24"), why: "has a public address"},
	}
	for name, tt := range tests {
		n := nic{name: "eth0", index: 2, flags: usual}
		with("192.168.1.5/24")(&n)
		if tt.edit != nil {
			tt.edit(&n)
		}
		var named []string
		if tt.named != "" {
			named = []string{tt.named}
		}
		segments, out := choose([]nic{n}, named, netip.MustParseAddr(cmp.Or(tt.bound, "::")))
		got, why := "", out[cmp.Or(tt.named, "eth0")]
		for _, s := range segments {
			for _, p := range s.tell {
				got += " " + p.Addr().String()
			}
		}
		if got = strings.TrimSpace(got); got != tt.want || why != tt.why {
			t.Errorf("%s: %q, left out because it %q; want %q, %q; %+v", name, got, why, tt.want, tt.why, n)
		}
	}
}

func with(addresses ...string) func(*nic) { return func(n *nic) { n.nets = nets(addresses...) } }

func nets(addresses ...string) (all []netip.Prefix) {
	for _, a := range addresses {
		all = append(all, netip.MustParsePrefix(a))
	}
	return all
}

func many(count int) (addresses []string) {
	for i := range count {
		addresses = append(addresses, fmt.Sprintf("192.168.1.%d/24", i+1))
	}
	return addresses
}

func testNotice() notice {
	return newNotice("k7m2p9qx", 8883, nets("192.168.1.5/24", "fd12::5/64"))
}

// testOwn is the other interface of this machine as well.
func testOwn(a netip.Addr) bool {
	return slices.Contains([]string{"192.168.1.5", "192.168.1.6", "fd12::5"}, a.String())
}

func TestDiscoveryHears(t *testing.T) {
	t.Parallel()
	n := testNotice()
	const service, services, server, text, address4, address6 mask = 1 << recService, 1 << recServices, 1 << recServer, 1 << recText, 1 << recAddresses, 2 << recAddresses
	const instance, host = "Porchlight k7m2p9qx._porchlight._tcp.local.", "porchlight-k7m2p9qx.local."
	record := func(i int, edit func(*dnsmessage.Resource)) []dnsmessage.Resource {
		r := n.records[i]
		if edit != nil {
			edit(&r)
		}
		return []dnsmessage.Resource{r}
	}
	theirs := func(r *dnsmessage.Resource) { r.Body = &dnsmessage.AResource{A: [4]byte{192, 168, 1, 9}} }
	type message = dnsmessage.Message
	tests := map[string]struct {
		edit         func(*message) // of a question for the service
		wanted, more mask
		probe, taken bool
	}{
		"the service":           {wanted: service, more: server | text | address4 | address6},
		"all services":          {edit: func(m *message) { *m = ask(servicesName, dnsmessage.TypePTR) }, wanted: services},
		"the instance's server": {edit: func(m *message) { *m = ask(instance, dnsmessage.TypeSRV) }, wanted: server, more: address4 | address6},
		"the instance's text":   {edit: func(m *message) { *m = ask(instance, dnsmessage.TypeTXT) }, wanted: text},
		"the instance":          {edit: func(m *message) { *m = ask(instance, dnsmessage.TypeALL) }, wanted: server | text, more: address4 | address6},
		"the host":              {edit: func(m *message) { *m = ask(host, dnsmessage.TypeA) }, wanted: address4},
		"the host in IPv6":      {edit: func(m *message) { *m = ask(host, dnsmessage.TypeAAAA) }, wanted: address6},
		"in capitals":           {edit: func(m *message) { *m = ask(strings.ToUpper(host), dnsmessage.TypeA) }, wanted: address4},
		"answer me alone":       {edit: func(m *message) { m.Questions[0].Class |= flush }, wanted: service, more: server | text | address4 | address6},
		"two questions":         {edit: func(m *message) { m.Questions = append(ask(host, dnsmessage.TypeA).Questions, m.Questions...) }, wanted: service | address4, more: server | text | address4 | address6},
		"another type":          {edit: func(m *message) { m.Questions[0].Type = dnsmessage.TypeSRV }},
		"another class":         {edit: func(m *message) { m.Questions[0].Class = dnsmessage.ClassCHAOS }},
		"another service":       {edit: func(m *message) { *m = ask("_http._tcp.local.", dnsmessage.TypePTR) }},
		"a name that goes on":   {edit: func(m *message) { *m = ask("x."+serviceName, dnsmessage.TypePTR) }},
		"an update":             {edit: func(m *message) { m.OpCode = 5 }},
		"an error":              {edit: func(m *message) { m.RCode = dnsmessage.RCodeServerFailure }},
		"a response":            {edit: func(m *message) { m.Response = true }},

		"known":          {edit: func(m *message) { m.Answers = record(recService, nil) }, more: server | text | address4 | address6},
		"known for half": {edit: func(m *message) { m.Answers = record(recService, func(r *dnsmessage.Resource) { r.Header.TTL /= 2 }) }, more: server | text | address4 | address6},
		"known for less": {edit: func(m *message) {
			m.Answers = record(recService, func(r *dnsmessage.Resource) { r.Header.TTL = lifeOfName/2 - 1 })
		}, wanted: service, more: server | text | address4 | address6},
		"another gateway known": {edit: func(m *message) { m.Answers = newNotice("aaaaaaaa", 8883, testAddresses).pick(service, asItIs) }, wanted: service, more: server | text | address4 | address6},
		"address known":         {edit: func(m *message) { m.Answers = record(recAddresses, nil) }, wanted: service, more: server | text | address6},

		"a probe":         {edit: func(m *message) { *m = n.probe() }, wanted: server | text | address4 | address6, more: address4 | address6, probe: true},
		"another's probe": {edit: func(m *message) { *m = n.probe(); theirs(&m.Authorities[2]) }, wanted: server | text | address4 | address6, more: address4 | address6, probe: true, taken: true},
		"an echo":         {edit: func(m *message) { *m = n.answer(n.all, 0) }},
		"our other interface": {edit: func(m *message) {
			*m = n.answer(n.all, 0)
			m.Answers[recAddresses].Body = &dnsmessage.AResource{A: [4]byte{192, 168, 1, 6}}
		}},
		"another gateway": {edit: func(m *message) {
			*m = newNotice("aaaaaaaa", 1, nets("192.168.1.9/24")).answer(63, 0)
		}},
		"our address taken":  {edit: func(m *message) { *m = n.answer(n.all, 0); theirs(&m.Answers[recAddresses]) }, taken: true},
		"so said besides":    {edit: func(m *message) { *m = n.answer(service, n.all); theirs(&m.Additionals[3]) }, taken: true},
		"our port taken":     {edit: func(m *message) { *m = newNotice("k7m2p9qx", 1, testAddresses).answer(server, 0) }, taken: true},
		"somebody's goodbye": {edit: func(m *message) { *m = newNotice("k7m2p9qx", 1, testAddresses).goodbye() }},
		"known is not taken": {edit: func(m *message) { m.Answers = record(recAddresses, theirs) }, wanted: service, more: server | text | address4 | address6},
		"AAAA that is another": {edit: func(m *message) {
			*m = newNotice("k7m2p9qx", 8883, nets("fd12::9/64")).answer(n.all, 0)
		}, taken: true},
	}
	for name, tt := range tests {
		m := ask(serviceName, dnsmessage.TypePTR)
		if tt.edit != nil {
			tt.edit(&m)
		}
		b, err := m.Pack()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		h := n.hear(b, testOwn)
		if h.wanted != tt.wanted || h.more != tt.more || h.probe != tt.probe || h.taken != tt.taken {
			t.Errorf("%s: wanted %06b, more %06b, probe %t, taken %t; want %06b, %06b, %t, %t; %s",
				name, h.wanted, h.more, h.probe, h.taken, tt.wanted, tt.more, tt.probe, tt.taken, m.GoString())
		}
	}
}

var testAddresses = nets("192.168.1.5/24")

// Others have names with a dot inside a label, which the decoder does not take: their questions
// and records in the same packet are passed over.
func TestDiscoveryHearsBesideOthers(t *testing.T) {
	t.Parallel()
	n := testNotice()
	m := ask("a-b._http._tcp.local.", dnsmessage.TypeSRV)
	m.Questions = append(m.Questions, ask(serviceName, dnsmessage.TypePTR).Questions...)
	m.Answers = []dnsmessage.Resource{
		{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("a-b._http._tcp.local."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 1}, Body: &dnsmessage.AResource{}},
		{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(serviceName), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET, TTL: 1}, Body: &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName("a-b." + serviceName)}},
		n.records[recService],
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.ReplaceAll(b, []byte("a-b"), []byte("a.b"))
	if err := new(dnsmessage.Message).Unpack(b); err == nil {
		t.Error("the decoder takes the packet, so this test shows nothing")
	}
	if h := n.hear(b, testOwn); len(h.questions) != 1 || h.wanted != 0 || h.more == 0 {
		t.Errorf("%d questions about us, %06b wanted, %06b besides; want 1, none, some", len(h.questions), h.wanted, h.more)
	}
}

// Whatever comes, what is wanted is there, and can be told.
func FuzzDiscoveryHears(f *testing.F) {
	n := testNotice()
	for _, m := range []dnsmessage.Message{ask(serviceName, dnsmessage.TypePTR), n.probe(), n.answer(n.all, 0), n.goodbye()} {
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h := n.hear(b, testOwn)
		if (h.wanted|h.more)&^n.all != 0 {
			t.Errorf("%b and %b of %b", h.wanted, h.more, n.all)
		}
		for _, m := range []dnsmessage.Message{n.answer(h.wanted, h.more), n.oneShot(h)} {
			packed, err := m.Pack()
			if err != nil || len(packed) > mostPacket {
				t.Errorf("%d bytes, %v: %s", len(packed), err, m.GoString())
			}
		}
		if !reflect.DeepEqual(n, testNotice()) {
			t.Error("the notice has changed")
		}
	})
}
