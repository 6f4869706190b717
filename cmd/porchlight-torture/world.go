//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	_ "github.com/mattn/go-sqlite3"

	"porchlight/device"
	"porchlight/device/wire"
	"porchlight/firmware-sim/sim"
)

func lockThread() { runtime.LockOSThread() }

const purpose = "marketing"

// world is all who use the gateway, and what they have written down.
type world struct {
	seed    uint64
	began   time.Time
	gateway *gateway
	network *network
	houses  []*house
	byID    map[device.ID]*diary
	brands  []*brand
	sims    []*sim.Device
	dwell   time.Duration // for so long at most somebody looks at a message before they press its button
	rate    atomic.Int64  // contexts a second, of all devices together
	pace    time.Duration // a person, or a brand, does nothing for so long at most

	ops  atomic.Int64
	late atomic.Int64 // ns by which we ourselves were late, at the worst

	mu      sync.Mutex
	kinds   map[string]int64 // operations, by kind
	others  map[string]int64 // what else was counted
	faults  map[string]int64
	errs    []error
	onView  map[string]*atomic.Int64 // homes that have shown a message, by its words
	clock   []setting
	struck  []strike
	latency []time.Duration // of contexts, since somebody asked
}

func (w *world) since() moment { return time.Since(w.began) }

// op counts an operation: a step of a device or a brand that was acknowledged.
func (w *world) op(kind string) {
	w.ops.Add(1)
	w.mu.Lock()
	w.kinds[kind]++
	w.mu.Unlock()
}

// count counts what is no operation.
func (w *world) count(what string) {
	w.mu.Lock()
	w.others[what]++
	w.mu.Unlock()
}

func (w *world) fault(name string) {
	w.mu.Lock()
	w.faults[name]++
	w.mu.Unlock()
}

// answered counts a frame that was acknowledged.
func (w *world) answered(kind string, code byte) {
	w.op(kind)
	if code >= 0x80 {
		w.count(fmt.Sprintf("%s refused with 0x%02x", kind, code))
	}
}

// took notes how long an acknowledgement took.
func (w *world) took(d time.Duration) {
	w.mu.Lock()
	if len(w.latency) < 1<<20 {
		w.latency = append(w.latency, d)
	}
	w.mu.Unlock()
}

// fail notes that something went wrong which is no fault of ours.
func (w *world) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.errs) < 100 {
		w.errs = append(w.errs, err)
	}
}

// shown notes that a home shows a message.
func (w *world) shown(words string) {
	w.mu.Lock()
	n := w.onView[words]
	w.mu.Unlock()
	if n != nil {
		n.Add(1)
	}
}

// house is one home: its devices, and who lives there.
type house struct {
	*diary
	world   *world
	screens []*screen // the first is a TV, which may widen
	patient bool      // they leave on the screens what is there
	rng     *rand.Rand
}

// brand is one brand.
type brand struct {
	*ledger
	world  *world
	key    string
	client *http.Client
	rng    *rand.Rand
	poison bool // it sends nonsense beside, and no home has said yes to it
}

// size is how large a world is.
type size struct {
	homes, brands int
	sims          bool
	calm          bool // every home wants a message a minute, and nobody is odd
}

// people's clock.
func (w *world) now() time.Time { return time.Now().Add(w.gateway.ahead()) }

