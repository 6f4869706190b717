package delivery

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
)

// A decision that is kept can be taken again: what it depended on is in the books, but for what the
// devices had told, which is kept with it.

// Inputs are what a decision depended on beside the home's book as it stood.
type Inputs struct {
	Head int64          `json:"head,omitempty"` // events of the home's book that were known; 0: all before the decision's own
	Book int64          `json:"book"`           // events of the gateway's book that were known
	Read device.Instant `json:"read"`           // when the home was last read: what was learnt of its people is as of then
	Told told           `json:"told,omitempty"`
	Trip device.Instant `json:"trip,omitempty"` // policy.Screen.Trip

	Safety string `json:"safety,omitempty"` // policy.SafetyTable.Sum of the table in force
}

// told is what devices had told, by device and attribute.
type told map[device.ID]map[device.Attribute]reading

// reading is a device.Reading as JSON has it: true or false, a number, or a word.
type reading struct {
	Value any            `json:"v"`
	At    device.Instant `json:"at"`
	Since device.Instant `json:"since,omitempty"` // since when it had been so
}

// inputs are those of q, which is about h.
func (h *home) inputs(q policy.Request) Inputs {
	return Inputs{Book: h.book, Read: h.readAt, Told: toldTo(q), Trip: q.Screen.Trip, Safety: q.Home.Safety.Sum()}
}

// What the judge reads beside a message's own condition. Of what restrains, and of who was there, it
// reads what was told however long ago; of anything else what is fresh.
var (
	whoIsThere = []device.Attribute{device.PresenceWho, device.PresenceCount, device.RoomOccupancy}
	goesOn     = []device.Attribute{device.PlayerState, device.Fullscreen, device.CallActive} // around a screen
)

// toldTo is what the judge could have read to answer q of what devices had told.
func toldTo(q policy.Request) told {
	all := told{}
	for _, s := range q.Home.Screens {
		own := s.ID == q.Screen.ID
		near := own || s.Room != 0 && s.Room == q.Screen.Room
		reads := readBy(q, s)
		for a := range device.AttributesOf(0) {
			r, ok := s.Context.Get(a)
			waited := reads.Has(a)
			if !ok && (!waited || r == device.Reading{}) {
				continue
			}
			fresh := q.Now < r.Until(a, s.Class) // or of the future
			named := func(p policy.Predicate) bool {
				return p.Attribute == a && (p.Class == s.Class || p.Class == 0 && own)
			}
			switch {
			case waited: // of several devices the one where it changed last is read, even if that is no longer known
			case near && slices.Contains(whoIsThere, a), own && (a == device.DND || q.Home.Safety.Attributes(s.Class).Has(a)), a == device.Alarm && r.Value.Num != 0:
			case fresh && (near && slices.Contains(goesOn, a) || a == device.Sleeping):
			case fresh && slices.ContainsFunc(q.Message.When, named), fresh && own && policy.PlaceReads.Has(a): // the latter says why it came here
			default:
				continue
			}
			if all[s.ID] == nil {
				all[s.ID] = map[device.Attribute]reading{}
			}
			all[s.ID][a] = reading{plainValue(a, r.Value), r.At, r.Since}
		}
	}
	return all
}

// readBy is what the message's condition, and the rules of the gateway's operator, read of what s tells.
func readBy(q policy.Request, s *policy.Screen) device.AttributeSet {
	own := s.ID == q.Screen.ID
	all := q.Message.Condition.Of(s.Class, own)
	for i := range q.Home.Rules {
		all |= q.Home.Rules[i].Condition.Of(s.Class, own)
	}
	return all
}

// plainValue is a value of a as it came in.
func plainValue(a device.Attribute, v device.Value) any {
	switch v.Kind {
	case device.Unknown:
		return nil
	case device.Bool:
		return v.Num == 1
	case device.Number:
		return v.Num
	}
	return a.Show(v)
}

// Replayed is a decision that was kept, and the same taken again.
type Replayed struct {
	Pos     int64            `json:"pos"` // in the home's book
	Message device.MessageID `json:"message"`
	Device  device.ID        `json:"device"`
	Kept    Record           `json:"kept"`
	Again   Record           `json:"again"`
	Differs []string         `json:"differs,omitempty"` // in what; none: in nothing
	Erased  int              `json:"erased,omitempty"`  // events before it that are erased: what they said could not be taken into account
}

