package main

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/firmware-sim/sim"
)

var crashSeed = flag.Uint64("crash-seed", 0, "what TestKill9 draws its instants from; 0: another at each run")

const (
	rounds        = 20               // how often TestKill9 kills the gateway
	crashPatience = 30 * time.Second // how long nothing may happen
)

// account is what a brand and the devices have written down by themselves.
type account struct {
	sent    []sent                        // each 202, in the order in which they came
	known   map[device.MessageID]bool     // to the gateway, when the brand asks for it
	held    map[device.MessageID]string   // not shown yet, and why
	screens map[string][]device.MessageID // what was on each device's screen, in order
}

// sent is a message that was acknowledged.
type sent struct {
	stream string // "": for any screen, where no order is promised
	key    string
	id     device.MessageID
}

// faults says all that contradicts the promises: what is acknowledged is kept, and shown once, on
// one screen, in the order of acceptance.
func (a account) faults() (all []string) {
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	byKey, byID := map[string]device.MessageID{}, map[device.MessageID]sent{}
	place := map[device.MessageID]int{}
	for i, s := range a.sent {
		if id, again := byKey[s.key]; again {
			if id != s.id {
				add("key %s was answered with %s and with %s", s.key, id, s.id)
			}
			continue
		}
		if other, taken := byID[s.id]; taken {
			add("%s and %s were both answered with %s", other.key, s.key, s.id)
		}
		byKey[s.key], byID[s.id], place[s.id] = s.id, s, i
		if !a.known[s.id] {
			add("%s (%s) was acknowledged and is not known", s.key, s.id)
		}
	}
	shown := map[device.MessageID]string{}
	for _, name := range slices.Sorted(maps.Keys(a.screens)) {
		last := map[string]sent{}
		for _, id := range a.screens[name] {
			s, ok := byID[id]
			if !ok {
				add("%s was shown on the %s and nobody sent it", id, name)
				continue
			}
			if where, again := shown[id]; again {
				add("%s was shown on the %s, and before on the %s", s.key, name, where)
			} else if before, some := last[s.stream]; some && s.stream != "" && place[before.id] > place[id] {
				add("%s was shown on the %s after %s, which was accepted later", s.key, name, before.key)
			}
			shown[id] = name
			last[s.stream] = s
		}
	}
	for _, s := range a.sent {
		if shown[s.id] == "" && a.held[s.id] == "" {
			add("%s (%s) was acknowledged, was not shown, and nothing says why", s.key, s.id)
			shown[s.id] = "?" // once is enough
		}
	}
	return all
}

