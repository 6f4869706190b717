package delivery

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

// two is a home with two televisions that has said yes to offers and to service; both are on.
func (w *world) two() (one, other *hand) {
	w.t.Helper()
	_, devices, err := w.desk.AddHome(w.t.Context(), HomeSpec{Name: "oak", Zone: "Europe/Zurich", Caps: []policy.Cap{},
		People:  []PersonSpec{{Name: "Anna", Age: device.Adult}, {Name: "Ben", Age: device.Adult}},
		Devices: []DeviceSpec{{ID: "tv-1", Name: "one", Class: device.TV, Controller: true}, {ID: "tv-2", Name: "two", Class: device.TV, Controller: true}}})
	w.must(err)
	one, other = w.hand(devices[0].Device), w.hand(devices[1].Device)
	for _, p := range []policy.Purpose{policy.Marketing, policy.Service} {
		w.must(w.desk.Choose(w.t.Context(), "oak", "", w.brand.ID, p, policy.Given))
	}
	one.connect()
	other.connect()
	w.wait()
	return one, other
}

// has is whose screen a message is on; nil: nobody's. It is never on two.
func (w *world) has(id device.MessageID) (on *hand) {
	w.t.Helper()
	for _, h := range w.hands {
		if slices.Contains(h.screen(), id) {
			if on != nil {
				w.t.Fatalf("%s is on two screens", id)
			}
			on = h
		}
	}
	return on
}

func (w *world) mustHave(id device.MessageID) *hand {
	w.t.Helper()
	h := w.has(id)
	if h == nil {
		w.t.Fatalf("%s is on no screen: %s %s", id, w.why(id, w.hands["tv-1"]), w.why(id, w.hands["tv-2"]))
	}
	return h
}

// mustWait checks that a message is nowhere, and why not on either screen.
func (w *world) mustWait(id device.MessageID, why string) {
	w.t.Helper()
	if h := w.has(id); h != nil {
		w.t.Fatalf("%s is on %s, and should not be: %s", id, h.id, why)
	}
	for _, h := range w.hands {
		if got := w.why(id, h); got != why {
			w.t.Fatalf("%s is not on %s because of %s, want %s", id, h.id, got, why)
		}
	}
}

func press(button uint) wire.Event { return wire.Event{Kind: wire.Responded, Response: &button} }

// button adds one, with what it does.
func button(id int, a policy.Act) func(s *Submission) {
	return func(s *Submission) {
		s.Buttons = append(s.Buttons, SubmissionButton{ID: id, Act: a, Label: map[string]string{"en": "Yes"}})
	}
}

func step(journey string, n int, after string) func(s *Submission) {
	return func(s *Submission) { s.Sequence = &SubmissionStep{journey, n, after} }
}

func ofItem(item string) func(s *Submission)  { return func(s *Submission) { s.Item = item } }
func keyed(dedupe string) func(s *Submission) { return func(s *Submission) { s.Dedupe = dedupe } }
func served(s *Submission)                    { s.Purpose = policy.Service }

func all(edits ...func(s *Submission)) func(s *Submission) {
	return func(s *Submission) {
		for _, edit := range edits {
			edit(s)
		}
	}
}

// replays checks that memory is what the tables say, and that every decision that was kept comes out again as it was.
func (w *world) replays() {
	w.t.Helper()
	w.memory()
	list, err := w.desk.kept(w.t.Context(), 1, 0)
	w.must(err)
	if len(list) == 0 {
		w.t.Error("no decision was kept")
	}
	again, err := w.desk.again(w.t.Context(), 1, list)
	w.must(err)
	for _, r := range again {
		if len(r.Differs) > 0 {
			w.t.Errorf("replayed otherwise in %v: %+v", r.Differs, r)
		}
	}
}

