package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

// whyPatience is how long an answer to a question why is waited for.
const whyPatience = 5 * time.Second

// Why asks the gateway why the message on the screen is there, or, if none is, the last one that
// was. by is who asks, as the gateway names them, "" if the device does not know. The answer is an
// [Explained], and in the device's State.
func (d *Device) Why(by string) error {
	return d.whyAsked(by, func(fw *firmware) (*device.MessageID, error) {
		if h := fw.onScreen(); h != nil {
			return &h.Message, nil
		}
		if n := len(fw.book.Ledger); n > 0 {
			return &fw.book.Ledger[n-1].Message, nil
		}
		return nil, errors.New("nothing has been on the screen: ask for what was held back")
	})
}

// HeldBack asks the gateway what was held back today.
func (d *Device) HeldBack(by string) error {
	return d.whyAsked(by, func(*firmware) (*device.MessageID, error) { return nil, nil })
}

func (d *Device) whyAsked(by string, about func(*firmware) (*device.MessageID, error)) error {
	err := d.with(func(now time.Time) error {
		fw := &d.fw
		person, err := fw.person(by)
		if err != nil {
			return err
		}
		id, err := about(fw)
		if err != nil {
			return err
		}
		if fw.send == nil {
			return errors.New("it is off line")
		}
		w := wire.WhyAsked{Seq: fw.seq, Message: id, Person: person}
		if langs := fw.cfg.Can.Languages; len(langs) > 0 {
			w.Language = langs[0]
		}
		fw.whys[w.Seq] = now.Add(whyPatience)
		what := "asks why"
		if id == nil {
			what = "asks what was held back"
		}
		fw.note(Event{Kind: Changed, Why: what})
		fw.publish(wire.UpWhy, 1, w, nil)
		return nil
	})
	if err != nil {
		return fmt.Errorf("why on %s: %w", d.cfg.Name, err)
	}
	return nil
}

// explain takes in the answer to a question why.
func (fw *firmware) explain(b wire.Because) {
	if _, ok := fw.whys[b.Seq]; !ok {
		fw.note(Event{Kind: Trouble, Why: "an answer came to a question that was not asked"})
		return
	}
	delete(fw.whys, b.Seq)
	fw.because = b
	e := Event{Kind: Explained, Why: strings.Join(b.Lines, "\n")}
	if b.Message != nil {
		e.Message = *b.Message
	}
	fw.note(e)
}

// giveUp says so where no answer to a question why has come.
func (fw *firmware) giveUp(now time.Time) {
	for seq, until := range fw.whys {
		if !now.Before(until) {
			delete(fw.whys, seq)
			fw.note(Event{Kind: Trouble, Why: "it cannot be told why just now"})
		}
	}
}

// Signal passes on what somebody has chosen elsewhere; value is spelled as its standard does, and
// "" says that there is no such choice any more.
func (d *Device) Signal(kind wire.SignalKind, value string) error {
	s := wire.Signal{Kind: kind, Value: value}
	if _, err := wire.Encode(s); err != nil {
		return fmt.Errorf("signal on %s: %w", d.cfg.Name, err)
	}
	return d.with(func(now time.Time) error {
		d.fw.note(Event{Kind: Chosen, Why: "elsewhere: " + signalNames[kind] + " " + clip(value, 24)})
		d.fw.book.owe(receipt{At: now, Signal: &s})
		return nil
	})
}

var signalNames = [...]string{wire.SignalTCF: "tcf", wire.SignalGPP: "gpp", wire.SignalGPC: "gpc"}

// ParseSignal reads the name of a signal: tcf, gpp or gpc.
func ParseSignal(s string) (wire.SignalKind, error) {
	if i := slices.Index(signalNames[:], s); i > 0 {
		return wire.SignalKind(i), nil
	}
	return 0, fmt.Errorf("signal %q is unknown: use one of %s", s, strings.Join(signalNames[1:], ", "))
}

// heard takes in how far something is that was taken back here.
func (fw *firmware) heard(now time.Time, w wire.Word) {
	if w.Epoch < fw.word.Epoch {
		return // of something earlier; the later one goes on
	}
	fw.word = w
	if w.State == wire.WordStopped {
		fw.note(Event{Kind: Stopped, Why: "it is on no screen any more"})
		return
	}
	var open []string
	for _, s := range w.Open {
		name := s.Name
		if name == "" {
			name = "a screen"
		}
		open = append(open, fmt.Sprintf("%s, in %s at most", name, ms(s.By-min(fw.gatewayClock(now), s.By)).Round(100*time.Millisecond)))
	}
	if open == nil {
		open = []string{"nothing"}
	}
	fw.note(Event{Kind: Stopping, Why: "still to be cleared: " + strings.Join(open, "; ")})
}

// gatewayClock is the time at the gateway, ms since 1970, by the last beacon; the device's own
// before the first.
func (fw *firmware) gatewayClock(now time.Time) uint64 {
	if fw.clock == 0 {
		return uint64(now.UnixMilli())
	}
	return fw.clock + uint64(max(now.Sub(fw.clockAt), 0).Milliseconds())
}