// A good account has no fault; one thing changed in it is found, and named.
func TestFaultsOfAnAccount(t *testing.T) {
	id := func(n byte) device.MessageID { return device.MessageID{15: n} }
	tests := map[string]struct {
		edit func(*account)
		want string // the one fault; "": none
	}{
		"good":                      {func(*account) {}, ""},
		"held for a reason":         {func(a *account) { a.screens["TV"] = a.screens["TV"][:1]; a.held[id(2)] = "hold: quiet" }, ""},
		"any screen, any order":     {func(a *account) { a.screens["Fridge"] = []device.MessageID{id(5), id(3), id(4)} }, ""},
		"sent again":                {func(a *account) { a.sent = append(a.sent, a.sent[0]) }, ""},
		"lost from the book":        {func(a *account) { delete(a.known, id(3)) }, "fridge-1 (" + id(3).String() + ") was acknowledged and is not known"},
		"lost on the way":           {func(a *account) { a.screens["TV"] = a.screens["TV"][1:] }, "tv-1 (" + id(1).String() + ") was acknowledged, was not shown, and nothing says why"},
		"twice on one screen":       {func(a *account) { a.screens["TV"] = append(a.screens["TV"], id(2)) }, "tv-2 was shown on the TV, and before on the TV"},
		"twice on two screens":      {func(a *account) { a.screens["TV"] = append(a.screens["TV"], id(4)) }, "any-1 was shown on the TV, and before on the Fridge"},
		"out of order":              {func(a *account) { slices.Reverse(a.screens["TV"]) }, "tv-1 was shown on the TV after tv-2, which was accepted later"},
		"from nobody":               {func(a *account) { a.screens["TV"] = append(a.screens["TV"], id(9)) }, id(9).String() + " was shown on the TV and nobody sent it"},
		"another answer to one key": {func(a *account) { a.sent = append(a.sent, sent{"tv", "tv-1", id(2)}) }, "key tv-1 was answered with " + id(1).String() + " and with " + id(2).String()},
		"one answer to two keys":    {func(a *account) { a.sent = append(a.sent, sent{"", "any-3", id(5)}) }, "any-2 and any-3 were both answered with " + id(5).String()},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a := account{
				sent:    []sent{{"tv", "tv-1", id(1)}, {"tv", "tv-2", id(2)}, {"fridge", "fridge-1", id(3)}, {"", "any-1", id(4)}, {"", "any-2", id(5)}},
				known:   map[device.MessageID]bool{id(1): true, id(2): true, id(3): true, id(4): true, id(5): true},
				held:    map[device.MessageID]string{},
				screens: map[string][]device.MessageID{"TV": {id(1), id(2)}, "Fridge": {id(3), id(4), id(5)}},
			}
			tt.edit(&a)
			var want []string
			if tt.want != "" {
				want = []string{tt.want}
			}
			if got := a.faults(); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

const crashHome = `
name: oak
zone: Europe/Zurich
rooms: [kitchen]
devices:
  - {name: TV, class: tv, room: kitchen, controller: true, start: [turn on], can: {inputs: [remote], forms: [toast], buttons: 2, languages: [en], holds: 1}}
  - {name: Fridge, class: fridge, room: kitchen, can: {inputs: [touch], forms: [toast], buttons: 2, languages: [en]}}
  - {name: Display, class: display, can: {inputs: [touch], forms: [list], buttons: 2, languages: [en]}}
`

// crash is a gateway that is killed and started again, its home and its brand.
type crash struct {
	t      *testing.T
	rng    *rand.Rand
	data   string
	config string
	url    string // of the brand's door
	key    string
	until  time.Time // not_after of all messages
	client http.Client

	cmd   *exec.Cmd
	errs  *lines        // what the running process said
	ended chan struct{} // closed when it has ended

	devices  []*sim.Device
	room     map[string]chan struct{} // by stream: what is accepted and not shown yet
	happened chan struct{}            // something was shown, removed or acknowledged

	mu      sync.Mutex
	sent    []sent
	shown   map[string]bool // by the text of the message, which is its key
	screens map[string][]device.MessageID
	random  *rand.Rand // of the people
}

// free returns n ports that nothing listens on, outside of the range from which the system
// takes the ports of those who dial: while the gateway is down, nobody else gets them. The port
// before them stays taken until the test ends, so that another run of it does not get them either.
func free(t *testing.T, rng *rand.Rand, n int) (ports []int) {
	t.Helper()
	listen := func(port int) (net.Listener, error) { return net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)) }
	for range 1000 {
		first := 20000 + (n+1)*rng.IntN(10000/(n+1))
		kept, err := listen(first)
		if err != nil {
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
			t.Cleanup(func() { kept.Close() })
			return ports
		}
		kept.Close()
	}
	t.Fatal("no free ports")
	return nil
}

// start starts the gateway; it does not wait until it runs.
func (c *crash) start() {
	c.t.Helper()
	c.errs = &lines{}
	c.cmd = exec.Command("porchlight", "--data", c.data, "serve", "--config", c.config)
	c.cmd.Stderr = c.errs
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	cmd, ended := c.cmd, make(chan struct{})
	c.ended = ended
	go func() {
		_ = cmd.Wait() // its state says how
		close(ended)
	}()
}

// open waits until the gateway's operators are let in.
func (c *crash) open() {
	c.t.Helper()
	e := &env{ctx: c.t.Context(), data: c.data}
	for began := time.Now(); time.Since(began) < 2*crashPatience; {
		if _, err := ask[api.Status](e, "status", api.None{}); err == nil {
			return
		}
		select {
		case <-c.ended:
			c.t.Fatalf("the gateway did not start: %v; it said\n%s", c.cmd.ProcessState, c.errs)
		case <-time.After(10 * time.Millisecond): // another process: there is nothing to wait on
		}
	}
	c.hangs("start")
}