// populate adds homes, devices and brands to a gateway that runs.
func (w *world) populate(ctx context.Context, n size) error {
	rng := rand.New(rand.NewPCG(w.seed, 1))
	classes := []device.Class{device.TV, device.Fridge, device.Display}
	for i := range n.brands {
		b := &brand{ledger: &ledger{Brand: device.BrandID(fmt.Sprintf("brand-%d", i))}, world: w, rng: rand.New(rand.NewPCG(rng.Uint64(), 2)), poison: i == n.brands-1}
		b.client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
		var added struct{ Key string }
		if err := w.gateway.ask(ctx, "brand/add", map[string]any{"id": b.Brand, "name": "Brand " + fmt.Sprint(i), "purposes": []string{purpose}, "quota": 10000000}, &added); err != nil {
			return err
		}
		b.key = added.Key
		w.brands = append(w.brands, b)
	}
	limits := [][]limit{{{Max: 2, Minutes: 1}}, {{Max: 3, Minutes: 2}, {Each: true, Max: 1, Minutes: 1}}, {{Max: 4}}, {{Max: 12, Minutes: 60}}, {{Each: true, Max: 1, Minutes: 1}}}
	for i := range n.homes {
		d := &diary{Name: fmt.Sprintf("home-%d", i), Odd: i > 0 && i <= max(2, n.homes/25), Classes: map[device.ID]device.Class{}}
		caps := []map[string]any{}
		if i%3 == 2 {
			d.Limits = limits[(i/3)%len(limits)]
		}
		if n.calm {
			d.Odd, d.Limits = false, []limit{{Max: 1, Minutes: 1}}
		}
		for _, l := range d.Limits {
			caps = append(caps, map[string]any{"brand": l.Brand, "each": l.Each, "max": l.Max, "minutes": l.Minutes})
		}
		spec := map[string]any{"name": d.Name, "zone": homeZone, "rooms": []string{"kitchen"}, "caps": caps}
		var devices []map[string]any
		for k, c := range classes {
			devices = append(devices, map[string]any{"class": c, "name": c.String(), "controller": k == 0})
		}
		spec["devices"] = devices
		var added struct {
			Devices []struct {
				ID    device.ID
				Class device.Class
				Token string
			}
		}
		if err := w.gateway.ask(ctx, "home/add", spec, &added); err != nil {
			return err
		}
		h := &house{diary: d, world: w, patient: i%4 == 0, rng: rand.New(rand.NewPCG(rng.Uint64(), 3))}
		if n.sims && i == 0 {
			if err := w.simulate(h, added.Devices[0].ID, added.Devices[0].Token); err != nil {
				return err
			}
			added.Devices = added.Devices[1:]
		}
		for _, e := range added.Devices {
			s := &screen{id: e.ID, token: e.Token, class: e.Class, home: h, world: w, rng: rand.New(rand.NewPCG(rng.Uint64(), 4)),
				ledger: map[device.MessageID]wire.Event{}, changed: make(chan struct{})}
			h.screens = append(h.screens, s)
			d.Classes[e.ID] = e.Class
		}
		for id := range d.Classes {
			w.byID[id] = d
		}
		w.houses = append(w.houses, h)
	}
	w.clock = append(w.clock, setting{Zone: zoneOf("")})
	return nil
}

