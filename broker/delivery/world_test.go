package delivery

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	_ "time/tzdata"

	"porchlight/device"
	"porchlight/device/authority"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

// world is a gateway's hall on a real database, inside a bubble of virtual time.
type world struct {
	t      testing.TB
	path   string
	db     *store.DB
	desk   *Desk
	stop   func()
	brand  registry.Brand
	hands  map[device.ID]*hand
	ca     *authority.Authority // nil: no device is let in
	jump   atomic.Int64         // how far people's clock was set, ms
	follow time.Duration        // Options.Follow, from the next start on
	n      int
	look   atomic.Pointer[func()]                  // called whenever somebody looks at the clock; nil: nothing is
	disk   atomic.Pointer[func(store.Event) error] // what it says to an event; nil: it is well

	learner string              // Options.Learner, from the next start on
	safety  *policy.SafetyTable // nil: what every gateway has
}

// judgedInWorlds is how many decisions the Desks of all worlds have taken.
var judgedInWorlds atomic.Int64

// in runs f in a world of its own, and checks at the end that the tables are what the journal
// says.
func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	inWorldOf(t, f)
}

// empty is the files of a database in which nothing has been written down, by what is added to its path. They
// are made once, and copied: making them costs more than most tests.
var empty = sync.OnceValue(func() map[string][]byte {
	dir, err := os.MkdirTemp("", "porchlight-empty-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "p.db")
	db, err := store.Open(context.Background(), path, store.Options{Project: Project, Clear: Clear})
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		panic(err)
	}
	files := map[string][]byte{}
	for _, suffix := range []string{"", ".keys"} {
		if files[suffix], err = os.ReadFile(path + suffix); err != nil {
			panic(err)
		}
	}
	return files
})

// inWorldOf is inWorld for a test that has many.
func inWorldOf(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, path: filepath.Join(t.TempDir(), "p.db"), hands: map[device.ID]*hand{}}
		for suffix, raw := range empty() {
			w.must(os.WriteFile(w.path+suffix, raw, 0o600))
		}
		w.start()
		defer func() { w.end() }()
		w.brand = registry.Brand{ID: "grocer", Name: "Grocer", Purposes: []string{"marketing", "service"}, Quota: 50}
		if _, err := w.desk.AddBrand(t.Context(), w.brand); err != nil {
			t.Fatal(err)
		}
		f(w)
		w.end()
		diffs, err := store.Check(context.Background(), w.path, Project, nil)
		if err != nil || len(diffs) > 0 {
			t.Errorf("the tables differ from the journal: %v %v", diffs, err)
		}
	})
}

func (w *world) now() device.Instant {
	if look := w.look.Load(); look != nil {
		(*look)()
	}
	return device.At(time.Now()) + device.Instant(w.jump.Load())
}

func (w *world) start() {
	w.t.Helper()
	project := func(tx *store.Apply, e store.Event) error {
		if disk := w.disk.Load(); disk != nil {
			if err := (*disk)(e); err != nil {
				return err
			}
		}
		return Project(tx, e)
	}
	db, err := store.Open(context.Background(), w.path, store.Options{Project: project, Clear: Clear, Now: w.now})
	if err != nil {
		w.t.Fatal(err)
	}
	w.db = db
	if w.desk, err = NewDesk(db, Options{Now: w.now, Workers: 4, Follow: w.follow, Authority: w.ca, Learner: w.learner, Safety: w.safety}, slog.New(slog.NewTextHandler(io.Discard, nil))); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- NewCourier(w.desk).Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
}

// end stops the hall and closes the file.
func (w *world) end() {
	w.t.Helper()
	if w.stop == nil {
		return
	}
	for _, h := range w.hands {
		h.disconnect()
	}
	w.stop()
	w.stop = nil
	judgedInWorlds.Add(w.desk.count.judged.Load())
	if err := w.db.Close(); err != nil {
		w.t.Error(err)
	}
}

// restart ends the hall and begins it again on the same file.
func (w *world) restart() {
	w.t.Helper()
	w.end()
	w.wait() // what hands are still saying is said to the hall that has ended
	w.start()
}