// J1: one message of each key, once, and the other waits while it is open elsewhere.
func TestOneOfAKey(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		w.two()
		long := func(s *Submission) { s.NotAfter = w.now().Time().Add(MaxLife) }
		first := w.push(all(keyed("milk"), long))
		h := w.mustHave(first)
		shownAt, found := w.now(), false
		second := w.push(all(keyed("milk"), long))
		w.mustWait(second, "hold[dedupe]")
		other := w.push(keyed("bread"))
		if w.mustHave(other) == h {
			t.Fatal("both are on one screen")
		}
		h.ends(first, wire.Event{Kind: wire.TimedOut})
		if got := w.why(second, h); got != "refuse[dedupe]" {
			t.Errorf("after the first was shown the second is %s", got)
		}
		w.replays()
		// A day later one comes that lives longer than the first speaks against it.
		w.set(24 * time.Hour)
		third := w.push(all(keyed("milk"), long))
		if got := w.why(third, h); got != "hold[dedupe]" {
			t.Errorf("a day later it is %s", got)
		}
		w.set(30*24*time.Hour - 10*time.Second)
		w.pass(20 * time.Second)
		for _, h := range w.hands {
			for _, show := range h.log {
				if show.message == third && show.at == shownAt.Add(31*24*time.Hour) {
					found = true
				}
			}
		}
		if !found {
			t.Errorf("it was not shown 31 days after the first: %s", w.why(third, h))
		}
		w.replays()
	})
}

// set sets people's clock ahead, and has every device say anew how it is.
func (w *world) set(d time.Duration) {
	w.t.Helper()
	w.jump.Add(d.Milliseconds())
	w.pass(2 * time.Second)
	w.awake()
}

// awake has every device say anew how it is.
func (w *world) awake() {
	for _, h := range w.hands {
		if h.up != nil {
			h.tell(calm[h.class])
		}
	}
	w.wait()
}

// J2, J6 and J10: what somebody presses is known to the very next decision, which is taken in the same turn, and
// whatever it was on.
func TestPressIsKnownAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		one, other := w.two()
		other.disconnect()
		offer := w.push(all(ofItem("gtin-1"), button(1, policy.Add), button(2, policy.NoAct)))
		one.mustShow(offer)
		again := w.push(ofItem("gtin-1"))
		more := w.push(ofItem("gtin-2"))
		thanks := w.push(all(ofItem("gtin-1"), served, func(s *Submission) { s.Echo = policy.Add }))
		w.must(w.desk.SetMutes(t.Context(), "oak", []policy.MuteRule{{Selector: policy.Selector{Category: "later"}}})) // all is judged anew
		w.wait()
		if got := w.why(again, one); got != "show[]" { // it waits for the screen alone
			t.Fatalf("before anything was pressed: %s", got)
		}
		if got := w.why(thanks, one); got != "hold[sequence]" {
			t.Fatalf("before anything was pressed what thanks for it is %s", got)
		}
		one.ends(offer, press(1))
		if got := w.why(again, one); got != "refuse[sequence]" {
			t.Errorf("what was put on the list is offered again: %s", got)
		}
		if one.shows[again] != 0 {
			t.Error("what was put on the list was offered again")
		}
		// The screen that is free goes to one of the others; both are shown in the end.
		for range 2 {
			if on := one.screen(); len(on) == 1 {
				one.ends(on[0], wire.Event{Kind: wire.TimedOut})
			}
		}
		if one.shows[thanks] != 1 || one.shows[more] != 1 {
			t.Errorf("thanks were shown %d times, the other offer %d times, want once each", one.shows[thanks], one.shows[more])
		}
		w.replays()
		w.restart()
		one.connect()
		if got := w.why(again, one); got != "refuse[sequence]" {
			t.Errorf("after a restart: %s", got)
		}
		w.replays()
	})
}

// A button that does nothing for whoever presses it is an answer and nothing more.
func TestPlainAnswer(t *testing.T) {
	inWorld(t, func(w *world) {
		one, other := w.two()
		other.disconnect()
		offer := w.push(all(ofItem("gtin-1"), button(1, policy.Add), button(2, policy.NoAct)))
		again := w.push(ofItem("gtin-1"))
		one.ends(offer, press(2))
		one.mustShow(again)
		w.replays()
	})
}

// An answer that comes when its message is over, and its brand has taken it back, still says what was done.
func TestLateAnswer(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		one, other := w.two()
		other.disconnect()
		offer := w.push(all(ofItem("gtin-1"), button(1, policy.Buy)))
		one.mustShow(offer)
		one.disconnect()
		_, err := w.desk.Withdraw(t.Context(), w.brand.ID, offer)
		w.must(err)
		w.pass(time.Minute) // its lease is over: nobody can say what became of it
		one.owed = append(one.owed, wire.Event{Message: offer, Kind: wire.Responded, Response: press(1).Response})
		one.on, one.ledger[offer] = nil, wire.Responded
		one.connect()
		again := w.push(ofItem("gtin-1"))
		if got := w.why(again, one); got != "refuse[sequence]" {
			t.Errorf("what was bought is offered again: %s", got)
		}
		w.replays()
	})
}

