package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/wire"
	"porchlight/firmware-sim/sim"
)

// underTest is where a device under test has to go.
type underTest struct {
	gateway string // tcp:// or tls://
	roots   *x509.CertPool
	id      device.ID
	token   string
}

// tester runs porchlight conform in this process.
type tester struct {
	t     *testing.T
	id    device.ID
	token string
	hands func(context.Context, chore) error
	only  []string      // MUSTs; nil: all
	wait  time.Duration // for an answer; a device that keeps the contract never takes as long
	flags []string      // without hands
}

// seats are for the runs that are played at the same time, of all tests. A run mostly waits.
var seats = make(chan struct{}, 12)

// conformLease is long enough for a busy machine to send a beacon within it.
const conformLease = 4 * time.Second

func newTester(t *testing.T, flags ...string) *tester {
	return &tester{t: t, id: device.NewID(), token: registry.NewToken(), wait: 30 * time.Second, flags: flags}
}

// run starts the command, hands device what it needs once the command has told it, and
// returns what the command said.
func (r *tester) run(dev func(ctx context.Context, u underTest)) (status int, out, errs string) {
	r.t.Helper()
	seats <- struct{}{}
	defer func() { <-seats }()
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	var stdout bytes.Buffer
	stderr := &announced{said: make(chan string, 1)}
	var devices sync.WaitGroup
	devices.Go(func() {
		select {
		case text := <-stderr.said:
			u := underTest{id: r.id, token: r.token}
			u.gateway = "tcp://" + regexp.MustCompile(`mqtts?://(\S+)`).FindStringSubmatch(text)[1]
			if m := regexp.MustCompile(`certificate to trust +(\S+)`).FindStringSubmatch(text); m != nil {
				pem, err := os.ReadFile(m[1])
				if err != nil {
					r.t.Error(err)
				}
				u.roots = x509.NewCertPool()
				u.roots.AppendCertsFromPEM(pem)
				u.gateway = "tls" + strings.TrimPrefix(u.gateway, "tcp")
			}
			dev(ctx, u)
		case <-ctx.Done():
		}
	})
	args := append([]string{
		"conform", "--json", "--id", string(r.id), "--token=" + r.token, "--only", strings.Join(r.only, ","),
		"--lease", conformLease.String(), "--wait", r.wait.String(), "--timeout", "30s",
	}, r.flags...)
	if !slices.Contains(args, "--tls") {
		args = append(args, "--plain", "127.0.0.1:0")
	}
	if r.hands == nil {
		status = run(ctx, args, strings.NewReader(""), &stdout, stderr)
	} else {
		c := conformCmd{Plain: "127.0.0.1:0", JSON: true, Only: r.only, Lease: conformLease, Wait: r.wait, Timeout: 30 * time.Second}
		if err := c.run(&env{ctx, strings.NewReader(""), &stdout, stderr, "", nil}, 0, r.id, r.token, r.hands); err != nil {
			status = 1
		}
	}
	cancel()
	devices.Wait()
	return status, stdout.String(), stderr.String()
}

// announced is standard error, of which the device reads the beginning.
type announced struct {
	mu   sync.Mutex
	all  strings.Builder
	done bool
	said chan string
}

func (a *announced) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all.Write(b)
	if s := a.all.String(); !a.done && strings.Contains(s, "/...\n") {
		a.done = true
		a.said <- s
	}
	return len(b), nil
}

func (a *announced) String() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all.String()
}

func verdicts(t *testing.T, out, errs string) (r conformReport, by map[string]finding) {
	t.Helper()
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %q\n%s", err, out, errs)
	}
	by = map[string]finding{}
	for _, f := range r.Musts {
		by[f.ID] = f
	}
	return r, by
}

// near lists the MUSTs that the scenes of ids judge, and those that every scene does. For these
// there is one message at least.
func near(ids ...string) (all []string) {
	ids = append(ids, "M15")
	apart := map[string]bool{} // judged by other scenes
	for _, s := range scenes {
		played := slices.ContainsFunc(s.judges, func(id string) bool { return slices.Contains(ids, id) })
		for _, id := range s.judges {
			apart[id] = !played
		}
	}
	for _, m := range musts {
		if !apart[m.id] {
			all = append(all, m.id)
		}
	}
	return all
}