// kept is a decision as the journal has it.
type kept struct {
	Message  device.MessageID `json:"message"`
	Device   device.ID        `json:"device"`
	Decision Record           `json:"decision"`
	Inputs   Inputs           `json:"inputs"`
	pos      int64
}

// Replay takes a decision again that is kept at a position of a home's book: from what the home's book and the gateway's
// said by then, and what the devices had told. It fails with registry.ErrUnknown if no decision is kept there.
// Nothing is changed; what it needs is written to a temporary file, and that is removed.
func (d *Desk) Replay(ctx context.Context, homeName string, pos int64) (Replayed, error) {
	id, err := d.homeID(ctx, homeName)
	var one []kept
	if err == nil {
		one, err = d.kept(ctx, id, pos)
	}
	if err == nil && len(one) == 0 {
		err = fmt.Errorf("a decision: %w", registry.ErrUnknown)
	}
	var all []Replayed
	if err == nil {
		all, err = d.again(ctx, id, one)
	}
	if err != nil {
		return Replayed{}, fmt.Errorf("replay position %d of home %q: %w", pos, homeName, err)
	}
	return all[0], nil
}

// kept lists the decisions that are kept in a home's book; pos is 0, or the position of the one that is wanted.
func (d *Desk) kept(ctx context.Context, home device.HomeID, pos int64) (all []kept, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		f := store.Filter{Home: &home, Oldest: true, Kind: func(kind string) bool { return kind == deliveryClaimed || kind == deliveryHeld }}
		for e, err := range tx.Journal(f) {
			if err != nil {
				return err
			}
			if e.Erased || pos != 0 && e.Pos != pos {
				continue
			}
			k := kept{pos: e.Pos}
			if err := json.Unmarshal(e.Body, &k); err != nil {
				return fmt.Errorf("position %d: %w", e.Pos, err)
			}
			all = append(all, k)
		}
		return nil
	})
	return all, err
}

// head is how many events of the home's book k knew.
func (k *kept) head() int64 {
	if k.Inputs.Head != 0 {
		return k.Inputs.Head
	}
	return k.pos - 1
}