// end stops the gateway as an operator does.
func (c *crash) end() {
	c.t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		c.t.Fatal(err)
	}
	select {
	case <-c.ended:
	case <-time.After(2 * crashPatience):
		c.hangs("end")
	}
	if !c.cmd.ProcessState.Success() {
		c.t.Errorf("the gateway did not end well: %v\n%s", c.cmd.ProcessState, c.errs)
	}
	c.check()
}

// hangs fails the test with what the gateway's goroutines are doing.
func (c *crash) hangs(what string) {
	c.t.Helper()
	_ = c.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-c.ended:
	case <-time.After(crashPatience):
	}
	c.t.Fatalf("the gateway does not %s; it said\n%s", what, c.errs)
}

// kill ends the gateway as a power cut would.
func (c *crash) kill() {
	c.t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		c.t.Errorf("kill: %v; it said\n%s", err, c.errs)
	}
	<-c.ended
	if st, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || st.Signal() != syscall.SIGKILL {
		c.t.Fatalf("the gateway ended before it was killed: %v; it said\n%s", c.cmd.ProcessState, c.errs)
	}
	c.check()
}

// check looks at what the process said.
func (c *crash) check() {
	c.t.Helper()
	said := c.errs.String()
	for _, bad := range []string{"DATA RACE", "panic", "level=ERROR"} {
		if strings.Contains(said, bad) {
			c.t.Errorf("the gateway said %s:\n%s", bad, said)
			return
		}
	}
}

// note is the device's ledger of what was on its screen, and the person before it.
func (c *crash) note(d *sim.Device, e sim.Event) {
	switch e.Kind {
	case sim.Shown:
	case sim.Removed:
		c.happen()
		return
	case sim.Trouble, sim.Complaint:
		c.t.Errorf("%s: %s: %s", e.Device, e.Kind, e.Why)
		return
	default:
		return
	}
	c.mu.Lock()
	c.screens[e.Device] = append(c.screens[e.Device], e.Message)
	first := !c.shown[e.Text]
	c.shown[e.Text] = true
	what, after := c.random.IntN(20), time.Duration(c.random.Int64N(int64(20*time.Millisecond)))
	c.mu.Unlock()
	if first {
		stream, _, _ := strings.Cut(e.Text, "-")
		<-c.room[stream]
	}
	c.happen()
	if what == 0 { // nobody looks: its time runs out
		return
	}
	act := func() { _ = d.Press(1, nil) } // something else may have taken it off; to close two of them would pause the brand
	if what%2 == 0 {
		after = 0
	}
	time.AfterFunc(after, act)
}

func (c *crash) happen() {
	select {
	case c.happened <- struct{}{}:
	default:
	}
}

// moves waits until something happens; false means that nothing did for long.
func (c *crash) moves() bool {
	select {
	case <-c.happened:
		return true
	case <-time.After(crashPatience):
		return false
	}
}

// ask has the brand's door answer, whatever becomes of the gateway meanwhile, as a brand should:
// with the same key until there is an answer.
func (c *crash) ask(method, path, key string, body []byte) (status int, raw []byte) {
	for began := time.Now(); time.Since(began) < 3*crashPatience; time.Sleep(2 * time.Millisecond) {
		req, err := http.NewRequest(method, c.url+path, bytes.NewReader(body))
		if err != nil {
			c.t.Error(err)
			return 0, nil
		}
		req.Header.Set("Authorization", "Bearer "+c.key)
		req.Header.Set("Idempotency-Key", key)
		resp, err := c.client.Do(req)
		if err != nil {
			continue // down, or killed before it could answer
		}
		raw, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode >= 500 {
			continue
		}
		return resp.StatusCode, raw
	}
	c.t.Errorf("%s %s: no answer for %s", method, path, 3*crashPatience)
	return 0, nil
}