// simulated starts a device of the simulator; memory is the file that survives a power cut, if any.
func simulated(t *testing.T, class device.Class, memory string, into **sim.Device, start ...string) func(context.Context, underTest) {
	return func(ctx context.Context, u underTest) {
		d, err := sim.New(sim.Config{
			ID: u.id, Token: u.token, Class: class, Gateway: u.gateway, Roots: u.roots, Start: start, Retry: 20 * time.Millisecond,
			Can:    device.Capabilities{Duties: device.CanDim, Forms: []device.Form{device.Toast}, MaxButtons: 2, Holds: 1, Languages: []string{"en"}},
			Memory: memory,
		})
		if err != nil {
			t.Error(err)
			return
		}
		if into != nil {
			*into = d
		}
		d.Run(ctx)
	}
}

// The simulator keeps every MUST that can be seen without hands.
func TestConformSimulator(t *testing.T) {
	t.Parallel()
	type thing struct {
		class device.Class
		start []string
		flags []string
	}
	tests := map[string]thing{
		"fridge":          {class: device.Fridge},
		"television, TLS": {class: device.TV, start: []string{"turn on"}, flags: []string{"--plain", "", "--tls", "127.0.0.1:0", "--class", "tv"}},
		"car":             {class: device.Car, flags: []string{"--class", "car"}},
		"washer":          {class: device.Washer},
	}
	together(t, tests, func(t *testing.T, test thing) func(*testing.T) {
		status, out, errs := newTester(t, test.flags...).run(simulated(t, test.class, "", nil, test.start...))
		return func(t *testing.T) {
			if status != 0 {
				t.Errorf("status %d: %s", status, errs)
			}
			_, by := verdicts(t, out, errs)
			for _, m := range musts {
				want, flag := passed, needed(m.id)
				if m.seen != alone || flag != "" && !slices.Contains(test.flags, flag) {
					want = notSeen
				}
				if got := by[m.id]; got.Verdict != want && !(m.id == "M10" && got.Verdict == notSeen) {
					t.Errorf("%s: %s, want %s: saw %s\n%s", m.id, got.Verdict, want, got.Saw, m.text)
				}
			}
		}
	})
}

// With hands on it, the simulator keeps the rest as well.
func TestConformHands(t *testing.T) {
	t.Parallel()
	var d *sim.Device
	var off context.CancelFunc
	memory := filepath.Join(t.TempDir(), "book")
	var handled []string
	for _, m := range musts {
		if m.seen == byHand && needed(m.id) == "" {
			handled = append(handled, m.id)
		}
	}
	r := newTester(t)
	r.only, r.hands = near(handled...), handsOn(&d, &off)
	status, out, errs := r.run(func(ctx context.Context, u underTest) {
		ctx, off = context.WithCancel(ctx)
		simulated(t, device.Fridge, memory, &d)(ctx, u)
	})
	if status != 0 {
		t.Errorf("status %d: %s", status, errs)
	}
	_, by := verdicts(t, out, errs)
	for _, id := range handled {
		if got := by[id]; got.Verdict != passed {
			t.Errorf("%s: %s, saw %s", id, got.Verdict, got.Saw)
		}
	}
}