// wait lets everything happen that can happen without time passing.
func (w *world) wait() { synctest.Wait() }

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	time.Sleep(d + 2*time.Millisecond) // the bubble's time; what is due is done within a millisecond
	synctest.Wait()
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// home adds a home called oak with one device of each class; nobody has agreed to anything, and
// there are no caps.
func (w *world) home(classes ...device.Class) map[device.Class]*hand {
	w.t.Helper()
	spec := HomeSpec{Name: "oak", Zone: "Europe/Zurich", People: []PersonSpec{{Name: "Anna", Age: device.Adult}, {Name: "Ben", Age: device.Adult}}, Caps: []policy.Cap{}}
	for _, c := range classes {
		spec.Devices = append(spec.Devices, DeviceSpec{Class: c, Controller: c != device.Car})
	}
	_, devices, err := w.desk.AddHome(w.t.Context(), spec)
	w.must(err)
	all := map[device.Class]*hand{}
	for _, e := range devices {
		all[e.Class] = w.hand(e.Device)
		all[e.Class].connect()
	}
	w.wait()
	return all
}

func (w *world) choose(c policy.Choice) {
	w.t.Helper()
	w.must(w.desk.Choose(w.t.Context(), "oak", "", w.brand.ID, policy.Marketing, c))
	w.wait()
}

func (w *world) good() Submission {
	return Submission{Purpose: policy.Marketing, Category: "groceries", Texts: []SubmissionText{{Language: "en", Body: "Milk is fresh today."}},
		NotAfter: w.now().Time().Add(48 * time.Hour)}
}

// push pushes the good message after edit.
func (w *world) push(edit func(s *Submission)) device.MessageID {
	w.t.Helper()
	s := w.good()
	if edit != nil {
		edit(&s)
	}
	w.n++
	a, err := w.desk.Accept(w.t.Context(), w.brand, fmt.Sprint("key-", w.n), s)
	w.must(err)
	w.wait()
	return a.ID
}

// why says verdict and reasons of a message on a device.
func (w *world) why(id device.MessageID, h *hand) string {
	w.t.Helper()
	why, err := w.desk.Why(w.t.Context(), id, "oak", WhyOptions{})
	w.must(err)
	for _, s := range why.Homes[0].Screens {
		if s.Device == h.id {
			return s.Verdict + fmt.Sprint(s.Reasons)
		}
	}
	w.t.Fatalf("why %s says nothing of device %s", id, h.id)
	return ""
}

// hand is a device played by hand: it obeys the contract, shows what it is told at once, and
// writes down what it was sent. It is a Link of its own.
type hand struct {
	w     *world
	id    device.ID
	class device.Class

	paying  sync.Mutex // held while receipts are sent, one after the other
	mu      sync.Mutex
	up      *plug
	on      []device.MessageID                  // on its screen
	ledger  map[device.MessageID]wire.EventKind // what it has shown and what became of it
	shows   map[device.MessageID]int            // how often each was put on the screen
	got     []string                            // every dn/msg, as "present <n>" and "cancel <n>"
	log     []show                              // as they were shown
	fence   uint64
	twin    wire.Twin
	owed    []wire.Event   // receipts that were not taken in yet; they are sent until they are
	said    []wire.Event   // receipts that were
	mute    bool           // it takes frames and answers nothing
	deaf    bool           // it does not even acknowledge
	hasty   bool           // its answers go out before its acknowledgement, as with most libraries
	wipes   bool           // it forgets everything when it is told to
	duties  uint           // those that it can meet
	window  wire.Window    // what dn/join last said
	frames  []wire.Present // all that it was asked to show
	words   []wire.Word    // all that dn/word said
	because wire.Because   // what dn/why last said

	leases   map[device.MessageID]time.Time // when that of each message is over; nil: it keeps what it has
	forgets  bool                           // a message that comes again is shown again
	stubborn bool                           // what is to go stays, and is said to be gone
	lazy     bool                           // it queues what it is sent, and shows it when it is looked at
	waiting  []device.MessageID             // what it has queued

	handed atomic.Int64 // messages that were handed over to it
}

