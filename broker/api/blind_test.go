package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

// P10, brands are blind. Two gateways get the same requests from the same brands, one after the other. In
// one of them nobody lives. In the other there are homes with people and devices, who agree and refuse, come
// and go, press, dismiss and set their preferences, at random between the requests. Whatever a brand is
// answered, it is the same bytes in both, but for the names that messages are given.

// side is one of two gateways.
type side struct {
	t       testing.TB
	now     *atomic.Int64
	db      *store.DB
	desk    *delivery.Desk
	handler http.Handler
	keys    map[device.BrandID]string
	ids     []string // the messages it has named, in order
	screens []*screen
	people  *rand.Rand
	shown   int
}

// screen is a device that shows whatever it is sent, and may answer. It is its own connection.
type screen struct {
	s      *side
	id     device.ID
	class  device.Class
	frames chan delivery.Frame
	on     []device.MessageID
	gone   atomic.Bool
}

func (c *screen) Send(f delivery.Frame) error {
	select {
	case c.frames <- f:
		return nil
	default:
		return delivery.ErrAway
	}
}
func (c *screen) From() string          { return "127.0.0.1" }
func (c *screen) Close(delivery.Reason) { c.gone.Store(true) }

// obey does what was sent since the last time.
func (c *screen) obey() {
	for {
		var f delivery.Frame
		select {
		case f = <-c.frames:
		default:
			return
		}
		var say []wire.Event
		if f.Leaf == wire.DnMsg {
			present, cancel, err := wire.DecodeMsg(f.Payload)
			if err != nil {
				c.s.t.Error(err)
			} else if present != nil {
				c.on = append(c.on, present.Message)
				c.s.shown++
				say = append(say, wire.Event{Message: present.Message, Kind: wire.Presented})
			} else {
				c.on = slices.DeleteFunc(c.on, func(id device.MessageID) bool { return id == cancel.Message })
				say = append(say, wire.Event{Message: cancel.Message, Kind: wire.Cancelled})
			}
		}
		if f.QoS == 1 {
			c.s.desk.Acked(c.id, c)
		}
		for _, e := range say {
			_ = c.s.desk.Event(c.id, c, e) // a device that was cut off says it again later, or never
		}
	}
}

// life is how homes live at a gateway.
type life struct {
	homes  int
	spoilt func(s *side, rec *httptest.ResponseRecorder) // a leak, on purpose
}

var blindBrands = []device.BrandID{"grocer", "toys", "bank"}