// J4: what is answered or dismissed on one screen leaves the others in the same turn.
func TestAnsweredElsewhere(t *testing.T) {
	for name, e := range map[string]wire.Event{"answered": press(1), "dismissed": {Kind: wire.Dismissed}, "let go by": {Kind: wire.TimedOut}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				w.two()
				a := w.push(all(step("run", 1, ""), button(1, policy.NoAct)))
				on := w.mustHave(a)
				b := w.push(step("run", 1, ""))
				if w.mustHave(b) == on {
					t.Fatal("both are on one screen")
				}
				before := w.now()
				on.ends(a, e)
				if w.now() != before {
					t.Fatal("time has passed")
				}
				if stays := w.has(b) != nil; stays != (name == "let go by") {
					t.Errorf("the other stays: %v", stays)
				}
				late := w.push(all(step("run", 1, ""), to(device.TV)))
				if shown := w.has(late) != nil; shown != (name == "let go by") {
					t.Errorf("one more of that step is shown: %v, %s", shown, w.why(late, on))
				}
				w.replays()
			})
		})
	}
}

// J5: a step waits for the one before it, and comes only if that ended as it is to.
func TestSteps(t *testing.T) {
	tests := map[string]struct {
		after string
		end   wire.Event
		want  string
	}{
		"acted on":                       {"acted", press(1), "show[]"},
		"to be acted on, and dismissed":  {"acted", wire.Event{Kind: wire.Dismissed}, "refuse[sequence]"},
		"let go by":                      {"ignored", wire.Event{Kind: wire.TimedOut}, "show[]"},
		"to be dismissed, and acted on":  {"dismissed", press(1), "refuse[sequence]"},
		"seen":                           {"seen", wire.Event{Kind: wire.TimedOut}, "show[]"},
		"however":                        {"", wire.Event{Kind: wire.Dismissed}, "show[]"},
		"however, and taken off by hand": {"any", wire.Event{Kind: wire.Failed}, "show[]"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				w.two()
				third := w.push(all(step("run", 3, ""), keyed("milk")))
				second := w.push(all(step("run", 2, test.after), keyed("milk")))
				w.mustWait(second, "hold[sequence]")
				first := w.push(all(step("run", 1, ""), keyed("milk"), button(1, policy.NoAct)))
				h := w.mustHave(first)
				for _, on := range w.hands {
					if got := w.why(second, on); got != "hold[sequence]" {
						t.Fatalf("while the first is open the second is %s", got)
					}
				}
				h.ends(first, test.end)
				if test.want != "show[]" {
					w.mustWait(second, test.want)
				} else {
					w.mustHave(second)
				}
				w.mustWait(third, "hold[sequence]")
				w.replays()
			})
		})
	}
}

// J6 and J7, by people's own word: what is on a screen is taken off at once, and comes back when it may.
func TestDirectWord(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		w.two()
		offer := w.push(ofItem("gtin-1"))
		w.mustHave(offer)
		w.must(w.desk.Got(t.Context(), "oak", "gtin-1"))
		w.wait()
		w.mustWait(offer, "refuse[dedupe sequence]") // it was seen

		plain, service := w.push(nil), w.push(served)
		w.mustHave(plain)
		w.mustHave(service)
		w.must(w.desk.Complain(t.Context(), "oak", w.brand.ID))
		w.wait()
		if w.has(plain) != nil {
			t.Error("a complaint is open, and an offer stays")
		}
		w.mustHave(service)
		w.must(w.desk.Complain(t.Context(), "oak", w.brand.ID)) // once more is once
		later := w.push(nil)
		for _, h := range w.hands {
			if got := w.why(later, h); got != "hold[sequence]" {
				t.Errorf("while a complaint is open an offer is %s", got)
			}
		}
		st, err := w.desk.Home(t.Context(), "oak")
		w.must(err)
		if len(st.Got) != 1 || st.Got[0].Item != "gtin-1" || len(st.Complaints) != 1 || st.Complaints[0].Brand != w.brand.ID {
			t.Errorf("the home has %+v", st.Acts)
		}
		w.replays()
		w.restart()
		for _, h := range w.hands {
			h.connect()
		}
		if w.has(later) != nil {
			t.Error("after a restart the complaint is forgotten")
		}
		w.must(w.desk.Resolve(t.Context(), "oak", w.brand.ID))
		w.wait()
		w.mustHave(later)
		w.replays()

		for what, err := range map[string]error{
			"resolved twice":     w.desk.Resolve(t.Context(), "oak", w.brand.ID),
			"nobody's brand":     w.desk.Complain(t.Context(), "oak", "nobody"),
			"nobody's home":      w.desk.Got(t.Context(), "elm", "gtin-1"),
			"a complaint of elm": w.desk.Complain(t.Context(), "elm", w.brand.ID),
		} {
			if !errors.Is(err, registry.ErrUnknown) {
				t.Errorf("%s: %v, want ErrUnknown", what, err)
			}
		}
		for _, item := range []string{"", strings.Repeat("g", 65), "a\nb", "\xff", "a\u202eb"} {
			if err := w.desk.Got(t.Context(), "oak", item); !errors.Is(err, registry.ErrInvalid) {
				t.Errorf("item %q: %v, want ErrInvalid", item, err)
			}
		}
	})
}