// plug is one connection of a hand.
type plug struct {
	h      *hand
	frames chan Frame
	done   chan struct{}
	once   sync.Once
	why    Reason
	from   string
}

func (p *plug) Send(f Frame) error {
	select {
	case <-p.done:
		return ErrAway
	case p.frames <- f:
		if present, _, err := wire.DecodeMsg(f.Payload); f.Leaf == wire.DnMsg && err == nil && present != nil {
			p.h.handed.Add(1)
		}
		return nil
	default:
		return ErrAway
	}
}

func (p *plug) From() string { return p.from }

func (p *plug) Close(r Reason) { p.once.Do(func() { p.why = r; close(p.done) }) }

func (w *world) hand(d device.Device) *hand {
	h := &hand{w: w, id: d.ID, class: d.Class, ledger: map[device.MessageID]wire.EventKind{}, shows: map[device.MessageID]int{}}
	w.hands[d.ID] = h
	return h
}

// context that permits, by class.
var calm = map[device.Class]map[string]any{
	device.TV:        {"state": "idle", "power.state": "on"},
	device.Car:       {"ux.driving": "parked"},
	device.Fridge:    {"door.open": false, "power.state": "on"},
	device.Oven:      {"OperationalState": "Stopped", "alarm": false},
	device.Display:   {"power.state": "on"},
	device.Companion: {"power.state": "on"},
}

// connect logs in, subscribes, is born and says that all is calm.
func (h *hand) connect() {
	h.w.t.Helper()
	h.wither()
	var dev device.Device
	h.w.must(h.w.db.View(h.w.t.Context(), func(tx *store.Tx) (err error) { dev, err = registry.Device(tx, h.id); return err }))
	p := &plug{h: h, frames: make(chan Frame, 64), done: make(chan struct{})}
	h.mu.Lock()
	h.up = p
	held := slices.Concat(h.on, h.waiting)
	version := h.twin.Version
	h.mu.Unlock()
	d := h.w.desk
	h.w.must(d.Connected(h.id, dev.Home, p))
	h.w.must(d.Subscribed(h.id, p))
	h.w.must(d.Birth(h.id, p, wire.Birth{Class: h.class, Model: wire.Model{Maker: "Hand", Name: "made"}, Held: held, Twin: version, Attributes: []string{"power.state"},
		Can: wire.Capabilities{Inputs: device.Remote, Sound: 1, Forms: []device.Form{device.Toast, device.List, device.Badge}, MaxButtons: 3, Languages: []string{"en"}, Duties: h.duties}}))
	if !h.mute {
		h.pay(p)
	}
	go p.serve(d)
	h.tell(calm[h.class])
}

func (h *hand) disconnect() {
	h.mu.Lock()
	p := h.up
	h.up = nil
	h.mu.Unlock()
	if p != nil {
		p.Close(Shutdown)
		h.w.desk.Gone(h.id, p)
	}
}

// tell reports context.
func (h *hand) tell(values map[string]any) {
	h.w.t.Helper()
	if values != nil {
		h.w.must(h.w.desk.Context(h.id, h.up, wire.Context{Values: values}))
	}
	h.w.wait()
}

// serve takes frames until the connection ends.
func (p *plug) serve(d *Desk) {
	for {
		select {
		case <-p.done:
			d.Gone(p.h.id, p)
			return
		case f := <-p.frames:
			p.h.take(d, p, f)
		}
	}
}

