package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/authority"
	"porchlight/device/registry"
)

const (
	cSource = "../../firmware-sim/c/device.c"
	cNeeds  = "apt-get install gcc libc6-dev libmosquitto-dev libcbor-dev libssl-dev"
)

// The device in C, compiled as it is for people, and so that a slip in memory or arithmetic ends it.
var (
	optimised = sync.OnceValue(func() cBuild { return buildC("-O2") })
	sanitised = sync.OnceValue(func() cBuild {
		return buildC("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
	})
)

// cBuild is a program, or why there is none.
type cBuild struct {
	path    string
	missing error // something that it is made of
	err     error
}

// program is its path. Where it cannot be made here, the test is skipped.
func (b cBuild) program(t *testing.T) string {
	t.Helper()
	if b.missing != nil {
		t.Skipf("no C compiler, or not all of the libraries (%s): %v", cNeeds, b.missing)
	}
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.path
}

// buildC compiles the device in C with the flags.
func buildC(flags ...string) (b cBuild) {
	dir, err := os.MkdirTemp(shared, "c-")
	if err != nil {
		return cBuild{err: err}
	}
	cc := func(source, out string) error {
		args := append([]string{"-std=c11", "-Wall", "-Wextra", "-Werror"}, flags...)
		said, err := exec.Command("cc", append(args, "-o", out, source, "-lmosquitto", "-lcbor", "-lssl", "-lcrypto", "-lm")...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("cc: %w\n%s", err, said)
		}
		return nil
	}
	probe := filepath.Join(dir, "probe.c")
	if err := os.WriteFile(probe, []byte("#include <cbor.h>\n#include <mosquitto.h>\n#include <openssl/ssl.h>\nint main(void) { return 0; }\n"), 0o600); err != nil {
		return cBuild{err: err}
	}
	if err := cc(probe, filepath.Join(dir, "probe")); err != nil {
		return cBuild{missing: err}
	}
	b.path = filepath.Join(dir, "device")
	b.err = cc(cSource, b.path)
	return b
}

// cDevice is a device in C at work.
type cDevice struct {
	t     *testing.T
	cmd   *exec.Cmd
	hands io.Writer
	said  chan string // what it prints, a line at a time; closed when it has ended
	ended chan struct{}

	mu   sync.Mutex
	told strings.Builder // all of that, and what it says to engineers
}

// startC starts a device, which ends with ctx at the latest.
func startC(ctx context.Context, t *testing.T, tool string, args ...string) *cDevice {
	d := &cDevice{t: t, said: make(chan string, 4096), ended: make(chan struct{})}
	d.cmd = exec.CommandContext(ctx, tool, args...)
	d.cmd.WaitDelay = 10 * time.Second
	in, err := d.cmd.StdinPipe()
	if err != nil {
		t.Error(err)
	}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Error(err)
	}
	d.hands, d.cmd.Stderr = in, d
	if err := d.cmd.Start(); err != nil {
		t.Error(err)
		close(d.said)
		close(d.ended)
		return d
	}
	t.Cleanup(func() { <-d.ended }) // ctx has ended
	go func() {
		defer close(d.ended)
		defer close(d.said)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			fmt.Fprintln(d, lines.Text())
			d.said <- lines.Text()
		}
		err := d.cmd.Wait()
		if text := d.String(); ctx.Err() == nil && err != nil || strings.Contains(text, "Sanitizer") || strings.Contains(text, "runtime error") {
			d.t.Errorf("the device ended with %v\n%s", err, text)
		}
	}()
	return d
}

// Write collects what it says.
func (d *cDevice) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.told.Write(b)
}

func (d *cDevice) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.told.String()
}

// do is a person's hand, or the plug.
func (d *cDevice) do(words ...string) error {
	_, err := io.WriteString(d.hands, strings.Join(words, " ")+"\n")
	return err
}

// insist is a person at the device who wants it to be let in, and waits for nothing.
func (d *cDevice) insist() {
	for line := range d.said {
		for _, over := range []string{"code gone", "turned away", "nobody lets", "somebody stands", "another challenge", "this is not"} {
			if strings.HasPrefix(line, over) {
				_ = d.do("apply") // it may have ended
			}
		}
	}
}