// push sends one message and writes down its ID.
func (c *crash) push(stream, key string) bool {
	message := map[string]any{
		"purpose": "marketing", "not_after": c.until, "display_seconds": 1,
		"texts":   []any{map[string]any{"language": "en", "body": key}},
		"buttons": []any{map[string]any{"id": 1, "label": map[string]any{"en": "Yes"}}},
	}
	if stream != "any" {
		message["classes"] = []any{stream}
	}
	body, err := json.Marshal(message)
	if err != nil {
		c.t.Error(err)
		return false
	}
	var m api.Message
	status, raw := c.ask("POST", "/v1/messages", key, body)
	id, err := device.MessageID{}, json.Unmarshal(raw, &m)
	if err == nil {
		id, err = device.ParseMessageID(m.ID)
	}
	if status != http.StatusAccepted || err != nil {
		c.t.Errorf("push %s: got %d %s, %v", key, status, raw, err)
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, sent{strings.TrimPrefix(stream, "any"), key, id})
	c.happen()
	return true
}

// pushAll sends one message after the other, as long as few of them wait for a screen.
func (c *crash) pushAll(ctx context.Context, stream string) {
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case c.room[stream] <- struct{}{}:
		}
		if !c.push(stream, fmt.Sprintf("%s-%d", stream, n)) {
			return
		}
	}
}

// pending is how many messages are accepted and not shown.
func (c *crash) pending() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sent {
		if !c.shown[s.key] {
			n++
		}
	}
	return n
}

// ready waits until each device has been welcomed on a connection of its own after births.
func (c *crash) ready(births []int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*crashPatience)
	defer cancel()
	go func(ended <-chan struct{}) {
		select {
		case <-ended: // it will let nobody in
			cancel()
		case <-ctx.Done():
		}
	}(c.ended)
	for i, d := range c.devices {
		if err := d.Await(ctx, func(s sim.State) bool { return s.Births > births[i] && s.Ready }); err != nil {
			c.t.Errorf("%v", err)
			c.hangs("let a device in")
		}
	}
}

func (c *crash) births() (all []int) {
	for _, d := range c.devices {
		all = append(all, d.State().Births)
	}
	return all
}