func (h *hand) take(d *Desk, p *plug, f Frame) {
	h.mu.Lock()
	var events []wire.Event
	say := func(id device.MessageID, k wire.EventKind, r wire.Reason) {
		events = append(events, wire.Event{Message: id, Kind: k, Reason: r})
	}
	off := func(id device.MessageID) {
		if i := slices.Index(h.waiting, id); i >= 0 {
			h.waiting = slices.Delete(h.waiting, i, i+1)
		}
		if i := slices.Index(h.on, id); i >= 0 && !h.stubborn {
			h.on = slices.Delete(h.on, i, i+1)
			h.ledger[id] = wire.Cancelled
		}
		say(id, wire.Cancelled, 0)
	}
	switch f.Leaf {
	case wire.DnMsg:
		present, cancel, err := wire.DecodeMsg(f.Payload)
		switch {
		case err != nil:
			h.w.t.Errorf("dn/msg: %v", err)
		case cancel != nil:
			h.got = append(h.got, "cancel")
			h.fence = max(h.fence, cancel.Fence)
			off(cancel.Message)
		default:
			h.got = append(h.got, "present")
			h.frames = append(h.frames, *present)
			last, known := h.ledger[present.Message]
			switch {
			case known && !h.forgets:
				say(present.Message, last, 0)
			case present.Epoch < h.fence:
				say(present.Message, wire.Declined, wire.Stale)
			case h.lazy:
				if !slices.Contains(h.waiting, present.Message) {
					h.waiting = append(h.waiting, present.Message)
				}
				say(present.Message, wire.Queued, 0)
			default:
				h.on = append(h.on, present.Message)
				h.shows[present.Message]++
				h.log = append(h.log, show{at: h.w.now(), device: h.id, message: present.Message, real: time.Now()})
				h.keep(present.Message)
				h.ledger[present.Message] = wire.Presented
				say(present.Message, wire.Presented, 0)
			}
		}
	case wire.DnTime:
		tm, err := wire.DecodeTime(f.Payload)
		if err != nil {
			h.w.t.Errorf("dn/time: %v", err)
		}
		h.fence = max(h.fence, tm.Fence)
		for _, id := range slices.Concat(h.on, h.waiting) {
			if slices.Contains(tm.Keep, id) {
				h.keep(id)
			} else {
				off(id)
			}
		}
	case wire.DnJoin:
		if f, err := wire.DecodeWindow(f.Payload); err != nil {
			h.w.t.Errorf("dn/join: %v", err)
		} else {
			h.window = f
		}
	case wire.DnWord:
		if f, err := wire.DecodeWord(f.Payload); err != nil {
			h.w.t.Errorf("dn/word: %v", err)
		} else {
			h.words = append(h.words, f)
		}
	case wire.DnWhy:
		if f, err := wire.DecodeBecause(f.Payload); err != nil {
			h.w.t.Errorf("dn/why: %v", err)
		} else {
			h.because = f
		}
	case wire.DnCmd:
		if _, err := wire.DecodeCommand(f.Payload); err != nil {
			h.w.t.Errorf("dn/cmd: %v", err)
		} else if h.wipes {
			go d.Bye(h.id, p, wire.Bye{Reason: "wiped"})
		}
	case wire.DnTwin:
		tw, err := wire.DecodeTwin(f.Payload)
		if err != nil {
			h.w.t.Errorf("dn/twin: %v", err)
		}
		h.twin = tw
	}
	mute, deaf, hasty := h.mute, h.deaf, h.hasty
	h.owed = append(h.owed, events...)
	h.mu.Unlock()
	answer := func() {
		if !mute && !deaf {
			h.pay(p)
		}
	}
	if hasty {
		answer()
	}
	if f.QoS == 1 && !deaf {
		d.Acked(h.id, p)
	}
	answer()
}

// keep begins the lease of a message anew. The caller holds h.mu.
func (h *hand) keep(id device.MessageID) {
	if h.leases != nil {
		h.leases[id] = time.Now().Add(10 * time.Second)
	}
}

// wither takes off what the lease is over of.
func (h *hand) wither() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range slices.Clone(h.on) {
		if end, ok := h.leases[id]; ok && !time.Now().Before(end) {
			h.on = slices.DeleteFunc(h.on, func(o device.MessageID) bool { return o == id })
			h.ledger[id] = wire.Expired
			h.owed = append(h.owed, wire.Event{Message: id, Kind: wire.Expired})
		}
	}
}

// pay sends the receipts that are owed, in order, as far as they are taken in.
func (h *hand) pay(p *plug) {
	h.paying.Lock()
	defer h.paying.Unlock()
	for {
		h.mu.Lock()
		if len(h.owed) == 0 {
			h.mu.Unlock()
			return
		}
		e := h.owed[0]
		h.mu.Unlock()
		if err := h.w.desk.Event(h.id, p, e); err != nil {
			return
		}
		h.mu.Lock()
		h.owed, h.said = h.owed[1:], append(h.said, e)
		h.mu.Unlock()
	}
}