// simulate adds the simulator's television to a home, over TLS: its choices are made by the operator.
func (w *world) simulate(h *house, id device.ID, token string) error {
	pem, err := os.ReadFile(filepath.Join(w.gateway.data, "ca", "ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	var dev *sim.Device
	open := map[device.MessageID]*show{}
	note := func(e sim.Event) {
		now := w.since()
		switch e.Kind {
		case sim.Shown:
			s := &show{Device: id, Message: e.Message, Text: e.Text, Class: device.TV, From: now}
			open[e.Message] = s
			h.diary.write(func() { h.diary.Shows = append(h.diary.Shows, s) })
			w.count("shown")
			w.shown(e.Text)
			time.AfterFunc(w.dwell/4, func() { _ = dev.Press(1, nil) }) // it may have gone by itself
		case sim.Removed:
			if s := open[e.Message]; s != nil && !e.Unseen {
				h.diary.write(func() { s.To, s.Why = now, e.Why })
			}
		case sim.Trouble:
			w.fail(fmt.Errorf("simulated TV: %s", e.Why))
		}
	}
	dev, err = sim.New(sim.Config{ID: id, Token: token, Name: "TV", Class: device.TV, Start: []string{"turn on"}, Gateway: "tls://" + w.gateway.addr(1), Roots: roots,
		Memory: filepath.Join(w.gateway.dir, "tv.json"), Retry: 20 * time.Millisecond, MaxRetry: 500 * time.Millisecond, Notify: note,
		Can: device.Capabilities{Inputs: 2, Forms: []device.Form{device.Toast}, MaxButtons: 2, Languages: []string{"en"}, Holds: 1, Duties: wire.DutyDim | wire.DutyMinimal}})
	h.diary.Classes[id] = device.TV
	w.sims = append(w.sims, dev)
	return err
}

// live runs all who use the gateway until ctx ends.
func (w *world) live(ctx context.Context, load *sync.WaitGroup, world *sync.WaitGroup, open context.Context) {
	for _, h := range w.houses {
		for _, s := range h.screens {
			world.Go(func() { s.run(ctx) })
		}
		load.Go(func() { h.people(open) })
	}
	for _, d := range w.sims {
		world.Go(func() {
			if err := d.Run(ctx); err != nil {
				w.fail(err)
			}
		})
	}
	world.Go(func() { w.tick(ctx, open) })
	for i, b := range w.brands {
		if b.poison {
			load.Go(func() { b.poisons(open) })
			continue
		}
		if i%4 == 3 {
			load.Go(func() { b.speaks(open) })
		} else {
			load.Go(func() { b.sends(open) })
		}
	}
}

// tick lets time act on every device, and has them tell of themselves at the rate.
func (w *world) tick(ctx, open context.Context) {
	var all []*screen
	for _, h := range w.houses {
		all = append(all, h.screens...)
	}
	if len(all) == 0 {
		return
	}
	const every = 10 * time.Millisecond
	t := time.NewTicker(every)
	defer t.Stop()
	next, owing, last, tick := 0, 0.0, time.Now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if late := time.Since(tick) - every; late > time.Duration(w.late.Load()) {
			w.late.Store(int64(late))
		}
		tick = time.Now()
		for _, s := range all {
			s.mu.Lock()
			busy := s.on != nil || s.waiting != nil
			s.mu.Unlock()
			if busy {
				s.with(func(moment) {})
			}
		}
		if open.Err() != nil {
			continue
		}
		owing = min(owing+float64(w.rate.Load())*time.Since(last).Seconds(), float64(w.rate.Load())/5)
		last = time.Now()
		for tries := 0; owing >= 1 && tries < len(all); tries++ {
			s := all[next%len(all)]
			next++
			s.mu.Lock()
			if s.conn != nil && s.beaconed && s.pending < 4 {
				s.value++
				s.tell(false, nil)
				owing--
			}
			s.mu.Unlock()
		}
	}
}

// stopped takes in that a device was told that what was taken back on it is on no screen any more.
func (h *house) stopped(dev device.ID, epoch uint64, now moment) {
	h.diary.write(func() {
		var last *choice
		for _, c := range h.Choices {
			if c.Kind == "consent" && !c.Open && c.Device == dev && c.base < epoch {
				last = c
			}
		}
		if last != nil && last.Stopped == 0 {
			last.Stopped = now
		}
	})
}

// pause waits for a while, and reports whether the run goes on.
func (h *house) pause(ctx context.Context, most time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Duration(h.rng.Int64N(int64(most) + 1))):
		return true
	}
}

// people is what those who live there do: one thing after the other.
func (h *house) people(ctx context.Context) {
	if len(h.screens) < len(attributes) { // one is simulated: the operator says yes, and that is all
		for _, b := range h.world.brands {
			if !b.poison {
				h.tell(ctx, b.Brand, true)
			}
		}
		return
	}
	for _, b := range h.world.brands {
		if !b.poison {
			h.choose(ctx, gate{"consent", b.Brand}, true, h.screens[0])
		}
	}
	if h.Odd {
		return
	}
	for h.pause(ctx, h.world.pace) {
		b := h.world.brands[h.rng.IntN(len(h.world.brands)-1)].Brand
		any := h.screens[h.rng.IntN(len(h.screens))]
		if seen := h.onScreen(); seen != "" && h.rng.IntN(5) > 0 {
			b = seen // people speak of what they see
		}
		switch n := h.rng.IntN(100); {
		case n < 40: // a no, and later a yes
			yes, no := gate{"consent", b}, any
			if h.rng.IntN(8) == 0 {
				h.tell(ctx, b, false)
			} else {
				h.choose(ctx, yes, false, no)
			}
			h.pause(ctx, h.world.gateway.lease+h.world.gateway.allowed)
			h.choose(ctx, yes, true, h.screens[0])
		case n < 55:
			h.choose(ctx, gate{"mute", b}, false, any)
			h.pause(ctx, 2*h.world.pace)
			h.choose(ctx, gate{"mute", b}, true, h.screens[0])
		case n < 60:
			h.choose(ctx, gate{"freeze", ""}, false, any)
			h.pause(ctx, h.world.pace)
			h.choose(ctx, gate{"freeze", ""}, true, h.screens[0])
		case n < 85:
			any.set(ctx, true, func() { any.dnd = true })
			h.pause(ctx, h.world.pace)
			any.set(ctx, false, func() { any.dnd = false })
		case n < 90:
			h.alarm(ctx, any, true)
			h.pause(ctx, h.world.pace)
			h.alarm(ctx, any, false)
		default:
			h.forget(ctx, h.screens[0])
		}
	}
}