// A device that breaks one MUST fails that one and no other that is judged with it.
func TestConformSeesWhatIsBroken(t *testing.T) {
	t.Parallel()
	type broken struct{ breaks, must string }
	tests := map[string]broken{
		"nothing":                              {"", ""},
		"shows before the beacon":              {"shows before the beacon", "M14"},
		"does not refuse a form":               {"does not refuse a form", "M16"},
		"ignores guards":                       {"ignores guards", "M17"},
		"ignores duties":                       {"ignores duties", "M79"},
		"goes by its own clock":                {"goes by its own clock", "M19"},
		"keeps past its life":                  {"keeps past its life", "M20"},
		"keeps past its display time":          {"keeps past its display time", "M21"},
		"lets go before the lease is over":     {"is not renewed", "M22"},
		"keeps past its lease":                 {"keeps past its lease", "M23"},
		"keeps what a beacon does not name":    {"ignores the keep list", "M24"},
		"does not answer a cancel":             {"does not answer a cancel", "M25"},
		"ignores the fence":                    {"ignores the fence", "M26"},
		"ignores the fence of a cancel":        {"ignores the fence of a cancel", "M26"},
		"shows a message that comes twice":     {"shows a duplicate", "M28"},
		"does not send an event again":         {"forgets receipts", "M30"},
		"lists nothing at birth":               {"lists nothing", "M31"},
		"forgets the document":                 {"forgets the document", "M32"},
		"stumbles over a later version":        {"knows no other keys", "M13"},
		"stumbles over garbage":                {"stumbles over garbage", "M12"},
		"begins with a context":                {"begins with a context", "M3"},
		"repeats its seq":                      {"repeats its seq", "M6"},
		"tells no context":                     {"tells no context", "M8"},
		"tells a word that is not in the list": {"tells another word", "M9"},
	}
	together(t, tests, func(t *testing.T, test broken) func(*testing.T) {
		b := &handmade{broken: test.breaks}
		r := newTester(t)
		if test.must != "" {
			r.only, r.wait = near(test.must), 5*time.Second // some of them never answer
		}
		status, out, errs := r.run(b.run)
		return func(t *testing.T) {
			report, _ := verdicts(t, out, errs)
			var got []string
			for _, f := range report.Musts {
				if f.Verdict == failed {
					got = append(got, f.ID)
				}
			}
			want := 1
			if test.must == "" {
				want = 0
			}
			if strings.Join(got, " ") != test.must || status != want {
				t.Errorf("failed %q with status %d, want %q\n%s\n%s", got, status, test.must, out, errs)
			}
		}
	})
}

// together plays all cases at once, as far as there are seats, however few processors there are.
// What play returns looks at the outcome.
func together[C any](t *testing.T, cases map[string]C, play func(*testing.T, C) func(*testing.T)) {
	looks := make(map[string]func(*testing.T))
	var mu sync.Mutex
	var all sync.WaitGroup
	for name, c := range cases {
		all.Go(func() {
			look := play(t, c)
			mu.Lock()
			defer mu.Unlock()
			looks[name] = look
		})
	}
	all.Wait()
	for name, look := range looks {
		t.Run(name, look)
	}
}

// handmade is the smallest device that keeps the contract: one screen, no buttons, one message
// at a time. broken names what it does wrong.
type handmade struct {
	broken string

	// What survives: here a power cut never comes.
	fence  uint64
	ledger map[device.MessageID]wire.Event
	outbox []wire.Event
	twin   uint64

	// What is on it.
	msg     *wire.Present
	shown   bool
	came    time.Time
	renewed time.Time
	began   time.Time
	clock   time.Duration // the gateway's, ahead of ours

	// The connection.
	client   mqtt.Client
	seq      uint64
	beaconed bool
	twinned  bool
	unacked  mqtt.Token
	in       chan mqtt.Message
	lost     chan struct{}
}

func (h *handmade) is(broken string) bool { return h.broken == broken }

func (h *handmade) run(ctx context.Context, u underTest) {
	h.ledger = map[device.MessageID]wire.Event{}
	for ctx.Err() == nil {
		h.connect(ctx, u)
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond): // a real device lets this grow
		}
	}
}

func (h *handmade) connect(ctx context.Context, u underTest) {
	in, lost := make(chan mqtt.Message, 256), make(chan struct{})
	h.in, h.lost = in, lost
	h.seq, h.beaconed, h.twinned, h.unacked = 0, false, false, nil
	o := mqtt.NewClientOptions().AddBroker(u.gateway).SetClientID(string(u.id)).SetUsername(string(u.id)).SetPassword(u.token).
		SetCleanSession(true).SetProtocolVersion(4).SetAutoReconnect(false).SetAutoAckDisabled(true).SetTLSConfig(&tls.Config{RootCAs: u.roots}).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { in <- m }).
		SetConnectionLostHandler(func(mqtt.Client, error) { close(lost) })
	h.client = mqtt.NewClient(o)
	defer h.client.Disconnect(0)
	if tok := h.client.Connect(); tok.Wait() && tok.Error() != nil {
		return
	}
	if tok := h.client.Subscribe(wire.Topic(u.id, "dn/#"), 1, nil); !tok.WaitTimeout(5*time.Second) || tok.Error() != nil {
		return
	}
	if h.is("begins with a context") {
		h.context(u)
	}
	b := wire.Birth{Seq: h.seq, Class: device.Fridge, Attributes: []string{"door.open", "power.state"}, Twin: h.twin}
	b.Can.Forms, b.Can.Duties = []device.Form{device.Toast}, wire.DutyDim
	if h.msg != nil && !h.is("lists nothing") {
		b.Held = []device.MessageID{h.msg.Message}
	}
	h.publish(u, wire.UpBirth, 1, b)
	if !h.is("tells no context") {
		h.context(u)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.lost:
			return
		case m := <-in:
			if !h.take(wire.Leaf(strings.TrimPrefix(m.Topic(), wire.Topic(u.id, ""))), m.Payload()) {
				return
			}
			m.Ack() // and not sooner: the connection may end while it waits here
		case <-tick.C:
		}
		h.settle()
		h.pump(u)
	}
}