// J7 by a button of a message, and J8: one ID in every frame, fact and receipt.
func TestComplaintByButton(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		w.two()
		asked := w.push(all(served, button(1, policy.NoAct), button(2, policy.Complain)))
		h := w.mustHave(asked)
		offer := w.push(nil)
		w.mustHave(offer)
		h.ends(asked, press(2))
		w.mustWait(offer, "refuse[dedupe sequence]") // it was seen
		for _, f := range h.frames {
			if f.Message != asked && f.Message != offer {
				t.Errorf("a frame is about %s", f.Message)
			}
		}
		for _, e := range h.said {
			if e.Message != asked && e.Message != offer {
				t.Errorf("a receipt is about %s", e.Message)
			}
		}
		facts := map[string]int{}
		w.must(w.db.Events(context.Background(), 1, 0, func(e store.Event) error {
			if strings.Contains(string(e.Body), asked.String()) {
				facts[e.Kind]++
			}
			return nil
		}))
		if facts[deliveryClaimed] != 1 || facts[deliveryPresented] != 1 || facts[deliverySettled] != 1 || len(facts) != 3 {
			t.Errorf("the facts about it are %v", facts)
		}
		w.replays()
	})
}

// order of what is shown stays that of the tables when the clock is set back.
func TestShownInOrderAfterClockSetBack(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		one, other := w.two()
		first := w.push(nil)
		w.jump.Add(-time.Hour.Milliseconds())
		w.pass(2 * time.Second)
		w.awake()
		second := w.push(nil)
		if one.shows[first]+other.shows[first] != 1 || one.shows[second]+other.shows[second] != 1 {
			t.Fatal("not both were shown")
		}
		h := w.desk.home(1)
		h.mu.Lock()
		if len(h.view.Shown) != 2 || h.view.Shown[0].Message != second || h.view.Shown[1].Message != first {
			t.Errorf("shown are %+v, want the second first", h.view.Shown)
		}
		h.mu.Unlock()
		w.replays()
	})
}