// onScreen is a brand of which something is on a screen of the home just now; "": none.
func (h *house) onScreen() (b device.BrandID) {
	for _, s := range h.screens {
		s.mu.Lock()
		if s.on != nil {
			b = device.BrandID(s.on.Text[:strings.LastIndexByte(s.on.Text, '-')])
		}
		s.mu.Unlock()
	}
	return b
}

// alarm has a device tell that its alarm is on, or over: until then no screen of the home shows anything.
func (h *house) alarm(ctx context.Context, s *screen, on bool) {
	c := &choice{gate: gate{"alarm", ""}, Open: !on, Device: s.id, Sent: h.world.since()}
	h.diary.write(func() { h.Choices = append(h.Choices, c) })
	if s.set(ctx, false, func() { s.alarm = on }) {
		h.diary.write(func() { c.Acked = h.world.since() })
	}
}

// says reports how a gate stands in a document.
func says(t wire.Twin, g gate) (open bool) {
	switch g.Kind {
	case "consent":
		return slices.ContainsFunc(t.Doc.Brands, func(c wire.BrandChoice) bool {
			return c.Brand == g.Brand && c.Purpose == purpose && c.Choice == "given"
		})
	case "mute":
		return !slices.ContainsFunc(t.Doc.Mutes, func(m wire.Mute) bool { return m.Brand == g.Brand })
	}
	return !t.Doc.Frozen
}

// proposal is what is to change in a document so that a gate stands so.
func proposal(t wire.Twin, g gate, open bool) (p wire.Proposal) {
	switch g.Kind {
	case "consent":
		p.Brands = []wire.BrandChoice{{Brand: g.Brand, Purpose: purpose, Choice: map[bool]string{true: "given", false: "withdrawn"}[open]}}
	case "mute":
		mutes := slices.DeleteFunc(slices.Clone(t.Doc.Mutes), func(m wire.Mute) bool { return m.Brand == g.Brand })
		if !open {
			mutes = append(mutes, wire.Mute{Brand: g.Brand})
		}
		if mutes == nil {
			mutes = []wire.Mute{}
		}
		p.Mutes = &mutes
	default:
		frozen := !open
		p.Frozen = &frozen
	}
	return p
}

// choose says something on a device, again and again until it is acknowledged.
func (h *house) choose(ctx context.Context, g gate, open bool, s *screen) {
	c := &choice{gate: g, Open: open, Device: s.id, Sent: h.world.since()}
	h.diary.write(func() { h.Choices = append(h.Choices, c) })
	if !s.await(ctx, func() bool { return s.beaconed }) {
		return
	}
	for ctx.Err() == nil {
		var base uint64
		code, ok := s.propose(ctx, func(t wire.Twin) wire.Proposal { return proposal(t, g, open) }, func(b uint64) {
			base = b
			h.diary.write(func() { c.base = b })
		})
		switch {
		case !ok:
			return
		case code < 0x80:
			h.diary.write(func() { c.Acked = h.world.since() })
			return
		case code == 0x83: // somebody else has chosen, or we have and did not hear of it
			if !s.await(ctx, func() bool { return s.twin.Version > base }) {
				return
			}
			h.world.count("choices made again on a newer document")
		default:
			h.world.count(fmt.Sprintf("choices refused with 0x%02x", code))
			if !h.pause(ctx, time.Second) {
				return
			}
		}
	}
}

// tell has the operator write down a choice; of a no it waits for the word.
func (h *house) tell(ctx context.Context, b device.BrandID, yes bool) {
	c := &choice{gate: gate{"consent", b}, Open: yes, Sent: h.world.since()}
	h.diary.write(func() { h.Choices = append(h.Choices, c) })
	in := map[string]any{"home": h.Name, "brand": b, "purpose": purpose, "choice": map[bool]string{true: "given", false: "withdrawn"}[yes]}
	if err := h.world.gateway.insist(ctx, "consent/choose", in, &struct{}{}); err != nil {
		if ctx.Err() == nil {
			h.world.fail(err)
		}
		return
	}
	h.world.op("choices told to the operator")
	h.diary.write(func() { c.Acked = h.world.since() })
	delete(in, "choice")
	for !yes && ctx.Err() == nil {
		var w struct{ State string }
		if err := h.world.gateway.insist(ctx, "consent/withdrawal", in, &w); err == nil && w.State == "stopped" {
			h.diary.write(func() { c.Stopped = h.world.since() })
			return
		}
		h.pause(ctx, 200*time.Millisecond)
	}
}