func (h *handmade) publish(u underTest, leaf wire.Leaf, qos byte, frame any) mqtt.Token {
	payload, err := wire.Encode(frame)
	if err != nil {
		panic(err)
	}
	if h.seq++; h.is("repeats its seq") {
		h.seq = 1
	}
	return h.client.Publish(wire.Topic(u.id, leaf), qos, false, payload)
}

func (h *handmade) context(u underTest) {
	power := "on"
	if h.is("tells another word") {
		power = "awake"
	}
	h.publish(u, wire.UpCtx, 0, wire.Context{Seq: h.seq, Values: map[string]any{"door.open": false, "power.state": power}, Complete: true})
}

// pump sends the oldest event until it is acknowledged.
func (h *handmade) pump(u underTest) {
	if h.unacked != nil {
		select {
		case <-h.unacked.Done():
			if h.unacked.Error() != nil {
				return
			}
			h.outbox, h.unacked = h.outbox[1:], nil
		default:
			return
		}
	}
	if len(h.outbox) == 0 {
		return
	}
	e := h.outbox[0]
	e.Seq = h.seq
	if h.is("forgets receipts") {
		h.publish(u, wire.UpEvt, 0, e)
		h.outbox = h.outbox[1:]
		return
	}
	h.unacked = h.publish(u, wire.UpEvt, 1, e)
}

func (h *handmade) owe(id device.MessageID, k wire.EventKind, r wire.Reason) {
	e := wire.Event{Message: id, Kind: k, Reason: r}
	if h.msg != nil && h.msg.Message == id && h.shown {
		h.ledger[id] = e
	}
	h.outbox = append(h.outbox, e)
}

func (h *handmade) off(k wire.EventKind, r wire.Reason) {
	h.owe(h.msg.Message, k, r)
	h.msg, h.shown = nil, false
}

// take takes in a frame; it is false if the device stumbles.
func (h *handmade) take(leaf wire.Leaf, payload []byte) bool {
	bad := func(err error) bool { return err == nil || !h.is("stumbles over garbage") }
	strict := func(frame any) bool { // decoding and encoding again drops what is not known
		again, err := wire.Encode(frame)
		return err != nil || bytes.Equal(again, payload) || !h.is("knows no other keys")
	}
	switch leaf {
	case wire.DnTime:
		f, err := wire.DecodeTime(payload)
		if err != nil {
			return bad(err)
		}
		h.beacon(f)
	case wire.DnTwin:
		f, err := wire.DecodeTwin(payload)
		if err != nil {
			return bad(err)
		}
		if !h.twinned || f.Version > h.twin {
			h.twinned, h.twin = true, f.Version
		}
		if h.is("forgets the document") {
			h.twin = 0
		}
	case wire.DnMsg:
		p, c, err := wire.DecodeMsg(payload)
		switch {
		case err != nil:
			return bad(err)
		case p != nil:
			if !strict(*p) {
				return false
			}
			h.present(*p)
		default:
			h.cancel(*c)
		}
	}
	return true
}