// The gateway is killed, again and again, while messages are on their way; devices, people and
// the brand go on. Nothing acknowledged is lost, nothing is shown twice, and each device has shown
// what was for it in the order of acceptance.
func TestKill9(t *testing.T) {
	seed := *crashSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-crash-seed=%d", seed)
	dir := t.TempDir()
	c := &crash{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), random: rand.New(rand.NewPCG(seed, 1)),
		data: filepath.Join(dir, "d"), config: filepath.Join(dir, "gateway.yaml"), until: time.Now().Add(time.Hour).UTC().Truncate(time.Second),
		client: http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 8}},
		room:   map[string]chan struct{}{}, happened: make(chan struct{}, 1<<12), shown: map[string]bool{}, screens: map[string][]device.MessageID{},
	}
	defer c.client.CloseIdleConnections()
	for _, stream := range []string{"tv", "fridge", "display", "any"} {
		c.room[stream] = make(chan struct{}, 5)
	}
	ports := free(t, c.rng, 3)
	mqtt := fmt.Sprint("127.0.0.1:", ports[0])
	c.url = fmt.Sprint("http://127.0.0.1:", ports[2])
	cfg := fmt.Sprintf("mqtt: {plain: '%s', tls: '127.0.0.1:%d', websocket: ''}\nhttp: {plain: '127.0.0.1:%d', metrics: ''}\nbrands: {rate: 100000, burst: 100000}\ndelivery: {learner: off}\n", mqtt, ports[1], ports[2])
	home := filepath.Join(dir, "home.yaml")
	if err := errors.Join(os.WriteFile(c.config, []byte(cfg), 0o600), os.WriteFile(home, []byte(crashHome), 0o600)); err != nil {
		t.Fatal(err)
	}

	c.start()
	defer func() {
		_ = c.cmd.Process.Kill() // where the test broke off
		<-c.ended
	}()
	c.open()
	cred, err := sim.ReadCredentials(porchlight(t, c.data, "home", "add", "--file", home))
	if err != nil {
		t.Fatal(err)
	}
	c.key = porchlight(t, c.data, "brand", "add", "fresh", "--name", "Fresh", "--purpose", "marketing", "--quota", "1000000")
	porchlight(t, c.data, "home", "set", "oak", "--no-cap")
	porchlight(t, c.data, "consent", "give", "--home", "oak", "--brand", "fresh", "--purpose", "marketing")

	spec, err := sim.ReadHome(home)
	if err != nil {
		t.Fatal(err)
	}
	ctx, unplug := context.WithCancel(t.Context())
	var world, brand sync.WaitGroup
	defer world.Wait()
	defer unplug()
	for _, thing := range spec.Devices {
		one := spec
		one.Devices = []sim.Thing{thing}
		base := sim.Config{Memory: dir, Retry: 5 * time.Millisecond, MaxRetry: 40 * time.Millisecond}
		if thing.Name != "TV" { // the TV comes over TLS
			base.Gateway = "mqtt://" + mqtt
		}
		var d *sim.Device
		base.Notify = func(e sim.Event) { c.note(d, e) }
		made, err := sim.Devices(one, cred, base)
		if err != nil {
			t.Fatal(err)
		}
		d = made[0]
		c.devices = append(c.devices, d)
	}
	births := c.births()
	for _, d := range c.devices {
		world.Go(func() {
			if err := d.Run(ctx); err != nil {
				t.Errorf("%s: %v", d.Name(), err)
			}
		})
	}
	open, shut := context.WithCancel(ctx)
	defer brand.Wait()
	defer shut()
	for stream := range c.room {
		brand.Go(func() { c.pushAll(open, stream) })
	}

	interrupted := 0
	for round := range rounds {
		var when string
		switch n := c.rng.IntN(4); n {
		case 0: // while it starts, or soon after
			wait := time.Duration(c.rng.Int64N(int64(500 * time.Millisecond)))
			when = fmt.Sprintf("%s after its start", wait)
			time.Sleep(wait)
		case 1: // at some moment of its work
			c.ready(births)
			wait := time.Duration(c.rng.Int64N(int64(200 * time.Millisecond)))
			when = fmt.Sprintf("%s after all were there", wait)
			time.Sleep(wait)
		default: // in the middle of something
			c.ready(births)
			for len(c.happened) > 0 {
				<-c.happened
			}
			things, wait := 1+c.rng.IntN(8), time.Duration(c.rng.Int64N(int64(4*time.Millisecond)))
			when = fmt.Sprintf("%s after %d things happened", wait, things)
			for range things {
				if !c.moves() {
					t.Errorf("nothing happens after %d rounds; the gateway said\n%s", round, c.errs)
					shut()
					brand.Wait()
					c.settle() // what hangs is told there
					return
				}
			}
			time.Sleep(wait)
		}
		c.kill()
		n := c.pending()
		if n > 0 {
			interrupted++
		}
		t.Logf("round %d: killed %s, %d messages pending", round+1, when, n)
		births = c.births()
		c.start()
	}
	if interrupted < rounds/2 {
		t.Errorf("messages were pending at %d of %d kills only: this proves little", interrupted, rounds)
	}
	c.ready(births)
	shut()
	brand.Wait()
	c.settle()
}