// What people did is theirs to have and to erase; what still counts of it stands without the device that it was said
// on, and goes to another gateway with the home.
func TestActsAreTheirs(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		one, other := w.two()
		other.disconnect()
		offer := w.push(all(ofItem("gtin-1"), keyed("milk"), button(1, policy.Buy), button(2, policy.Complain)))
		one.ends(offer, press(1))
		care := w.push(all(served, button(2, policy.Complain)))
		one.ends(care, press(2))
		w.must(w.desk.Got(t.Context(), "oak", "gtin-2"))

		file := unzip(t, w.export(ExportAsked{Home: "oak"}))
		acts := file[actsFile]
		for _, want := range []string{`"what":"got","item":"gtin-1","device":"tv-1"`, `"what":"got","item":"gtin-2"}`, `"what":"complaint","brand":"grocer","device":"tv-1"`} {
			if !strings.Contains(acts, want) {
				t.Errorf("the export has %q, want %q in it", acts, want)
			}
		}
		if !strings.Contains(file[deliveriesFile], `"act":"buy","item":"gtin-1"`) || !strings.Contains(file[pageFile], "gtin-2") {
			t.Errorf("deliveries: %s\npage: %s", file[deliveriesFile], file[pageFile])
		}
		if anna := unzip(t, w.export(ExportAsked{Home: "oak", Person: "Anna"})); strings.Contains(anna[actsFile], "gtin") {
			t.Errorf("Anna's export has what nobody knows to be hers: %s", anna[actsFile])
		}

		stands := func(what string, got, complaints int) {
			t.Helper()
			st, err := w.desk.Home(t.Context(), "oak")
			w.must(err)
			if len(st.Got) != got || len(st.Complaints) != complaints {
				t.Errorf("%s: there are %+v, want %d and %d", what, st.Acts, got, complaints)
			}
		}
		stands("at first", 2, 1)
		before, err := w.desk.Home(t.Context(), "oak")
		w.must(err)
		// The same home elsewhere.
		raw := w.export(ExportAsked{Home: "oak"})
		_, err = w.desk.Import(t.Context(), bytes.NewReader(raw), int64(len(raw)), ImportAsked{Name: "elm"})
		if !errors.Is(err, registry.ErrTaken) { // its devices are here
			t.Errorf("imported beside itself: %v", err)
		}

		_, err = w.desk.Erase(t.Context(), Erasure{Home: "oak", Data: DeliveryData})
		w.must(err)
		stands("after the deliveries were erased", 2, 1)
		w.pass(time.Second)
		_, err = w.desk.Erase(t.Context(), Erasure{Home: "oak", After: 1, Before: w.now()})
		w.must(err)
		stands("after the past was erased", 2, 1)
		_, err = w.desk.Erase(t.Context(), Erasure{Home: "oak", Device: "tv-1"})
		w.must(err)
		stands("after the device was erased", 2, 1)
		after, err := w.desk.Home(t.Context(), "oak")
		w.must(err)
		if !slices.Equal(after.Got, before.Got) || !slices.Equal(after.Complaints, before.Complaints) {
			t.Errorf("erasing the device changed %+v into %+v", before.Acts, after.Acts)
		}
		if acts := unzip(t, w.export(ExportAsked{Home: "oak"}))[actsFile]; strings.Contains(acts, "tv-1") {
			t.Errorf("the device is erased, and told of: %s", acts)
		}
		// All devices are gone: the home can come in again beside itself.
		_, err = w.desk.Erase(t.Context(), Erasure{Home: "oak", Device: "tv-2"})
		w.must(err)
		raw = w.export(ExportAsked{Home: "oak"})
		_, err = w.desk.Import(t.Context(), bytes.NewReader(raw), int64(len(raw)), ImportAsked{Name: "elm"})
		w.must(err)
		elm, err := w.desk.Home(t.Context(), "elm")
		w.must(err)
		if !slices.Equal(elm.Got, before.Got) || !slices.Equal(elm.Complaints, before.Complaints) {
			t.Errorf("elm has %+v, want %+v", elm.Acts, before.Acts)
		}
		_, err = w.desk.Erase(t.Context(), Erasure{Home: "elm", Brand: w.brand.ID})
		w.must(err)
		if elm, err = w.desk.Home(t.Context(), "elm"); err != nil || len(elm.Complaints) != 0 || len(elm.Got) != 2 {
			t.Errorf("after the brand was erased elm has %+v, %v", elm.Acts, err)
		}
		_, err = w.desk.Erase(t.Context(), Erasure{Home: "oak", Data: ActData})
		w.must(err)
		stands("after what they did was erased", 0, 0)
		w.memory()
	})
}

// What is over of a complaint goes with its period, all of it; what is open stays.
func TestErasePeriodOfComplaints(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		w.two()
		w.must(w.desk.Complain(t.Context(), "oak", w.brand.ID))
		w.pass(time.Minute)
		middle := w.now()
		w.must(w.desk.Resolve(t.Context(), "oak", w.brand.ID))
		w.pass(time.Minute)
		_, err := w.desk.Erase(t.Context(), Erasure{Home: "oak", After: middle, Before: w.now()})
		w.must(err)
		st, err := w.desk.Home(t.Context(), "oak")
		w.must(err)
		if len(st.Complaints) != 0 {
			t.Errorf("what was put right is open again: %+v", st.Complaints)
		}
		_, err = w.desk.Erase(t.Context(), Erasure{Home: "oak", After: 1, Before: w.now()})
		w.must(err)
		if acts := unzip(t, w.export(ExportAsked{Home: "oak"}))[actsFile]; acts != "" {
			t.Errorf("the period is erased, and told of: %s", acts)
		}
	})
}