func (h *handmade) beacon(f wire.Time) {
	h.fence = max(h.fence, f.Fence)
	h.beaconed = true
	if !h.is("goes by its own clock") {
		h.clock = time.Until(time.UnixMilli(int64(f.Clock)))
	}
	switch {
	case h.msg == nil:
	case slices.Contains(f.Keep, h.msg.Message):
		if !h.is("is not renewed") {
			h.renewed = time.Now()
		}
	case !h.is("ignores the keep list"):
		h.off(wire.Cancelled, 0)
	}
}

func (h *handmade) cancel(c wire.Cancel) {
	if !h.is("ignores the fence of a cancel") {
		h.fence = max(h.fence, c.Fence)
	}
	switch {
	case h.is("does not answer a cancel"):
		if h.msg != nil && h.msg.Message == c.Message {
			h.ledger[c.Message] = wire.Event{Message: c.Message, Kind: wire.Cancelled}
			h.msg, h.shown = nil, false
		}
	case h.msg != nil && h.msg.Message == c.Message:
		h.off(wire.Cancelled, 0)
	default:
		h.owe(c.Message, wire.Cancelled, 0)
	}
}

func (h *handmade) present(p wire.Present) {
	if h.msg != nil && h.msg.Message == p.Message {
		if e, ok := h.ledger[p.Message]; ok {
			h.outbox = append(h.outbox, e)
		}
		return
	}
	if e, ok := h.ledger[p.Message]; ok && !h.is("shows a duplicate") {
		h.outbox = append(h.outbox, e)
		return
	}
	holds := func(name string, g wire.Guard) bool {
		now, known := map[string]any{"door.open": false, "power.state": "on"}[name]
		return known && (g.Op == "eq") == (g.Value == now)
	}
	switch now := time.Now(); {
	case p.Epoch < h.fence && !h.is("ignores the fence"):
		h.owe(p.Message, wire.Declined, wire.Stale)
		return
	case p.Form != nil && *p.Form != device.Toast && !h.is("does not refuse a form"):
		h.owe(p.Message, wire.Declined, wire.UnsupportedForm)
		return
	case p.Duties&^wire.DutyDim != 0 && !h.is("ignores duties"):
		h.owe(p.Message, wire.Declined, wire.UnsupportedForm)
		return
	case now.Add(h.clock).Unix() >= int64(p.ValidUntil):
		h.owe(p.Message, wire.Expired, 0)
		return
	case h.msg != nil:
		h.owe(p.Message, wire.Declined, wire.Busy)
		return
	}
	for name, g := range p.Guards {
		if !holds(name, g) && !h.is("ignores guards") {
			h.owe(p.Message, wire.Declined, wire.GuardFailed)
			return
		}
	}
	h.msg, h.came, h.renewed = &p, time.Now(), time.Now()
}

// settle lets time act.
func (h *handmade) settle() {
	if h.msg == nil {
		return
	}
	now, m := time.Now(), h.msg
	over := func(from time.Time, ms uint64) bool { return now.Sub(from) >= time.Duration(ms)*time.Millisecond }
	switch {
	case over(h.renewed, m.Lease) && !h.is("keeps past its lease"),
		over(h.came, m.Live) && !h.is("keeps past its life"),
		now.Add(h.clock).Unix() >= int64(m.ValidUntil):
		h.off(wire.Expired, 0)
	case h.shown && m.Display > 0 && over(h.began, m.Display) && !h.is("keeps past its display time"):
		h.off(wire.TimedOut, 0)
	case !h.shown && (h.beaconed || h.is("shows before the beacon")):
		h.shown, h.began = true, now
		h.owe(m.Message, wire.Presented, 0)
	}
}

// What conform is asked wrongly it says at once.
func TestConformUsage(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"class": {[]string{"--class", "toaster"}, `class "toaster" is unknown`},
		"must":  {[]string{"--only", "M99"}, `there is no MUST "M99": use M1 to M79`},
		"token": {[]string{"--token", "short"}, "at least 43 characters"},
		"hands": {[]string{"--hands", "/nowhere/at-all"}, "--hands"},
		"lease": {[]string{"--lease", "1h"}, "--lease: use 100ms to 1m"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var errs bytes.Buffer
			if status := run(t.Context(), append([]string{"conform"}, test.args...), strings.NewReader(""), io.Discard, &errs); status != 2 || !strings.Contains(errs.String(), test.want) {
				t.Errorf("status %d, %q, want 2 and %q", status, errs.String(), test.want)
			}
		})
	}
}