// code is the digits on it just now.
func (d *cDevice) code(ctx context.Context) (string, error) {
	for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		all := regexp.MustCompile(`(?m)^(code|turned|somebody|enrolled) ?(\d*)`).FindAllStringSubmatch(d.String(), -1)
		if n := len(all); n > 0 && all[n-1][2] != "" {
			return all[n-1][2], nil
		}
	}
	return "", ctx.Err()
}

// await passes over what it prints up to a line that begins with one of the words, and returns that.
func (d *cDevice) await(begins ...string) string {
	d.t.Helper()
	for timeout := time.After(60 * time.Second); ; {
		select {
		case line, ok := <-d.said:
			if !ok {
				d.t.Fatalf("the device ended before it said %q\n%s", begins, d)
			}
			if slices.ContainsFunc(begins, func(b string) bool { return strings.HasPrefix(line, b) }) {
				return line
			}
		case <-timeout:
			d.t.Fatalf("the device did not say %q\n%s", begins, d)
		}
	}
}

// hand is do for what cannot fail.
func (d *cDevice) hand(words ...string) {
	d.t.Helper()
	if err := d.do(words...); err != nil {
		d.t.Fatalf("%q: %v\n%s", words, err, d)
	}
}

// off switches it off as a person does, and waits for its end.
func (d *cDevice) off() {
	d.t.Helper()
	d.hand("off")
	<-d.ended
}

// The device in C fits into what the contract says of memory, and is compiled without a warning.
func TestCDeviceSizes(t *testing.T) {
	t.Parallel()
	tool := optimised().program(t)
	out, err := exec.CommandContext(t.Context(), tool, "--sizes").Output()
	if err != nil {
		t.Fatal(err)
	}
	for what, most := range map[string]int{"frame that comes": 8192, "ledger": 6144, "outbox": 1536, "together": 20480} {
		m := regexp.MustCompile(`(?m)^` + what + ` (\d+)$`).FindSubmatch(out)
		var n int
		if m != nil {
			fmt.Sscan(string(m[1]), &n)
		}
		if n == 0 || n > most {
			t.Errorf("%s: %d bytes, want 1 to %d\n%s", what, n, most, out)
		}
	}
	t.Logf("\n%s", out)
}

// The device in C keeps every MUST that can be seen, with hands on it.
func TestCDeviceConforms(t *testing.T) {
	t.Parallel()
	tool := sanitised().program(t)
	type thing struct {
		class device.Class
		run   conformCmd
		args  []string
		less  string // what is not seen in such a run
	}
	const (
		never   = " M38 M39 M40 M41 M57 M58 M59 M60 M61 M62 M63 M64 M65 M66 M67 M68 M69 M70 M71 M72 M73 M74 M75 M76 M77 M78 M79"
		noEnrol = " M42 M43 M44 M45 M46 M47 M48 M49 M51 M54 M55"
	)
	tests := map[string]thing{
		"fridge, 3.1.1":                  {device.Fridge, conformCmd{Plain: "127.0.0.1:0"}, []string{"--plain"}, noEnrol + " M37 M50 M52 M53"},
		"television, 5 over TLS":         {device.TV, conformCmd{TLS: "127.0.0.1:0"}, []string{"--mqtt5"}, noEnrol + " M52 M53"},
		"car, 3.1.1 over TLS, wiped":     {device.Car, conformCmd{TLS: "127.0.0.1:0", Wipe: true}, nil, noEnrol + " M36"},
		"fridge, let in":                 {device.Fridge, conformCmd{Enrol: true, TLS: "127.0.0.1:0"}, nil, ""},
		"television, 5, let in, a token": {device.TV, conformCmd{Enrol: true, TLS: "127.0.0.1:0"}, []string{"--mqtt5", "--token"}, " M48 M49 M51"},
	}
	together(t, tests, func(t *testing.T, test thing) func(*testing.T) {
		seats <- struct{}{}
		defer func() { <-seats }()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c := test.run
		id, token := device.NewID(), registry.NewToken()
		stderr := &announced{said: make(chan string, 1)}
		var d *cDevice
		plugged := make(chan struct{})
		go func() {
			defer close(plugged)
			select {
			case text := <-stderr.said:
				args := append([]string{
					"--gateway", regexp.MustCompile(`mqtts?://(\S+)`).FindStringSubmatch(text)[1], "--class", test.class.String(), "--state", t.TempDir(),
				}, test.args...)
				if !c.Enrol {
					args = append(args, "--id", string(id), "--token-value", token)
				}
				if m := regexp.MustCompile(`certificate to trust +(\S+)`).FindStringSubmatch(text); m != nil {
					args = append(args, "--ca", m[1], "--name", "porchlight")
				}
				d = startC(ctx, t, tool, args...)
				go d.insist()
			case <-ctx.Done():
			}
		}()
		hands := func(ctx context.Context, c chore) error {
			<-plugged
			switch args := c.args; {
			case args[0] == "code":
				code, err := d.code(ctx)
				*c.read = code
				return err
			case args[0] != "change":
				return d.do(args...)
			case args[1] == device.Driving.String(): // and it stops again, for what comes after
				return errors.Join(d.do("set", args[1], "moving"), d.do("set", args[1], "parked"))
			default:
				return d.do("set", args[1], args[2])
			}
		}
		c.JSON, c.Lease, c.Wait, c.Timeout = true, conformLease, 30*time.Second, time.Minute
		var stdout bytes.Buffer
		err := c.run(&env{ctx, strings.NewReader(""), &stdout, stderr, "", nil}, test.class, id, token, hands)
		<-plugged
		if d != nil {
			_ = d.do("off") // it may have been switched off in the last scene
			<-d.ended
		}
		return func(t *testing.T) {
			if err != nil {
				t.Errorf("%v\n%s\n%s", err, stderr, d)
			}
			_, by := verdicts(t, stdout.String(), stderr.String())
			for _, m := range musts {
				got := by[m.id]
				spared := m.id == "M10" || slices.Contains(strings.Fields(never+test.less), m.id)
				if got.Verdict != passed && !(spared && got.Verdict == notSeen) {
					t.Errorf("%s: %s, saw %s\n%s", m.id, got.Verdict, got.Saw, m.text)
				}
			}
		}
	})
}

