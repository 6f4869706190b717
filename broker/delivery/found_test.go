package delivery

import (
	"fmt"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

// Somebody pressed a button; before that the device had declined the same message, which was then sent again. The old word
// came first, and the lease ran out before the new ones: the press still counts.
func TestPressAfterAnOldWord(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		tv.mute = true
		id := w.push(nil)
		w.must(w.desk.Event(tv.id, tv.up, wire.Event{Message: id, Kind: wire.Declined, Reason: wire.Busy}))
		w.pass(13 * time.Second)
		w.must(w.desk.Event(tv.id, tv.up, wire.Event{Message: id, Kind: wire.Responded, Response: new(uint)})) // taken in, so it is acknowledged
		var got Outcome
		w.must(w.db.View(w.t.Context(), func(tx *store.Tx) error {
			return tx.QueryRow(`SELECT outcome FROM delivery WHERE message = ?`, id[:]).Scan(&got)
		}))
		if got != Outcome(wire.Responded) {
			t.Errorf("the press was taken in, and the tables have %s", got)
		}
	})
}

// plugIn has a TV come on a connection, up to its birth.
func (w *world) plugIn(tv *hand, c Link) {
	w.t.Helper()
	w.must(w.desk.Connected(tv.id, 1, c))
	w.must(w.desk.Subscribed(tv.id, c))
	w.must(w.desk.Birth(tv.id, c, wire.Birth{Class: device.TV, Attributes: []string{"power.state"}, Can: wire.Capabilities{Inputs: 2, Forms: []device.Form{device.Toast}, MaxButtons: 3, Languages: []string{"en"}}, Model: wire.Model{Maker: "Hand", Name: "made"}}))
}

// unanswered is a home where a message was handed over to the TV, which answers nothing, while the display is away.
func (w *world) unanswered() (tv, frame *hand, id device.MessageID) {
	w.t.Helper()
	all := w.home(device.TV, device.Display)
	tv, frame = all[device.TV], all[device.Display]
	frame.disconnect()
	w.choose(policy.Given)
	tv.mute = true
	return tv, frame, w.push(nil)
}

// notOn has the TV go and the display come, which must not show what the TV has said it had shown.
func (w *world) notOn(frame *hand, id device.MessageID, tv *hand, c *plug) {
	w.t.Helper()
	c.Close(Shutdown)
	w.desk.Gone(tv.id, c)
	frame.connect()
	w.pass(20 * time.Second)
	if frame.shows[id] != 0 {
		w.t.Error("the TV has said that it was shown, and the display shows it too")
	}
}

// cable is a connection that ends when a message is put onto it.
type cable struct{ *plug }

func (c cable) Send(f Frame) error {
	if f.Leaf == wire.DnMsg {
		return ErrAway
	}
	return c.plug.Send(f)
}

func (c cable) Close(r Reason) { c.plug.Close(r); go c.h.w.desk.Gone(c.h.id, c) }

// A TV has shown a message, and its receipt is still to come. It is claimed for the TV anew, and the connection ends before it
// is handed over: it must not be shown on another screen.
func TestShownOnceThoughTheSecondHandOverFails(t *testing.T) {
	inWorld(t, func(w *world) {
		tv, frame, id := w.unanswered()
		tv.disconnect()
		w.pass(13 * time.Second)
		tv.on = nil // its lease is over
		c := cable{&plug{h: tv, frames: make(chan Frame, 64), done: make(chan struct{})}}
		w.plugIn(tv, c)
		w.must(w.desk.Context(tv.id, c, wire.Context{Values: calm[device.TV]}))
		w.wait()
		w.desk.Acked(tv.id, c) // the document
		w.wait()
		frame.connect()
		w.pass(20 * time.Second)
		if tv.shows[id]+frame.shows[id] != 1 {
			t.Errorf("shown %d times on the TV and %d times on the display", tv.shows[id], frame.shows[id])
		}
	})
}

// A message that breaks off inside an array is refused, rather than read for ever.
func TestBrokenJSONEnds(t *testing.T) {
	for _, raw := range []string{`{"texts":[{"a" 1}]}`, `{"texts":[1 2`, `{"texts":["\x"]}`, `[1 2`} {
		done := make(chan error, 1)
		go func() { _, err := ParseSubmission([]byte(raw)); done <- err }()
		select {
		case err := <-done:
			if err == nil {
				t.Errorf("%s was taken", raw)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s is read for ever", raw)
		}
	}
}

// A TV owes an old word, from before a message was sent to it again, and behind it that it has shown it since. The old word is not
// the last one: the message must not be shown on another screen. Nor if the gateway has begun anew in between.
func TestShownOnceThoughAnOldWordComesFirst(t *testing.T) {
	for _, restarts := range []bool{false, true} {
		t.Run(fmt.Sprint("restarts ", restarts), func(t *testing.T) { oldWordFirst(t, restarts) })
	}
}

func oldWordFirst(t *testing.T, restarts bool) {
	inWorld(t, func(w *world) {
		old := time.Now()
		tv, frame, id := w.unanswered() // the TV says expired, which is not taken in
		w.pass(time.Second)
		tv.disconnect()
		w.pass(13 * time.Second)
		tv.with(func() { tv.on = nil })
		tv.connect() // it is handed over again, and shown
		w.pass(time.Second)
		tv.disconnect()
		w.pass(13 * time.Second)
		if restarts {
			w.restart()
		}
		c := &plug{h: tv, frames: make(chan Frame, 64), done: make(chan struct{})}
		w.plugIn(tv, c)
		w.must(w.desk.Event(tv.id, c, wire.Event{Message: id, Kind: wire.Expired, Age: uint64(time.Since(old).Milliseconds())}))
		if n := w.count(`SELECT count(*) FROM delivery WHERE settled > 0 AND counts = 0`); n != 0 {
			t.Error("the old word was taken for the last one: another screen may have the message until the TV says more")
		}
		w.must(w.desk.Event(tv.id, c, wire.Event{Message: id, Kind: wire.Presented, Age: 14000}))
		w.notOn(frame, id, tv, c)
	})
}

// A TV says that a message has gone unseen, and then that it was on the screen: what was on a screen counts, whatever was said before.
func TestPresentedAfterItsEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		tv, frame, id := w.unanswered()
		tv.disconnect()
		tv.with(func() { tv.on = nil })
		c := &plug{h: tv, frames: make(chan Frame, 64), done: make(chan struct{})}
		w.plugIn(tv, c)
		w.must(w.desk.Event(tv.id, c, wire.Event{Message: id, Kind: wire.Expired}))
		if n := w.count(`SELECT count(*) FROM delivery WHERE settled > 0 AND counts = 0`); n != 1 {
			t.Fatalf("%d deliveries have ended unseen, want 1", n)
		}
		for range 2 {
			w.must(w.desk.Event(tv.id, c, wire.Event{Message: id, Kind: wire.Presented, Age: 500}))
		}
		w.notOn(frame, id, tv, c)
		if n := w.facts(deliverySettled); n != 2 {
			t.Errorf("%d ends are written down, want 2", n)
		}
		w.memory()
	})
}