func newSide(t testing.TB, now *atomic.Int64, l life, seed uint64) *side {
	s := &side{t: t, now: now, keys: map[device.BrandID]string{}, people: rand.New(rand.NewPCG(seed, 7))}
	clock := func() device.Instant { return device.Instant(now.Load()) }
	var err error
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s.db, err = store.Open(context.Background(), filepath.Join(t.TempDir(), "p.db"), store.Options{Project: delivery.Project, Clear: delivery.Clear, Now: clock})
	must(err)
	log := slog.New(slog.DiscardHandler)
	s.desk, err = delivery.NewDesk(s.db, delivery.Options{Now: clock, Workers: 2}, log)
	must(err)
	door, err := New(s.desk, s.db, Options{Plain: "127.0.0.1:0", Inside: "127.0.0.1:0"}, log)
	must(err)
	s.handler, err = door.handler()
	must(err)
	for _, b := range blindBrands {
		s.keys[b], err = s.desk.AddBrand(context.Background(), registry.Brand{ID: b, Name: string(b), Purposes: []string{"marketing", "service", "research", "context"}, Quota: 60})
		must(err)
	}
	for h := range l.homes {
		spec := delivery.HomeSpec{Name: fmt.Sprint("home-", h), Zone: "Europe/Zurich", Caps: []policy.Cap{},
			People:  []delivery.PersonSpec{{Name: "Anna", Age: device.Adult}, {Name: "Ben", Age: device.Adult}, {Name: "Carla", Age: device.Child, Guardians: []string{"Anna"}}},
			Devices: []delivery.DeviceSpec{{Name: "TV", Class: device.TV, Controller: true}, {Name: "Fridge", Class: device.Fridge}, {Name: "Phone", Class: device.Companion, Owner: "Anna"}}}
		_, devices, err := s.desk.AddHome(context.Background(), spec)
		must(err)
		for _, d := range devices {
			c := &screen{s: s, id: d.ID, class: d.Class, frames: make(chan delivery.Frame, 256)}
			s.screens = append(s.screens, c)
			must(s.connect(c, d.Home))
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- delivery.NewCourier(s.desk).Run(ctx) }()
	go func() { done <- door.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if err := s.db.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *side) connect(c *screen, home device.HomeID) error {
	if err := s.desk.Connected(c.id, home, c); err != nil {
		return err
	}
	if err := s.desk.Subscribed(c.id, c); err != nil {
		return err
	}
	err := s.desk.Birth(c.id, c, wire.Birth{Class: c.class, Model: wire.Model{Maker: "Hand", Name: "made"}, Attributes: []string{"power.state"},
		Can: wire.Capabilities{Inputs: device.Remote, Forms: []device.Form{device.Toast, device.List}, MaxButtons: 3, Languages: []string{"en"}}})
	if err != nil {
		return err
	}
	values := map[string]any{"power.state": "on"}
	if c.class == device.TV {
		values["state"] = "idle"
	}
	return s.desk.Context(c.id, c, wire.Context{Values: values})
}

// live lets somebody do something at home.
func (s *side) live() {
	if len(s.screens) == 0 {
		return
	}
	r := s.people
	c := s.screens[r.IntN(len(s.screens))]
	c.obey()
	home := fmt.Sprint("home-", r.IntN(len(s.screens)/3))
	ctx := context.Background()
	brand := blindBrands[r.IntN(len(blindBrands))]
	var err error
	switch r.IntN(9) {
	case 0, 1:
		who := []string{"", "Anna", "Ben"}[r.IntN(3)]
		purpose := []policy.Purpose{policy.Marketing, policy.Service, policy.Research}[r.IntN(3)]
		err = s.desk.Choose(ctx, home, who, brand, purpose, []policy.Choice{policy.Given, policy.Given, policy.Given, policy.Refused, policy.Withdrawn}[r.IntN(5)])
	case 2:
		err = s.desk.Context(c.id, c, wire.Context{Values: map[string]any{"presence.who": []string{"1", "1 2", "3", "9@0.2"}[r.IntN(4)]}})
	case 3:
		err = s.desk.Context(c.id, c, wire.Context{Values: map[string]any{"door.open": r.IntN(2) == 0}})
	case 4:
		err = s.desk.SetPreferences(ctx, home, delivery.Preferences{Mutes: []delivery.NamedMute{{NamedSelector: delivery.NamedSelector{Brand: brand}}}[:r.IntN(2)]})
	case 5:
		err = s.desk.SetPreferences(ctx, home, delivery.Preferences{Quiet: []delivery.NamedQuiet{{From: "00:00", To: "00:00"}}[:r.IntN(2)]})
	default:
		for _, id := range slices.Clone(c.on) {
			kind := []wire.EventKind{wire.Dismissed, wire.TimedOut}[r.IntN(2)]
			e := wire.Event{Message: id, Kind: kind}
			if wish := wire.Banned; r.IntN(10) == 0 {
				e.Wish = &wish
			}
			err = s.desk.Event(c.id, c, e)
			c.on = slices.DeleteFunc(c.on, func(o device.MessageID) bool { return o == id })
		}
	}
	if err != nil && !c.gone.Load() {
		s.t.Logf("at home: %v", err)
	}
}

var uuid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// ask sends one request, in which {n} stands for the n-th message, and returns all that is answered, with the
// names of messages as {n}.
func (s *side) ask(r request, l life) string {
	path := regexp.MustCompile(`\{(\d+)\}`).ReplaceAllStringFunc(r.path, func(at string) string {
		var n int
		fmt.Sscanf(at, "{%d}", &n)
		return s.ids[n%len(s.ids)]
	})
	req := httptest.NewRequest(r.method, path, strings.NewReader(r.body))
	req.Header.Set("Authorization", "Bearer "+s.keys[device.BrandID(r.key)])
	if r.idempotency != "" {
		req.Header.Set("Idempotency-Key", r.idempotency)
	}
	rec := httptest.NewRecorder()
	s.handler.ServeHTTP(rec, req)
	if l.spoilt != nil {
		l.spoilt(s, rec)
	}
	raw, _ := io.ReadAll(rec.Body)
	if r.method == "POST" && rec.Code == http.StatusAccepted && rec.Header().Get("Idempotent-Replayed") == "" {
		var m Message
		if err := json.Unmarshal(raw, &m); err != nil {
			s.t.Fatal(err)
		}
		s.ids = append(s.ids, m.ID)
	}
	var b strings.Builder
	fmt.Fprintln(&b, rec.Code)
	_ = rec.Header().Write(&b) // in the order of names
	b.Write(raw)
	return uuid.ReplaceAllStringFunc(b.String(), func(id string) string { return fmt.Sprintf("{%d}", slices.Index(s.ids, id)) })
}

// brandAsks is something that a brand may send.
func brandAsks(r *rand.Rand, now device.Instant, n, messages int) request {
	q := request{key: string(blindBrands[r.IntN(len(blindBrands))]), method: "GET", path: "/v1/messages"}
	switch k := r.IntN(20); {
	case k < 9 || messages == 0:
		m := map[string]any{
			"purpose": []string{"marketing", "marketing", "service", "research", "personalised", "nonsense"}[r.IntN(6)], "category": []string{"dairy", "toys", "health", "Not One"}[r.IntN(4)],
			"texts": []any{map[string]any{"language": "en", "body": strings.Repeat("Fresh today. ", 1+r.IntN(60))}}, "not_after": now.Add(time.Duration(r.IntN(400)-20) * time.Minute).Time().Format(time.RFC3339),
		}
		switch r.IntN(8) {
		case 0:
			m["when"] = []any{condition("door.open", "eq", true)}
		case 1:
			m["when"] = []any{condition("presence.count", "eq", 1)}
		case 2:
			m["condition"], m["needs"] = "presence.count == 1", []string{"presence.count"}
		case 3:
			m["condition"], m["needs"] = "tv.state == 'idl'", []string{"tv.state"}
		case 4:
			m["personal"] = true
		}
		q.method, q.idempotency, q.body = "POST", fmt.Sprint("key-", r.IntN(n+1)), text(m)
	case k < 12:
		q.method, q.path = "DELETE", fmt.Sprintf("/v1/messages/{%d}", r.IntN(messages))
	case k < 17:
		q.path = fmt.Sprintf("/v1/messages/{%d}", r.IntN(messages))
	case k < 18:
		q.path = fmt.Sprintf("/v1/messages?limit=%d", 1+r.IntN(4))
	case k < 19:
		q.path = fmt.Sprintf("/v1/messages?after={%d}&limit=3", r.IntN(messages))
	default:
		q.path = "/v1/messages/019a9f3e-5b7a-7c31-9d0e-0c6f8a1f2b3c"
	}
	return q
}

// pairs runs n requests through two gateways and returns the first that are answered differently, and how many
// messages were shown where somebody lives.
func pairs(t testing.TB, n int, seed uint64, l life) (diff string, shown int) {
	var now atomic.Int64
	now.Store(int64(noon))
	empty, full := newSide(t, &now, life{}, seed), newSide(t, &now, l, seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range n {
		for range r.IntN(4) {
			full.live()
		}
		q := brandAsks(r, device.Instant(now.Load()), i, len(empty.ids))
		if a, b := empty.ask(q, life{}), full.ask(q, l); a != b {
			return fmt.Sprintf("request %d, %s %s with %s: where nobody lives\n%s\nwhere somebody does\n%s", i, q.method, q.path, q.body, a, b), full.shown
		}
		if r.IntN(50) == 0 {
			now.Add(int64(r.IntN(3600)) * 1000)
		}
	}
	for _, c := range full.screens {
		c.obey()
	}
	return "", full.shown
}

func TestPromiseBrandsAreBlind(t *testing.T) {
	worlds, each := 4, 300
	if os.Getenv("PORCHLIGHT_LONG") != "" {
		worlds, each = 50, 2000
	}
	t.Run("holds", func(t *testing.T) {
		shown := 0
		for w := range worlds {
			t.Run(fmt.Sprint(w), func(t *testing.T) {
				diff, n := pairs(t, each, uint64(w), life{homes: 1 + w%4})
				if diff != "" {
					t.Fatal(diff)
				}
				shown += n
			})
		}
		t.Logf("%d pairs of answers, the same bytes; %d messages were shown meanwhile", worlds*each, shown)
		if shown < worlds {
			t.Errorf("only %d messages were shown in %d worlds: there was nothing to see", shown, worlds)
		}
	})
	for name, spoilt := range map[string]func(s *side, rec *httptest.ResponseRecorder){
		"a state that says shown": func(s *side, rec *httptest.ResponseRecorder) {
			if s.shown > 0 && strings.Contains(rec.Body.String(), `"state":"accepted"`) {
				body := strings.Replace(rec.Body.String(), `"state":"accepted"`, `"state":"shown"`, 1)
				rec.Body.Reset()
				rec.Body.WriteString(body)
			}
		},
		"a refusal where nobody has agreed": func(s *side, rec *httptest.ResponseRecorder) {
			if rec.Code == http.StatusAccepted && s.shown == 0 {
				rec.Code = http.StatusForbidden
			}
		},
		"a header with how many have it": func(s *side, rec *httptest.ResponseRecorder) {
			rec.Header().Set("X-Screens", fmt.Sprint(len(s.screens)))
		},
	} {
		t.Run("notices "+name, func(t *testing.T) {
			if diff, _ := pairs(t, each, 1, life{homes: 2, spoilt: spoilt}); diff == "" {
				t.Errorf("%d pairs, and nothing was noticed", each)
			}
		})
	}
}