// house is a gateway with one home, and a brand that the home has said yes to.
type house struct {
	t         *testing.T
	data      string
	g         Gateway
	key, file string
}

func openHouse(t *testing.T) *house {
	t.Helper()
	dir := t.TempDir()
	data := filepath.Join(dir, "d")
	g, stop := start(t, data, io.Discard)
	t.Cleanup(stop)
	h := &house{t: t, data: data, g: g, key: filepath.Join(dir, "key"), file: filepath.Join(dir, "message.json")}
	h.do("home", "add", "oak", "--zone", "Europe/Zurich")
	h.do("home", "set", "oak", "--cap", "20/day")
	for path, text := range map[string]string{
		h.key:  h.do("brand", "add", "fresh", "--name", "Fresh", "--purpose", "marketing"),
		h.file: `{"purpose": "marketing", "texts": [{"language": "en", "title": "Milk", "body": "Two for one."}], "buttons": [{"id": 1, "label": {"en": "Yes"}}]}`,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h.do("consent", "give", "--home", "oak", "--brand", "fresh", "--purpose", "marketing")
	return h
}

func (h *house) do(args ...string) string {
	h.t.Helper()
	return porchlight(h.t, h.data, args...)
}

// push sends a message, and returns its ID without hyphens, as a device prints it.
func (h *house) push() string {
	h.t.Helper()
	return strings.ReplaceAll(h.do("push", h.file, "--for", "1h", "--key-file", h.key, "--api", "http://"+h.g.Listeners["http"]), "-", "")
}

// applicant waits for the one device that asks to be let in.
func (h *house) applicant(other string) string {
	h.t.Helper()
	for end := time.Now().Add(60 * time.Second); ; {
		var w delivery.WindowState
		if err := json.Unmarshal([]byte(h.do("enrol", "list", "--home", "oak", "--json")), &w); err != nil {
			h.t.Fatal(err)
		}
		if len(w.Applicants) == 1 && w.Applicants[0].ID != other {
			return w.Applicants[0].ID
		}
		if time.Now().After(end) {
			h.t.Fatalf("nobody asks to be let in: %+v", w)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// devices lists the home's devices.
func (h *house) devices() (all []delivery.DeviceState) {
	h.t.Helper()
	if err := json.Unmarshal([]byte(h.do("device", "list", "--home", "oak", "--json")), &all); err != nil {
		h.t.Fatal(err)
	}
	return all
}

// enrolled is a device that was let in, over what stands between it and the gateway.
func (h *house) enrolled(tool, gateway, state string, args ...string) (d *cDevice, id string) {
	h.t.Helper()
	h.do("enrol", "open", "--home", "oak")
	d = startC(h.t.Context(), h.t, tool, append([]string{"--gateway", gateway, "--state", state}, args...)...)
	code := strings.TrimPrefix(d.await("code "), "code ")
	id = h.do("enrol", "admit", "--home", "oak", h.applicant(""), code)
	d.await("enrolled " + id)
	d.await("ready")
	return d, id
}

// relay stands between a device and the gateway, and sees only what TLS lets through.
type relay struct {
	l      net.Listener
	secure *tls.Config  // not nil: it is where TLS ends
	heard  atomic.Int64 // bytes from devices
	deaf   atomic.Bool  // the device hears nothing of what the gateway says
	down   atomic.Bool  // nothing gets through
	mu     sync.Mutex
	to     string
	open   []net.Conn
}

func newRelay(t *testing.T, to string) *relay { return newThief(t, to, nil) }

// newThief is a relay with a certificate of its own: it hears all that the device says. Nil: none.
func newThief(t *testing.T, to string, secure *tls.Config) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{l: l, secure: secure, to: to}
	t.Cleanup(func() { l.Close(); r.cut() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.join(c)
		}
	}()
	return r
}

func (r *relay) address() string { return r.l.Addr().String() }

// swap leads the next connections elsewhere.
func (r *relay) swap(to string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = to
}

func (r *relay) join(c net.Conn) {
	r.mu.Lock()
	to := r.to
	r.mu.Unlock()
	up, err := net.Dial("tcp", to)
	if err != nil || r.down.Load() {
		c.Close()
		if err == nil {
			up.Close()
		}
		return
	}
	if r.secure != nil {
		c, up = tls.Server(c, r.secure), tls.Client(up, &tls.Config{InsecureSkipVerify: true})
	}
	r.mu.Lock()
	r.open = append(r.open, c, up)
	r.mu.Unlock()
	go func() {
		defer up.Close()
		for b := make([]byte, 4096); ; {
			n, err := c.Read(b)
			r.heard.Add(int64(n))
			if err != nil {
				return
			}
			_, _ = up.Write(b[:n])
		}
	}()
	go func() {
		defer c.Close()
		for b := make([]byte, 4096); ; {
			n, err := up.Read(b)
			if err != nil {
				return
			}
			if !r.deaf.Load() {
				_, _ = c.Write(b[:n])
			}
		}
	}()
}

// cut ends all connections.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.open {
		c.Close()
	}
	r.open = nil
}

// losesAnswer lets a device in that does not hear so.
func (h *house) losesAnswer(tool string, args ...string) {
	h.t.Helper()
	r := newRelay(h.t, h.g.Listeners["mqtts"])
	h.do("enrol", "open", "--home", "oak")
	d := startC(h.t.Context(), h.t, tool, append([]string{"--gateway", r.address(), "--state", h.t.TempDir()}, args...)...)
	code := strings.TrimPrefix(d.await("code "), "code ")
	who := h.applicant("")
	r.deaf.Store(true)
	id := h.do("enrol", "admit", "--home", "oak", who, code)
	h.do("enrol", "close", "--home", "oak")
	d.await("code gone") // the gateway has ended the connection
	r.deaf.Store(false)
	d.hand("apply") // a person is there
	d.await("enrolled " + id)
	d.await("ready")
	d.off()
}

// comesLate has a device come back whose certificate has ended, and that has lost some files.
func (h *house) comesLate(tool string, lost ...string) {
	h.t.Helper()
	state := h.t.TempDir()
	d, id := h.enrolled(tool, h.g.Listeners["mqtts"], state)
	d.off()
	path := filepath.Join(state, "who")
	who, err := os.ReadFile(path)
	if err != nil {
		h.t.Fatal(err)
	}
	var parts [][]byte // each behind its length; the third is the key, the fourth the certificate
	for rest := who; len(rest) >= 2; {
		n := int(binary.BigEndian.Uint16(rest))
		parts = append(parts, rest[2:2+n])
		rest = rest[2+n:]
	}
	key, err := x509.ParseECPrivateKey(parts[2])
	if err != nil {
		h.t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		h.t.Fatal(err)
	}
	ended, _, err := h.authority().Issue(device.ID(id), spki, time.Now().AddDate(-1, -1, 0))
	if err != nil {
		h.t.Fatal(err)
	}
	parts[3], who = ended, nil
	for _, p := range parts {
		who = append(binary.BigEndian.AppendUint16(who, uint16(len(p))), p...)
	}
	if err := os.WriteFile(path, who, 0o600); err != nil {
		h.t.Fatal(err)
	}
	for _, name := range lost {
		if err := os.Remove(filepath.Join(state, name)); err != nil {
			h.t.Fatal(err)
		}
	}
	d = startC(h.t.Context(), h.t, tool, "--gateway", h.g.Listeners["mqtts"], "--state", state)
	d.await("new key")
	d.await("ready")
	d.off()
}

func newKey(t *testing.T) (key *ecdsa.PrivateKey, spki []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err == nil {
		spki, err = x509.MarshalPKIXPublicKey(&key.PublicKey)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key, spki
}

// authority is the gateway's, to sign what it would not.
func (h *house) authority() *authority.Authority {
	h.t.Helper()
	a, err := authority.Open(h.data, nil, time.Now)
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

// isNotTaken shows a device a certificate that is not the gateway's, before it was let in and after.
func (h *house) isNotTaken(tool string, shown tls.Certificate) {
	h.t.Helper()
	thief := newThief(h.t, h.g.Listeners["mqtts"], &tls.Config{Certificates: []tls.Certificate{shown}})
	d := startC(h.t.Context(), h.t, tool, "--gateway", thief.address(), "--state", h.t.TempDir())
	d.await("this is not a gateway to apply to")
	d.off()

	r := newRelay(h.t, h.g.Listeners["mqtts"])
	d, _ = h.enrolled(tool, r.address(), h.t.TempDir())
	r.swap(thief.address())
	r.cut()
	d.await("the gateway does not verify")
	r.swap(h.g.Listeners["mqtts"])
	d.await("ready")
	d.off()
	if n := thief.heard.Load(); n != 0 {
		h.t.Errorf("somebody else was told %d bytes", n)
	}
}

// A device in C is let in by the real gateway, and lives there.
func TestCDeviceEnrols(t *testing.T) {
	t.Parallel()
	tool := sanitised().program(t)
	tests := map[string]func(*testing.T, *house){
		"six digits, a wipe": func(t *testing.T, h *house) {
			h.do("enrol", "open", "--home", "oak")
			state := t.TempDir()
			d := startC(t.Context(), t, tool, "--gateway", h.g.Listeners["mqtts"], "--state", state)
			code := strings.TrimPrefix(d.await("code "), "code ")
			who := h.applicant("")
			wrong := "000000"
			if code == wrong {
				wrong = "000001"
			}
			var out, errs strings.Builder
			if status := run(t.Context(), []string{"--data", h.data, "enrol", "admit", "--home", "oak", who, wrong}, strings.NewReader(""), &out, &errs); status != 1 {
				t.Errorf("a wrong code: status %d, %s%s", status, &out, &errs)
			}
			id := h.do("enrol", "admit", "--home", "oak", who, code)
			d.await("enrolled " + id)
			d.await("ready")
			message := h.push()
			if got := d.await("screen "); got != "screen "+message+" Fresh: Milk: Two for one. [1 Yes] [not now]" {
				t.Errorf("on the screen is %q", got)
			}
			raw, _ := hex.DecodeString(message)
			if book, err := os.ReadFile(filepath.Join(state, "book")); err != nil || !bytes.Contains(book, raw) {
				t.Errorf("a message is on the screen and not written down, %v", err)
			}
			if got := h.do("device", "wipe", id, "--yes"); got != "wiped and removed" {
				t.Errorf("wipe says %q", got)
			}
			d.await("screen clear")
			d.await("wiped")
			for _, name := range []string{"who", "book", "document"} {
				if _, err := os.Stat(filepath.Join(state, name)); err == nil {
					t.Errorf("after a wipe there is still %s", name)
				}
			}
			d.await("code ") // it applies, with another key
			h.applicant(who)
			d.off()
		},
		"a label, a token, MQTT 5; a button, a power cut, a reset": func(t *testing.T, h *house) {
			h.do("enrol", "open", "--home", "oak")
			d := startC(t.Context(), t, tool, "--gateway", h.g.Listeners["mqtts"], "--state", t.TempDir(), "--label", "3hqz-7mvt-xk2p-aw5d", "--token", "--mqtt5")
			who := h.applicant("")
			id := h.do("enrol", "admit", "--home", "oak", who, "3HQZ 7MVT XK2P AW5D")
			d.await("enrolled " + id)
			d.await("ready")
			h.push()
			d.await("screen ")
			d.hand("press", "1")
			d.await("screen clear")
			d.hand("power")
			d.await("ready")
			d.hand("reset")
			d.await("reset")
			h.applicant(who)
			if all := h.devices(); len(all) != 0 {
				t.Errorf("after a reset the home has %+v", all)
			}
			d.off()
		},
		"the code of the home; a choice": func(t *testing.T, h *house) {
			var home delivery.HomeCode
			if err := json.Unmarshal([]byte(h.do("home", "init", "oak", "--json")), &home); err != nil {
				t.Fatal(err)
			}
			d := startC(t.Context(), t, tool, "--gateway", h.g.Listeners["mqtts"], "--state", t.TempDir(), "--home-code", strings.ToUpper(home.Code))
			id := strings.TrimPrefix(d.await("enrolled "), "enrolled ")
			d.await("choice fresh marketing given")
			if all := h.devices(); len(all) != 1 || string(all[0].ID) != id || !all[0].Controller {
				t.Errorf("the home has %+v, want %s, trusted", all, id)
			}
			h.push()
			d.await("screen ")
			d.hand("choose", "fresh", "marketing", "refused")
			d.await("screen clear")
			d.await("choice fresh marketing withdrawn")
			d.off()
		},
		"a no that was said while somebody else chose": func(t *testing.T, h *house) {
			r := newRelay(t, h.g.Listeners["mqtts"])
			d, _ := h.enrolled(tool, r.address(), t.TempDir())
			d.await("choice fresh marketing given")
			r.down.Store(true)
			r.cut()
			d.hand("choose", "fresh", "marketing", "refused")
			d.await("pending ")
			h.do("consent", "withdraw", "--home", "oak", "--brand", "fresh", "--purpose", "marketing")
			h.do("consent", "give", "--home", "oak", "--brand", "fresh", "--purpose", "marketing")
			r.down.Store(false)
			d.await("choice fresh marketing given") // the newest document, on which the no is said again
			d.await("choice fresh marketing withdrawn")
			d.off()
		},
		"new keys, another authority": func(t *testing.T, h *house) {
			d, _ := h.enrolled(tool, h.g.Listeners["mqtts"], t.TempDir())
			h.push()
			d.await("screen ")
			h.do("ca", "rotate")
			if got := d.await("new key", "screen clear"); got != "new key" {
				t.Errorf("after a rotation: %q", got)
			}
			if got := d.await("ready", "screen clear"); got != "ready" {
				t.Errorf("with a new key: %q", got)
			}
			h.do("ca", "retire")
			d.hand("power")
			d.await("ready") // who trusts only the old authority, or is of it, does not come so far
			d.off()
		},
		"an answer that is lost":                func(t *testing.T, h *house) { h.losesAnswer(tool) },
		"an answer that is lost, without a key": func(t *testing.T, h *house) { h.losesAnswer(tool, "--token") },
		"removed while it was away": func(t *testing.T, h *house) {
			d, id := h.enrolled(tool, h.g.Listeners["mqtts"], t.TempDir(), "--forget-after", "1")
			h.do("device", "remove", "--yes", id)
			d.await("forgotten")
			d.await("code ")
			d.off()
		},
		"a certificate that ended, with a clock":    func(t *testing.T, h *house) { h.comesLate(tool) },
		"a certificate that ended, without a clock": func(t *testing.T, h *house) { h.comesLate(tool, "book") },
		"somebody who has an authority of their own": func(t *testing.T, h *house) {
			other, err := authority.Open(t.TempDir(), nil, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			thief := newThief(t, h.g.Listeners["mqtts"], other.Server())
			h.do("enrol", "open", "--home", "oak")
			d := startC(t.Context(), t, tool, "--gateway", thief.address(), "--state", t.TempDir())
			code := strings.TrimPrefix(d.await("code "), "code ")
			who := h.applicant("")
			for range 3 {
				var out, errs strings.Builder
				if status := run(t.Context(), []string{"--data", h.data, "enrol", "admit", "--home", "oak", who, code}, strings.NewReader(""), &out, &errs); status != 1 {
					t.Errorf("let in through somebody else: status %d, %s%s", status, &out, &errs)
				}
			}
			d.await("turned away: tries")
			d.off()
		},
		"somebody who shows the gateway's authority": func(t *testing.T, h *house) {
			other, err := authority.Open(t.TempDir(), nil, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			own, err := other.Server().GetCertificate(&tls.ClientHelloInfo{})
			if err != nil {
				t.Fatal(err)
			}
			h.isNotTaken(tool, tls.Certificate{Certificate: [][]byte{own.Certificate[0], h.authority().CAs()[0]}, PrivateKey: own.PrivateKey})
		},
		"a device that plays the gateway": func(t *testing.T, h *house) {
			key, spki := newKey(t)
			der, _, err := h.authority().Issue("thief", spki, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			h.isNotTaken(tool, tls.Certificate{Certificate: [][]byte{der, h.authority().CAs()[0]}, PrivateKey: key})
		},
	}
	for name, play := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, openHouse(t))
		})
	}
}

// What a frame says is written down before it is acknowledged, which libmosquitto by itself would do
// the other way round: while the device writes, nothing comes from it.
func TestCDeviceWritesBeforeItAcknowledges(t *testing.T) {
	t.Parallel()
	tool := sanitised().program(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	state := t.TempDir()
	flash := filepath.Join(state, "new") // through which all that it writes goes: it waits there for us
	if err := syscall.Mkfifo(flash, 0o600); err != nil {
		t.Fatal(err)
	}
	d := startC(t.Context(), t, tool, "--gateway", l.Addr().String(), "--plain", "--id", "fridge", "--token-value", "any", "--state", state)
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	packet := func() (first byte, body []byte) {
		first, err := in.ReadByte()
		var n uint64
		if err == nil {
			n, err = binary.ReadUvarint(in)
		}
		body = make([]byte, n)
		if err == nil {
			_, err = io.ReadFull(in, body)
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, d)
		}
		return first, body
	}
	for told := false; !told; {
		switch first, body := packet(); first {
		case 0x10: // CONNECT
			_, err = c.Write([]byte{0x20, 2, 0, 0})
		case 0x82: // SUBSCRIBE
			_, err = c.Write([]byte{0x90, 3, body[0], body[1], 1})
		case 0x32: // the birth
			n := 2 + binary.BigEndian.Uint16(body)
			_, err = c.Write([]byte{0x40, 2, body[n], body[n+1]})
		case 0x30: // the context; now it has nothing more to say
			told = true
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	const topic = "pl/1/fridge/dn/twin"
	document := "\xa2\x00\x07\x01\xa0" // {0: 7, 1: {}}
	if _, err := c.Write([]byte("\x32" + string(rune(4+len(topic)+len(document))) + "\x00" + string(rune(len(topic))) + topic + "\x00\x09" + document)); err != nil {
		t.Fatal(err)
	}
	// It waits now for the one who reads what it writes down: until we are, no answer may come. What does
	// not happen has no event to wait for; the wait can miss a fault, and never invents one.
	if err := c.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if early, err := in.Peek(4); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("before the document was written down came %x, %v", early, err)
	}
	if err := c.SetReadDeadline(time.Now().Add(60 * time.Second)); err != nil {
		t.Fatal(err)
	}
	writing := make(chan *os.File, 1)
	go func() {
		f, err := os.Open(flash) // returns when the device opens it too
		if err != nil {
			t.Error(err)
		}
		writing <- f
	}()
	var f *os.File
	select {
	case f = <-writing:
		defer f.Close()
	case <-d.ended:
		t.Fatalf("the device has ended\n%s", d)
	case <-time.After(60 * time.Second):
		t.Fatalf("the device writes nothing\n%s", d)
	}
	if got, err := io.ReadAll(f); string(got) != document {
		t.Errorf("written down is %x, %v, want %x", got, err, document)
	}
	if first, body := packet(); first != 0x40 || body[1] != 9 {
		t.Errorf("after it came %x %x, want the PUBACK", first, body)
	}
	c.Close()
	l.Close()
	d.off()
}