// forget undoes what was learnt from what was closed.
func (h *house) forget(ctx context.Context, s *screen) {
	for range 3 {
		learnt := 0
		s.mu.Lock()
		learnt = len(s.twin.Doc.Learnt)
		s.mu.Unlock()
		if learnt == 0 {
			return
		}
		code, ok := s.propose(ctx, func(t wire.Twin) wire.Proposal {
			places := []uint{}
			for i := range t.Doc.Learnt {
				places = append(places, uint(i))
			}
			return wire.Proposal{Forget: &places}
		}, func(uint64) {})
		if !ok || code < 0x80 {
			h.world.count("times that what was learnt was forgotten")
			return
		}
		if !h.pause(ctx, 200*time.Millisecond) {
			return
		}
	}
}

// request sends a request and returns its answer, also if it never came: status 0.
func (b *brand) request(ctx context.Context, method, path, key string, body []byte) (status int, header http.Header, raw []byte) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+b.world.gateway.addr(2)+path, bytes.NewReader(body))
	if err != nil {
		b.world.fail(err)
		return 0, nil, nil
	}
	req.Header.Set("Authorization", "Bearer "+b.key)
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	began, sent := b.world.gateway.started(), time.Now()
	resp, err := b.client.Do(req)
	if time.Since(sent) > 5*time.Second {
		b.world.count("requests that took longer than 5 s")
	}
	if err != nil {
		var late net.Error
		if errors.As(err, &late) && late.Timeout() && ctx.Err() == nil && began == b.world.gateway.started() {
			b.world.fail(fmt.Errorf("%s %s: no answer within %s, and the gateway runs: %.200q", method, path, b.client.Timeout, body))
		}
		return 0, nil, nil
	}
	defer resp.Body.Close()
	if raw, err = io.ReadAll(resp.Body); err != nil {
		return 0, nil, nil
	}
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
		b.world.count(fmt.Sprintf("requests answered with %d", resp.StatusCode))
		if resp.StatusCode == http.StatusInternalServerError {
			b.world.fail(fmt.Errorf("%s %s: 500 %s", method, path, raw))
		}
		return 0, nil, nil
	}
	b.world.op("requests")
	return resp.StatusCode, resp.Header, raw
}