// A message in force that was shown under a key is not shown again under another ID because somebody had the
// deliveries erased.
func TestErasedKeyStays(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		w.two()
		first := w.push(keyed("milk"))
		w.mustHave(first).ends(first, wire.Event{Kind: wire.TimedOut})
		second := w.push(keyed("milk"))
		_, err := w.desk.Erase(t.Context(), Erasure{Home: "oak", Data: DeliveryData})
		w.must(err)
		w.wait()
		w.mustWait(first, "refuse[dedupe]")
		w.mustWait(second, "refuse[dedupe]")
		w.memory()
	})
}

// What a message has to do with others is checked when it comes in, and read as it was said.
func TestThreadOfSubmission(t *testing.T) {
	now := device.At(time.Date(2026, 6, 10, 12, 0, 0, 0, time.UTC))
	brand := registry.Brand{ID: "grocer", Name: "Grocer", Purposes: []string{"marketing"}}
	const rest = `"purpose": "marketing", "texts": [{"language": "en", "body": "Milk"}], "not_after": "2026-06-11T12:00:00Z"`
	tests := map[string]struct {
		json string
		want policy.Thread
		act  policy.Act
		bad  string // the field that is wrong
	}{
		"nothing":            {json: `{}`},
		"a key":              {json: `{"dedupe": "milk low é"}`, want: policy.Thread{Dedupe: "milk low é"}},
		"a step":             {json: `{"sequence": {"journey": "run", "step": 20, "after": "ignored"}}`, want: policy.Thread{Journey: "run", Step: 20, After: policy.Ignored}},
		"any step":           {json: `{"sequence": {"journey": "run", "step": 2}}`, want: policy.Thread{Journey: "run", Step: 2}},
		"the first step":     {json: `{"sequence": {"journey": "run", "step": 1, "after": "any"}}`, want: policy.Thread{Journey: "run", Step: 1}},
		"an item":            {json: `{"item": "` + strings.Repeat("7", 64) + `"}`, want: policy.Thread{Item: strings.Repeat("7", 64)}},
		"an echo":            {json: `{"echo": "remind"}`, want: policy.Thread{Echo: policy.Remind}},
		"an act":             {json: `{"buttons": [{"id": 1, "act": "redeem", "label": {"en": "Yes"}}]}`, act: policy.Redeem},
		"a long key":         {json: `{"dedupe": "` + strings.Repeat("k", 65) + `"}`, bad: "dedupe"},
		"a key of two lines": {json: `{"dedupe": "a\nb"}`, bad: "dedupe"},
		"a turned key":       {json: `{"dedupe": "a\u202eb"}`, bad: "dedupe"},
		"a long item":        {json: `{"item": "` + strings.Repeat("7", 65) + `"}`, bad: "item"},
		"no journey":         {json: `{"sequence": {"step": 2}}`, bad: "sequence.journey"},
		"no step":            {json: `{"sequence": {"journey": "run"}}`, bad: "sequence.step"},
		"a step too many":    {json: `{"sequence": {"journey": "run", "step": 21}}`, bad: "sequence.step"},
		"another end":        {json: `{"sequence": {"journey": "run", "step": 2, "after": "clicked"}}`, bad: "sequence.after"},
		"before the first":   {json: `{"sequence": {"journey": "run", "step": 1, "after": "acted"}}`, bad: "sequence.after"},
		"another act":        {json: `{"buttons": [{"id": 1, "act": "eat", "label": {"en": "Yes"}}]}`, bad: "buttons[0].act"},
		"another echo":       {json: `{"echo": "eat"}`, bad: "act"},
		"a step by itself":   {json: `{"step": 2}`, bad: "step"},
		"a number of a step": {json: `{"sequence": 2}`, bad: "sequence"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			raw := strings.Replace(test.json, "{", "{"+rest+", ", 1)
			raw = strings.Replace(raw, ", }", "}", 1)
			s, err := ParseSubmission([]byte(raw))
			var m *policy.Message
			if err == nil {
				m, err = s.compile(brand, now)
			}
			if test.bad != "" {
				var invalid Invalid
				if !errors.As(err, &invalid) || len(invalid) != 1 || invalid[0].Field != test.bad || invalid[0].Fix == "" {
					t.Fatalf("got %v, want one fault of %s", err, test.bad)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if m.Thread != test.want || len(m.Buttons) > 0 && m.Buttons[0].Act != test.act {
				t.Errorf("got %+v and %+v, want %+v and %s", m.Thread, m.Buttons, test.want, test.act)
			}
		})
	}
}