// Beside a gateway, which has the port, a run says how it takes another.
func TestConformTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var errs bytes.Buffer
	want := "address already in use: end what listens there, or choose another address with --plain"
	if status := run(t.Context(), []string{"conform", "--plain", l.Addr().String()}, strings.NewReader(""), io.Discard, &errs); status != 1 || !strings.Contains(errs.String(), want) {
		t.Errorf("status %d, %q, want 1 and %q", status, errs.String(), want)
	}
}

// A run for some MUSTs prints those, and says in text what it saw.
func TestConformOnly(t *testing.T) {
	t.Parallel()
	r := newTester(t, "--only", "M25,M1")
	status, out, errs := r.run(simulated(t, device.Fridge, "", nil))
	report, by := verdicts(t, out, errs)
	if status != 0 || report.Pass != 2 || len(by) != 2 || by["M25"].Verdict != passed {
		t.Errorf("status %d, %s\n%s", status, out, errs)
	}
}

// endedAt is standard error, of which one line ends the run.
type endedAt struct {
	*announced
	at  string
	end context.CancelFunc
}

func (e *endedAt) Write(b []byte) (int, error) {
	n, err := e.announced.Write(b)
	if strings.Contains(e.String(), e.at) {
		e.end()
	}
	return n, err
}

// A run that is ended tells what it has seen so far, that this is not all, and fails.
func TestConformEnded(t *testing.T) {
	t.Parallel()
	type run struct {
		cmd  conformCmd
		at   string // the scene in which it is ended
		seen []string
		not  map[string]string // what is said of what was not seen
		want string
	}
	const outside, later = "it was ended from outside", "the run did not come to it"
	tests := map[string]run{
		"in a scene": {conformCmd{Plain: "127.0.0.1:0", JSON: true}, ": the lease\n", []string{"M1", "M3", "M14", "M15", "M16", "M19"},
			map[string]string{"M22": outside, "M23": outside, "M24": later, "M32": later}, "conform: the run ended early: " + outside},
		"in words":    {conformCmd{Plain: "127.0.0.1:0"}, ": the lease\n", nil, nil, "conform: the run ended early: " + outside},
		"when let in": {conformCmd{TLS: "127.0.0.1:0", Enrol: true, JSON: true}, ": a chain that does not hold\n", []string{"M42", "M43"}, map[string]string{"M44": outside, "M47": later}, "conform: the run ended early: " + outside},
		"before":      {conformCmd{Plain: "127.0.0.1:0", JSON: true}, "/...\n", nil, nil, "conform: it was ended before a device came"},
	}
	together(t, tests, func(t *testing.T, test run) func(*testing.T) {
		seats <- struct{}{}
		defer func() { <-seats }()
		ctx, end := context.WithCancel(t.Context())
		defer end()
		devices, off := context.WithCancel(t.Context())
		defer off()
		errs := &endedAt{&announced{said: make(chan string, 1)}, test.at, end}
		u := underTest{id: device.NewID(), token: registry.NewToken()}
		over := make(chan struct{})
		go func() {
			defer close(over)
			var text string
			select {
			case text = <-errs.said:
			case <-ctx.Done():
				return
			}
			cfg := sim.Config{Class: device.Fridge, Retry: 20 * time.Millisecond,
				Can: device.Capabilities{Duties: device.CanDim, Forms: []device.Form{device.Toast}, MaxButtons: 2, Holds: 1, Languages: []string{"en"}}}
			if test.cmd.Enrol {
				cfg.Gateway = "tls://" + regexp.MustCompile(`mqtts://(\S+)`).FindStringSubmatch(text)[1]
				cfg.Enrol = &sim.Enrolment{Way: wire.ByHome, Secret: regexp.MustCompile(`asks for one +(\S+)`).FindStringSubmatch(text)[1]}
			} else {
				cfg.ID, cfg.Token, cfg.Gateway = u.id, u.token, "tcp://"+regexp.MustCompile(`mqtt://(\S+)`).FindStringSubmatch(text)[1]
			}
			d, err := sim.New(cfg)
			if err != nil {
				t.Error(err)
				return
			}
			d.Run(devices)
		}()
		c := test.cmd
		c.Lease, c.Wait, c.Timeout = conformLease, 30*time.Second, 30*time.Second
		var out bytes.Buffer
		e := &env{ctx, strings.NewReader(""), &out, errs, "", nil}
		if !c.JSON {
			e.out = io.MultiWriter(&out, errs) // which tells the device where to go
		}
		err := c.run(e, 0, u.id, u.token, func(context.Context, chore) error { return errNoHands })
		off()
		<-over
		return func(t *testing.T) {
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s\n%s", err, test.want, errs)
			}
			switch {
			case test.not == nil && test.want == "conform: the run ended early: "+outside:
				if !regexp.MustCompile(`(?m)^NOT COMPLETE: \d+ pass, 0 fail, \d+ not seen\.$`).MatchString(out.String()) || !strings.Contains(out.String(), "M15  pass ") {
					t.Errorf("got %s\nwant what was seen, and that it is not complete", out.String())
				}
				return
			case test.not == nil:
				return
			}
			r, by := verdicts(t, out.String(), errs.String())
			if r.Complete || r.Fail != 0 || r.Pass == 0 {
				t.Errorf("complete %t, %d fail, %d pass; want a run that is not complete, and no fault", r.Complete, r.Fail, r.Pass)
			}
			for _, id := range test.seen {
				if by[id].Verdict != passed {
					t.Errorf("%s: %s, saw %s; want pass", id, by[id].Verdict, by[id].Saw)
				}
			}
			for id, saw := range test.not {
				if by[id].Verdict != notSeen || by[id].Saw != saw {
					t.Errorf("%s: %s, saw %s; want not seen, %s", id, by[id].Verdict, by[id].Saw, saw)
				}
			}
		}
	})
}