// insist is request until there is an answer; now and then the brand does not wait for it.
func (b *brand) insist(ctx context.Context, method, path, key string, body []byte) (status int, header http.Header, raw []byte) {
	for ctx.Err() == nil {
		one, cancel := ctx, context.CancelFunc(func() {})
		if b.rng.IntN(100) == 0 {
			one, cancel = context.WithTimeout(ctx, time.Duration(b.rng.Int64N(int64(3*time.Millisecond))))
		}
		status, header, raw = b.request(one, method, path, key, body)
		cancel()
		if status != 0 {
			return status, header, raw
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	return 0, nil, nil
}

// message is the one with the words of p.
func (b *brand) message(p *push) []byte {
	life := 20*time.Second + time.Duration(b.rng.Int64N(int64(40*time.Second)))
	m := map[string]any{"purpose": purpose, "not_after": b.world.now().Add(life).UTC().Truncate(time.Second), "display_seconds": 1 + b.rng.IntN(2)*b.rng.IntN(30),
		"texts":   []any{map[string]any{"language": "en", "body": p.Key}},
		"buttons": []any{map[string]any{"id": 1, "label": map[string]any{"en": "Yes"}}}}
	if c := b.rng.IntN(5); c < len(attributes) {
		p.Classes = []device.Class{[]device.Class{device.TV, device.Fridge, device.Display}[c]}
		m["classes"] = p.Classes
	}
	raw, err := json.Marshal(m)
	if err != nil {
		b.world.fail(err)
	}
	p.body = raw
	return raw
}

// heard takes in an answer to a push.
func (b *brand) heard(p *push, status int, replayed bool, raw []byte) {
	var m struct{ ID string }
	id, err := device.MessageID{}, json.Unmarshal(raw, &m)
	if err == nil {
		id, err = device.ParseMessageID(m.ID)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case status == 0:
	case status != http.StatusAccepted:
		p.Refused = status
	case err != nil:
		b.world.fail(fmt.Errorf("%s: got %d %s", p.Key, status, raw))
	case p.ID == (device.MessageID{}):
		p.New = p.Acked != 0 && !replayed
		p.ID = id
		if p.Acked == 0 {
			p.Acked = b.world.since()
		}
	default:
		p.Again++
		if p.ID != id {
			p.Other = append(p.Other, id)
		}
		p.New = p.New || !replayed
	}
}

// begin notes a message that is about to be sent.
func (b *brand) begin(n int) *push {
	p := &push{Key: fmt.Sprintf("%s-%d", b.Brand, n), Sent: b.world.since()}
	b.world.mu.Lock()
	b.world.onView[p.Key] = &atomic.Int64{}
	b.world.mu.Unlock()
	b.mu.Lock()
	b.Pushes = append(b.Pushes, p)
	b.mu.Unlock()
	return p
}

// wait waits until most homes have shown a message, or for a while.
func (b *brand) wait(ctx context.Context, p *push) {
	b.world.mu.Lock()
	n := b.world.onView[p.Key]
	b.world.mu.Unlock()
	for until := time.Now().Add(b.world.pace); time.Now().Before(until) && n.Load() < int64(len(b.world.houses)/2); {
		select {
		case <-ctx.Done():
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// sends is a brand over HTTP.
func (b *brand) sends(ctx context.Context) {
	for n := 1; ctx.Err() == nil; n++ {
		p := b.begin(n)
		body := b.message(p)
		again := func() {
			status, header, raw := b.insist(ctx, http.MethodPost, "/v1/messages", p.Key, body)
			b.heard(p, status, header.Get("Idempotent-Replayed") == "true", raw)
		}
		again()
		if p.ID == (device.MessageID{}) {
			continue
		}
		if b.rng.IntN(10) == 0 {
			again()
		}
		if b.rng.IntN(5) == 0 {
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(b.rng.Int64N(int64(b.world.pace)))):
			}
			b.mu.Lock()
			p.BackSent = b.world.since()
			b.mu.Unlock()
			for range 1 + b.rng.IntN(2) {
				if status, _, raw := b.insist(ctx, http.MethodDelete, "/v1/messages/"+p.ID.String(), "", nil); status == http.StatusOK {
					b.mu.Lock()
					if p.Back == 0 {
						p.Back = b.world.since()
					}
					b.mu.Unlock()
				} else if status != 0 {
					b.world.fail(fmt.Errorf("withdraw %s: got %d %s", p.ID, status, raw))
				}
			}
			continue
		}
		b.wait(ctx, p)
		if b.rng.IntN(20) == 0 {
			again()
		}
	}
}

// speaks is a brand over MQTT: what is not acknowledged is sent again, under the same key.
func (b *brand) speaks(ctx context.Context) {
	var p *push
	var request []byte
	for n := 0; ctx.Err() == nil; {
		c, r, err := logIn(ctx, b.world.network.addr(), "b-"+string(b.Brand), string(b.Brand), b.key, wire.BrandTopic(b.Brand, wire.DnAnswer))
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		stop := context.AfterFunc(ctx, func() { c.Close() })
		b.world.op("log-ins")
		for packetID := uint16(1); ; packetID++ {
			if p == nil {
				n++
				p = b.begin(n)
				request, _ = json.Marshal(map[string]any{"key": p.Key, "message": json.RawMessage(b.message(p))}) // it is JSON
			}
			if _, err := c.Write(publishPacket(wire.BrandTopic(b.Brand, wire.UpMessage), 1, packetID, request)); err != nil {
				break
			}
			if done, err := b.hears(r, p, packetID); err != nil {
				break
			} else if done {
				b.wait(ctx, p)
				p = nil
			}
			if packetID == 0xffff {
				break
			}
		}
		stop()
		c.Close()
	}
}

// hears reads answers until the packet is acknowledged, and reports whether the message is settled.
func (b *brand) hears(r *bufio.Reader, p *push, id uint16) (done bool, err error) {
	for {
		in, err := readPacket(r)
		if err != nil {
			return false, err
		}
		switch in.kind() {
		case publish:
			_, _, payload, _ := in.published()
			var a struct {
				Key      string
				Status   int
				Replayed bool
			}
			if json.Unmarshal(payload, &a) == nil && a.Key == p.Key && a.Status < 500 && a.Status != http.StatusTooManyRequests {
				b.heard(p, a.Status, a.Replayed, payload)
			}
		case puback:
			body := in.body()
			if len(body) < 2 || uint16(body[0])<<8|uint16(body[1]) != id {
				continue
			}
			if len(body) > 2 && body[2] >= 0x80 {
				b.world.count(fmt.Sprintf("messages refused over MQTT with 0x%02x", body[2]))
				b.mu.Lock()
				defer b.mu.Unlock()
				return p.Refused != 0 || p.ID != (device.MessageID{}), nil
			}
			b.world.op("messages over MQTT")
			b.mu.Lock()
			defer b.mu.Unlock()
			if p.Acked == 0 {
				p.Acked, p.Taken = b.world.since(), true
			}
			return true, nil
		}
	}
}

// poisons is a brand that nobody has said yes to, and that sends nonsense: what is taken of it is kept, and shown
// nowhere.
func (b *brand) poisons(ctx context.Context) {
	for n := 1; ctx.Err() == nil; n++ {
		p := b.begin(n)
		body := mutate(b.rng, b.message(p), n%3)
		p.Classes, p.body = nil, body // what it is for may have been changed
		status, header, raw := b.insist(ctx, http.MethodPost, "/v1/messages", p.Key, body)
		b.heard(p, status, header.Get("Idempotent-Replayed") == "true", raw)
		if b.rng.IntN(4) == 0 {
			path := []string{"/v1/messages/" + url.PathEscape(string(mutate(b.rng, []byte(p.ID.String()), 1))), "/v1/messages?limit=" + url.QueryEscape(string(mutate(b.rng, []byte("200"), 2))), "/../%2e%2e/porchlight.db"}[b.rng.IntN(3)]
			b.insist(ctx, []string{"GET", "PATCH"}[b.rng.IntN(2)], path, "", body)
		}
		b.world.fault("poisoned messages")
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(b.rng.Int64N(int64(b.world.pace)))):
		}
	}
}

// mutate changes n bytes, at random, in place or by adding and leaving out.
func mutate(rng *rand.Rand, b []byte, n int) []byte {
	b = slices.Clone(b)
	for range n {
		if len(b) == 0 {
			return []byte{byte(rng.IntN(256))}
		}
		i := rng.IntN(len(b))
		switch rng.IntN(5) {
		case 0:
			b[i] ^= 1 << rng.IntN(8)
		case 1:
			b[i] = byte(rng.IntN(256))
		case 2:
			b = slices.Delete(b, i, min(len(b), i+1+rng.IntN(8)))
		case 3:
			b = slices.Insert(b, i, b[max(0, i-rng.IntN(8)):i]...)
		default:
			b = b[:i]
		}
	}
	return b
}

// calm waits until every device is there and owes nothing, and all screens of a home show the same choices.
func (w *world) calm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	for _, h := range w.houses {
		for _, s := range h.screens {
			if !s.await(ctx, func() bool { return s.conn != nil && s.beaconed && len(s.outbox) == 0 }) {
				s.mu.Lock()
				defer s.mu.Unlock()
				return fmt.Errorf("device %s does not come to rest: connected %t, beacon %t, owes %d", s.id, s.conn != nil, s.beaconed, len(s.outbox))
			}
		}
	}
	for _, h := range w.houses {
		if err := h.agree(ctx); err != nil {
			return err
		}
	}
	for _, d := range w.sims {
		if err := d.Await(ctx, func(s sim.State) bool { return s.Ready && s.Owed == 0 }); err != nil {
			return err
		}
	}
	return nil
}