// screen is what is on the screen now.
func (h *hand) screen() []device.MessageID {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.on)
}

// ends reports that a person, or time, ended what is on the screen.
func (h *hand) ends(id device.MessageID, e wire.Event) {
	h.w.t.Helper()
	h.mu.Lock()
	h.on = slices.DeleteFunc(h.on, func(o device.MessageID) bool { return o == id })
	h.ledger[id] = e.Kind
	p := h.up
	h.mu.Unlock()
	e.Message = id
	h.mu.Lock()
	h.owed = append(h.owed, e)
	h.mu.Unlock()
	h.pay(p)
	h.w.wait()
}

func (h *hand) mustShow(want ...device.MessageID) {
	h.w.t.Helper()
	if got := h.screen(); !slices.Equal(got, want) {
		h.w.t.Fatalf("the %s shows %v, want %v", h.class, got, want)
	}
}

// memory checks that what the hall has in memory is what its tables say.
func (w *world) memory() {
	w.t.Helper()
	for _, h := range w.desk.inMemory() {
		h.mu.Lock()
		var t tables
		o := w.desk.o
		o.Now = func() device.Instant { return h.readAt } // what was learnt is as of then
		then := &Desk{hall: &hall{o: o, log: w.desk.log}}
		err := w.db.View(context.Background(), func(tx *store.Tx) (err error) { t, err = then.read(tx, h.id); return err })
		if err != nil {
			w.t.Fatal(err)
		}
		brief := func(v policy.Home, wishes int64, open []*delivery) string {
			type item struct {
				ID        device.MessageID
				Device    device.ID
				Claimed   device.Instant
				Presented device.Instant
			}
			var items []item
			for _, dl := range open {
				items = append(items, item{dl.id, dl.device, dl.claimed, dl.presented})
			}
			slices.SortFunc(items, func(a, b item) int { return bytes.Compare(a.ID[:], b.ID[:]) })
			shown := slices.SortedFunc(slices.Values(v.Shown), func(a, b policy.Exposure) int {
				return cmp.Or(cmp.Compare(a.At, b.At), bytes.Compare(a.Message[:], b.Message[:]))
			})
			consents := map[string]policy.Choice{}
			for k, c := range v.Consents {
				consents[fmt.Sprint(k)] = c.Choice
			}
			raw, err := json.Marshal([]any{wishes, v.People, consents, v.Mutes, v.Quiet, v.Caps, v.Got, v.Complaints, shown, items})
			if err != nil {
				w.t.Fatal(err)
			}
			return string(raw)
		}
		did := func(all []deed) (lines []string) {
			for _, one := range all {
				lines = append(lines, fmt.Sprint(one))
			}
			slices.Sort(lines)
			return lines
		}
		mem, tab := brief(h.view, h.wishes, h.open), brief(t.view, t.wishes, t.delivery)
		deeds, told := did(h.deeds), did(t.deeds)
		taste, anew := h.taste, w.desk.tasteOf(h, h.tasted)
		tasted := h.tasted != 0
		h.mu.Unlock()
		if mem != tab {
			w.t.Fatalf("home %d: memory and tables differ:\nmemory %s\ntables %s", h.id, mem, tab)
		}
		if !slices.Equal(deeds, told) {
			w.t.Fatalf("home %d: what was done, in memory %q, in tables %q", h.id, deeds, told)
		}
		if tasted && !reflect.DeepEqual(taste, anew) {
			w.t.Fatalf("home %d: what was learnt, added to as it came %+v, made anew %+v", h.id, taste, anew)
		}
	}
}

// journal is how many events each book has.
func (w *world) journal() []byte {
	w.t.Helper()
	var out []byte
	w.must(w.db.View(context.Background(), func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT home, count(*) FROM journal GROUP BY home ORDER BY home`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var home, n int64
			if err := rows.Scan(&home, &n); err != nil {
				return err
			}
			out = fmt.Appendf(out, "%d:%d ", home, n)
		}
		return rows.Err()
	}))
	return out
}