// settle lets everything come to its end and compares all that was written down.
func (c *crash) settle() {
	t := c.t
	c.mu.Lock()
	all := slices.Clone(c.sent)
	c.mu.Unlock()
	for c.pending() > 0 && c.moves() {
	}
	ctx, cancel := context.WithTimeout(t.Context(), crashPatience)
	defer cancel()
	for _, d := range c.devices {
		if err := d.Await(ctx, func(s sim.State) bool { return s.Owed == 0 && !s.Screen.Showing && s.Screen.Queued == 0 }); err != nil {
			t.Error(err)
		}
	}

	a := account{known: map[device.MessageID]bool{}, held: map[device.MessageID]string{}}
	for _, s := range all {
		status, raw := c.ask("GET", "/v1/messages/"+s.id.String(), "", nil)
		a.known[s.id] = status == http.StatusOK && strings.Contains(string(raw), `"accepted"`)
		if !c.push(cmp.Or(s.stream, "any"), s.key) { // again: the same answer
			return
		}
		if c.shown[s.key] {
			continue
		}
		why, err := ask[delivery.Why](&env{ctx: t.Context(), data: c.data}, "why", api.WhyAsked{ID: s.id})
		t.Logf("%s was not shown: %+v, %v", s.key, why, err)
		for _, home := range why.Homes {
			for _, screen := range home.Screens {
				if screen.Verdict == "hold" {
					a.held[s.id] = strings.Join(screen.Reasons, ", ")
				}
			}
		}
	}
	if n := c.listed(); n != len(all) {
		t.Errorf("the gateway lists %d messages, and the brand has sent %d", n, len(all))
	}
	c.mu.Lock()
	a.sent, a.screens = slices.Clone(c.sent), maps.Clone(c.screens)
	c.mu.Unlock()
	for _, fault := range a.faults() {
		t.Error(fault)
	}
	t.Logf("%d messages acknowledged; shown on TV %d, fridge %d, display %d", len(all), len(a.screens["TV"]), len(a.screens["Fridge"]), len(a.screens["Display"]))

	c.end()
	c.compare(a)
	diffs, err := store.Check(t.Context(), filepath.Join(c.data, databaseFile), delivery.Project, nil)
	if err != nil || len(diffs) > 0 {
		t.Errorf("tables and journal differ: %v, %v", diffs, err)
	}
}

// listed is how many messages the brand is told that it has sent.
func (c *crash) listed() (n int) {
	for after := ""; ; {
		var page struct {
			Messages []api.Message
			Next     string
		}
		status, raw := c.ask("GET", "/v1/messages?limit=200&after="+after, "", nil)
		if err := json.Unmarshal(raw, &page); err != nil || status != http.StatusOK {
			c.t.Errorf("list: got %d %s, %v", status, raw, err)
			return n
		}
		n += len(page.Messages)
		if after = page.Next; after == "" {
			return n
		}
	}
}

// compare holds the gateway's book against the ledgers that the devices kept: each receipt that
// was acknowledged is in it.
func (c *crash) compare(a account) {
	t := c.t
	db, err := sql.Open("sqlite3", filepath.Join(c.data, databaseFile))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	type end struct {
		device    device.ID
		presented bool
		outcome   delivery.Outcome
	}
	book := map[device.MessageID]end{}
	rows, err := db.Query(`SELECT message, device, presented > 0, outcome FROM delivery`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var raw []byte
		var e end
		if err := rows.Scan(&raw, &e.device, &e.presented, &e.outcome); err != nil {
			t.Fatal(err)
		}
		id := device.MessageID(raw)
		if other, twice := book[id]; twice {
			t.Errorf("message %s is in the book for %s and for %s", id, other.device, e.device)
		}
		book[id] = e
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for _, d := range c.devices {
		var memory struct {
			Ledger []struct {
				Message device.MessageID
				Kind    wire.EventKind
			}
		}
		raw, err := os.ReadFile(filepath.Join(filepath.Dir(c.data), string(d.ID())+".json"))
		if err == nil {
			err = json.Unmarshal(raw, &memory)
		}
		if err != nil {
			t.Fatal(err)
		}
		var ledger []device.MessageID
		for _, l := range memory.Ledger {
			ledger = append(ledger, l.Message)
			got := book[l.Message]
			if want := (end{d.ID(), true, delivery.Outcome(l.Kind)}); got != want {
				t.Errorf("message %s: the book has %+v, the ledger of the %s %+v", l.Message, got, d.Name(), want)
			}
		}
		if !slices.Equal(ledger, a.screens[d.Name()]) {
			t.Errorf("the %s has shown\n%v\nand its ledger has\n%v", d.Name(), a.screens[d.Name()], ledger)
		}
	}
}