// again takes decisions of one home again, in the order in which they were taken.
func (d *Desk) again(ctx context.Context, home device.HomeID, list []kept) (all []Replayed, err error) {
	if len(list) == 0 {
		return nil, nil
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b kept) int { return cmp.Compare(a.head(), b.head()) })
	var events, book []store.Event
	messages := map[device.MessageID]*policy.Message{}
	err = d.db.View(ctx, func(tx *store.Tx) (err error) {
		if events, err = tx.Events(home, 0, int(list[len(list)-1].head())); err != nil {
			return err
		}
		gateway := device.Gateway
		for e, err := range tx.Journal(store.Filter{Home: &gateway, Oldest: true, Kind: func(kind string) bool { return !strings.HasPrefix(kind, "message.") }}) {
			if err != nil {
				return err
			}
			book = append(book, e)
		}
		for _, k := range list {
			if messages[k.Message] == nil {
				if messages[k.Message], err = messageOf(tx, k.Message); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "porchlight-replay-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	past, err := store.Open(ctx, filepath.Join(dir, "replay.db"), store.Options{Project: Project, Clear: Clear})
	if err != nil {
		return nil, err
	}
	defer past.Close()
	erased := 0
	for _, k := range list {
		var due []store.Event
		for ; len(book) > 0 && book[0].Pos <= k.Inputs.Book; book = book[1:] {
			due = append(due, book[0])
		}
		for ; len(events) > 0 && events[0].Pos <= k.head(); events = events[1:] {
			if events[0].Erased {
				erased++
			}
			due = append(due, events[0])
		}
		if err := retell(past, due); err != nil {
			return nil, err
		}
		r, err := d.judgeAgain(ctx, past, home, k, messages[k.Message])
		if err != nil {
			return nil, fmt.Errorf("position %d: %w", k.pos, err)
		}
		r.Erased = erased
		all = append(all, r)
	}
	return all, nil
}

// retell appends events to another database, each as it was taken in. An erased one keeps its place.
func retell(to *store.DB, events []store.Event) error {
	if len(events) == 0 {
		return nil
	}
	return to.Update(func(tx *store.Tx) error {
		for _, e := range events {
			tx.Now, tx.Actor = e.At, e.Actor
			kind, body := e.Kind, any(json.RawMessage(e.Body))
			if e.Erased || e.Kind == store.KindErased {
				kind, body = store.KindErased, store.Erasure{}
			}
			if _, err := tx.Add(e.Home, kind, body); err != nil {
				return err
			}
		}
		return nil
	})
}

// judgeAgain takes k again in a home as past has it.
func (d *Desk) judgeAgain(ctx context.Context, past *store.DB, id device.HomeID, k kept, m *policy.Message) (Replayed, error) {
	r := Replayed{Pos: k.pos, Message: k.Message, Device: k.Device, Kept: k.Decision}
	o := d.o
	o.Now = func() device.Instant { return k.Inputs.Read }
	then := &Desk{hall: &hall{o: o, log: slog.New(slog.NewTextHandler(io.Discard, nil)), listeners: map[offer]map[*home]bool{}}}
	h := &home{id: id, mono: then.mono, screens: map[device.ID]*screen{}, alarms: map[device.ID]bool{}}
	err := past.View(ctx, func(tx *store.Tx) error {
		t, err := then.read(tx, id)
		if err == nil {
			then.install(h, t)
		}
		return err
	})
	if err != nil {
		return r, err
	}
	for dev, readings := range k.Inputs.Told {
		for a, told := range readings {
			v, err := a.ValueOf(told.Value)
			if s := h.screens[dev]; s != nil && err == nil {
				s.context.Put(a, device.Reading{Value: v, At: told.At, Since: told.Since})
			}
		}
	}
	s := h.screens[k.Device]
	if s == nil {
		r.Differs = []string{"device"}
		return r, nil
	}
	s.view.Trip = k.Inputs.Trip
	q := policy.Request{Home: &h.view, Screen: &s.view, Message: m, Now: k.Decision.At}
	view := h.without(k.Message)
	if h.find(k.Message, k.Device) != nil {
		q.Home = &view // what the device had lost was claimed anew, as if for the first time
	}
	dec := policy.Decide(q)
	r.Again = record(q, dec, h.wishes)
	if k.Decision.Choice != nil {
		if then.o.Learner = LearnerOn; k.Decision.Choice.Score.Off {
			then.o.Learner = LearnerOff
		}
		h.tasted = policy.Hour(q.Now)
		h.taste = then.tasteOf(h, h.tasted)
		if p, ok := then.weighed(h, s, q, dec); ok {
			r.Again = r.Again.chosen(&p)
		}
	}
	for what, same := range map[string]bool{
		"verdict": r.Again.Verdict == r.Kept.Verdict, "reasons": r.Again.Reasons == r.Kept.Reasons, "until": r.Again.Until == r.Kept.Until,
		"form": r.Again.Form == r.Kept.Form, "text": r.Again.Text == r.Kept.Text, "wishes": r.Again.Wishes == r.Kept.Wishes,
		"duties": r.Again.Duties == r.Kept.Duties, "safety": h.view.Safety.Sum() == k.Inputs.Safety,
		"because": slices.Equal(r.Again.Because, r.Kept.Because), "choice": sameChoice(r.Kept.Choice, r.Again.Choice),
	} {
		if !same {
			r.Differs = append(r.Differs, what)
		}
	}
	slices.Sort(r.Differs)
	return r, nil
}

// messageOf is a message as it was accepted, whatever has become of it and of its brand.
func messageOf(tx *store.Tx, id device.MessageID) (m *policy.Message, err error) {
	e, f, err := acceptedAs(tx, id)
	var s Submission
	switch {
	case errors.Is(err, registry.ErrUnknown):
		err = errors.New("it is not in the gateway's book")
	case err == nil:
		s, err = f.submission()
	}
	if err == nil {
		m, err = s.compile(registry.Brand{ID: f.Brand, Purposes: policy.PurposeNames()}, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", id, err)
	}
	m.ID, m.Seq = id, e.Pos
	return m, nil
}