// agree waits until all screens of the home show the same document.
func (h *house) agree(ctx context.Context) error {
	for {
		var versions []uint64
		for _, s := range h.screens {
			s.mu.Lock()
			versions = append(versions, s.twin.Version)
			s.mu.Unlock()
		}
		if slices.Min(versions) == slices.Max(versions) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the devices of %s show documents of versions %d", h.Name, versions)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// ask hears from the gateway, which runs, what it knows.
func (w *world) ask(ctx context.Context, r *record) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	r.Book = book{States: map[device.MessageID]string{}, Listed: map[device.BrandID][]device.MessageID{}, History: map[string]map[device.BrandID][]string{}}
	for _, b := range w.brands {
		// What was never answered is asked again, and some of the rest.
		for i, p := range b.Pushes {
			if p.body == nil || p.Refused != 0 || p.ID != (device.MessageID{}) && i%10 != 0 {
				continue
			}
			one, cancel := context.WithTimeout(ctx, time.Minute)
			status, header, raw := b.insist(one, http.MethodPost, "/v1/messages", p.Key, p.body)
			cancel()
			if status == 0 {
				return fmt.Errorf("%s: no answer for a minute, and nothing is wrong with the gateway any more: %.200q", p.Key, p.body)
			}
			b.heard(p, status, header.Get("Idempotent-Replayed") == "true", raw)
		}
		for after := ""; ; {
			var page struct {
				Messages []struct{ ID, State string }
				Next     string
			}
			status, _, raw := b.insist(ctx, http.MethodGet, "/v1/messages?limit=200&after="+after, "", nil)
			if status != http.StatusOK {
				return fmt.Errorf("list the messages of %s: got %d %s", b.Brand, status, raw)
			}
			if err := json.Unmarshal(raw, &page); err != nil {
				return err
			}
			for _, m := range page.Messages {
				id, err := device.ParseMessageID(m.ID)
				if err != nil {
					return err
				}
				r.Book.States[id] = m.State
				r.Book.Listed[b.Brand] = append(r.Book.Listed[b.Brand], id)
			}
			if after = page.Next; after == "" {
				break
			}
		}
	}
	for _, h := range w.houses {
		var all []struct {
			Brand device.BrandID
			State string
		}
		if err := w.gateway.insist(ctx, "consent/history", map[string]string{"home": h.Name}, &all); err != nil {
			return err
		}
		history := map[device.BrandID][]string{}
		for _, e := range all {
			history[e.Brand] = append(history[e.Brand], e.State)
		}
		r.Book.History[h.Name] = history
		h.diary.Screens = map[device.ID]map[gate]bool{}
		for _, s := range h.screens {
			s.mu.Lock()
			on := map[gate]bool{{"freeze", ""}: says(s.twin, gate{"freeze", ""})}
			for _, b := range w.brands {
				for _, kind := range []string{"consent", "mute"} {
					on[gate{kind, b.Brand}] = says(s.twin, gate{kind, b.Brand})
				}
			}
			h.diary.Screens[s.id] = on
			s.mu.Unlock()
		}
	}
	return nil
}

// read reads the tables of a gateway that has ended.
func (w *world) read(ctx context.Context, r *record) error {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(w.gateway.data, "porchlight.db")+"?mode=ro")
	if err != nil {
		return err
	}
	defer db.Close()
	r.Book.Ends = map[place]end{}
	rows, err := db.QueryContext(ctx, `SELECT message, device, presented > 0, outcome FROM delivery`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var raw []byte
		var p place
		var e end
		if err := rows.Scan(&raw, &p.Device, &e.Presented, &e.Outcome); err != nil {
			return err
		}
		p.Message = device.MessageID(raw)
		r.Book.Ends[p] = e
	}
	return rows.Err()
}

// over ends what is still on the screens when nobody lives any more.
func (r *record) over(now moment) {
	for _, d := range r.Homes {
		for _, s := range d.Shows {
			if s.To == 0 {
				s.To, s.Why = now, "the end of the run"
			}
		}
	}
}

// record gathers what was written down.
func (w *world) record() *record {
	r := &record{Seed: w.seed, Start: w.began, Lease: w.gateway.lease, Allowance: w.gateway.allowed, Late: time.Duration(w.late.Load()), Slack: slack + time.Duration(w.late.Load()), Clock: w.clock, Struck: w.struck}
	for _, h := range w.houses {
		r.Homes = append(r.Homes, h.diary)
	}
	for _, b := range w.brands {
		r.Brands = append(r.Brands, b.ledger)
	}
	return r
}

// list says what was counted, in order.
func list(all map[string]int64) (lines []string) {
	for name, n := range all {
		lines = append(lines, fmt.Sprintf("%10d  %s", n, name))
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[12:], b[12:]) })
	return lines
}