// Without a device the run says so, and why a device was turned away.
func TestConformWithoutDevice(t *testing.T) {
	t.Parallel()
	type away struct {
		timeout string
		dev     func(context.Context, underTest)
		want    string
	}
	tests := map[string]away{
		"nobody": {"100ms", func(context.Context, underTest) {}, "waits for the device to log in, 100ms at most\nporchlight: conform: no device connected within 100ms"},
		"wrong token": {"3s", func(ctx context.Context, u underTest) {
			u.token = registry.NewToken()
			simulated(t, device.Fridge, "", nil)(ctx, u)
		}, "no device logged in within 3s: connection refused, why: credential"},
	}
	together(t, tests, func(t *testing.T, test away) func(*testing.T) {
		status, out, errs := newTester(t, "--timeout", test.timeout).run(test.dev)
		return func(t *testing.T) {
			if status != 1 || !strings.Contains(errs, test.want) {
				t.Errorf("status %d, %q, %q; want %q", status, out, errs, test.want)
			}
		}
	})
}

// The duties stand in the contract in the same words, each with its reason.
func TestConformMusts(t *testing.T) {
	text, err := os.ReadFile("../../device/wire/CONTRACT.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^\| (M\d+) \| (.+?) \| (.+?) \| (.*?) \|$`).FindAllStringSubmatch(string(text), -1)
	seen := map[string]string{"alone": alone, "by hand": byHand, "no": notHere}
	if len(lines) != len(musts) {
		t.Errorf("the contract has %d MUSTs, conform %d", len(lines), len(musts))
	}
	for i, m := range musts[:min(len(musts), len(lines))] {
		l := lines[i]
		if m.id != fmt.Sprintf("M%d", i+1) || l[1] != m.id || l[2] != m.text {
			t.Errorf("got %s %s\nthe contract says %s %s", m.id, m.text, l[1], l[2])
		}
		if how, ok := seen[l[4]]; !ok || how != m.seen || len(l[3]) < 20 {
			t.Errorf("%s: the contract gives the reason %q and says that it is seen %q", m.id, l[3], l[4])
		}
	}
	judged := map[string]bool{}
	for _, s := range scenes {
		for _, id := range s.judges {
			judged[id] = true
		}
	}
	for _, m := range musts[13:] {
		if (m.seen == notHere) == judged[m.id] {
			t.Errorf("%s: seen %q, but a scene for it: %t", m.id, m.seen, judged[m.id])
		}
	}
}
