package delivery

import (
	"encoding/json"
	"fmt"
	"strings"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/twin"
	"porchlight/device/wire"
	"porchlight/policy"
	"porchlight/policy/consent"
)

// The facts of this room, as the journal spells them.
const (
	messageAccepted   = "message.accepted"   // gateway's book
	messageWithdrawn  = "message.withdrawn"  // gateway's book
	deliveryClaimed   = "delivery.claimed"   // the home's: it is about to be sent, and counts
	deliveryPresented = "delivery.presented" // the device says it was on the screen
	deliverySettled   = "delivery.settled"   // it is over
	deliveryLeaving   = "delivery.leaving"   // it did not appear in time: it goes, and then another screen may have it
	deliveryHeld      = "delivery.held"      // the message is over, and nobody here was shown it
)

type acceptedFact struct {
	ID       device.MessageID `json:"id"`
	Brand    device.BrandID   `json:"brand"`
	Key      string           `json:"key"`
	Digest   []byte           `json:"digest"`
	NotAfter device.Instant   `json:"not_after"`
	Value    float64          `json:"value"` // as its brand said, 0 to 1
	Worth    float64          `json:"worth"` // the same beside the brand's other messages of the last 30 days, whose mean is 0.5
	Message  Submission       `json:"message,omitzero"`
	Signed   string           `json:"signed,omitempty"` // the message as its brand has signed it, a compact JWS, and nothing in Message
}

type withdrawnFact struct {
	ID device.MessageID `json:"id"`
}

// Record is a decision as it is kept: enough to say later why.
type Record struct {
	Verdict string         `json:"verdict"`
	Reasons policy.Reasons `json:"reasons,omitempty"`
	Until   device.Instant `json:"until,omitempty"`
	Form    device.Form    `json:"form"`
	Text    int            `json:"text"`
	Wishes  int64          `json:"wishes"` // version of the home's choices and preferences it was taken on
	At      device.Instant `json:"at"`
	Duties  policy.Duties  `json:"duties,omitzero"`   // of what was shown: what the screen had to do
	Because []policy.Cause `json:"because,omitempty"` // what spoke for it if it was shown, against it if not
	Choice  *policy.Pick   `json:"choice,omitempty"`  // of what was shown: why it came before others, and on this screen
}

// record keeps a decision about q.
func record(q policy.Request, d policy.Decision, wishes int64) Record {
	r := Record{Verdict: d.Verdict.String(), Reasons: d.Reasons, Until: d.Until, Form: d.Form, Text: d.Text, Wishes: wishes, At: q.Now, Duties: d.Duties}
	if d.Verdict == policy.Show {
		r.Because = policy.Grounds(q, d)
	} else {
		r.Because = policy.Causes(q, d)
	}
	return r
}

type claimedFact struct {
	Message  device.MessageID  `json:"message"`
	Device   device.ID         `json:"device"`
	Brand    device.BrandID    `json:"brand"`
	Purpose  policy.Purpose    `json:"purpose"`
	Category string            `json:"category,omitempty"`
	Who      []device.PersonID `json:"who,omitempty"`    // in front of it
	Others   bool              `json:"others,omitempty"` // perhaps somebody else, too
	Decision Record            `json:"decision"`
	Inputs   Inputs            `json:"inputs"` // so that it can be taken again
	Thread   thread            `json:"thread,omitzero"`
	Again    bool              `json:"again,omitempty"` // it was handed over before, and nobody has said what became of that
}

// keptClaim is what is asked of a claim later.
type keptClaim struct {
	Decision Record `json:"decision"`
	Again    bool   `json:"again"`
}

// claimAt is the claim at a position of a home's book, as it was kept. If it is erased, or the position is 0, it is the zero
// decision, and perhaps it was not the first.
func claimAt(tx *store.Tx, home device.HomeID, pos int64) (c keptClaim, err error) {
	c.Again = true
	if pos == 0 {
		return c, nil
	}
	entries, err := tx.Events(home, pos-1, 1)
	for _, e := range entries {
		if e.Pos == pos && e.Kind == deliveryClaimed && !e.Erased {
			err = store.With(e, func(f keptClaim) error {
				c = f
				return nil
			})
		}
	}
	return c, err
}

// recordAt is the decision of claimAt.
func recordAt(tx *store.Tx, home device.HomeID, pos int64) (Record, error) {
	c, err := claimAt(tx, home, pos)
	return c.Decision, err
}

// thread is what of a policy.Thread is remembered of what was shown.
type thread struct {
	Dedupe  string          `json:"dedupe,omitempty"`
	Journey string          `json:"journey,omitempty"`
	Step    int             `json:"step,omitempty"`
	After   policy.Reaction `json:"-"`
	Item    string          `json:"item,omitempty"`
	Echo    policy.Act      `json:"-"`
}

// rememberedOf is t without what matters only before a message is shown.
func rememberedOf(t policy.Thread) policy.Thread {
	t.After, t.Echo = policy.NoReaction, policy.NoAct
	return t
}

// heldFact is a message that was not shown in a home where somebody had agreed to its kind.
type heldFact struct {
	Message  device.MessageID `json:"message"`
	Device   device.ID        `json:"device"` // the screen that came nearest
	Brand    device.BrandID   `json:"brand"`
	Purpose  policy.Purpose   `json:"purpose"`
	Decision Record           `json:"decision"`
	Inputs   Inputs           `json:"inputs"`
}

type presentedFact struct {
	Message device.MessageID `json:"message"`
	Device  device.ID        `json:"device"`
	At      device.Instant   `json:"at"`
}

// Outcome is why a delivery is over. The small numbers are those of [wire.EventKind].
type Outcome uint8

// The outcomes that are not a device's own word.
const (
	Lapsed   Outcome = 20 // its lease and the clock allowance are over
	Unsent   Outcome = 21 // it never left, or the device says that it has nothing
	Vanished Outcome = 22 // it was shown, and is not on the device any more
	Removal  Outcome = 23 // its device was removed from the home
)

// String names the outcome for people.
func (o Outcome) String() string {
	switch o {
	case 0:
		return "open"
	case Outcome(wire.Responded):
		return "answered"
	case Outcome(wire.Dismissed):
		return "dismissed"
	case Outcome(wire.TimedOut):
		return "timed out"
	case Outcome(wire.Declined):
		return "declined by the device"
	case Outcome(wire.Expired):
		return "expired"
	case Outcome(wire.Cancelled):
		return "taken off"
	case Outcome(wire.Failed):
		return "failed on the device"
	case Lapsed:
		return "lease over"
	case Unsent:
		return "not sent"
	case Vanished:
		return "gone from the device"
	case Removal:
		return "device removed"
	}
	return fmt.Sprintf("outcome(%d)", uint8(o))
}

type settledFact struct {
	Message  device.MessageID `json:"message"`
	Device   device.ID        `json:"device"`
	Outcome  Outcome          `json:"outcome"`
	Counts   bool             `json:"counts"` // it was on the screen, or may have been
	Response *uint            `json:"response,omitempty"`
	Act      policy.Act       `json:"act,omitempty"` // what the button does that was pressed
	Reason   wire.Reason      `json:"reason,omitempty"`
}

type leavingFact struct {
	Message device.MessageID `json:"message"`
	Device  device.ID        `json:"device"`
}

// reaction is what somebody did with what was shown, as far as it is known.
func (o Outcome) reaction(presented device.Instant) policy.Reaction {
	switch {
	case o == Outcome(wire.Responded):
		return policy.Acted
	case o == Outcome(wire.Dismissed):
		return policy.Dismissed
	case o == Outcome(wire.TimedOut):
		return policy.Ignored
	case presented != 0:
		return policy.Seen
	}
	return policy.NoReaction
}

// nouns are who projects which events, by the first word of their kind.
var nouns = map[string]func(*store.Apply, store.Event) (mine bool, err error){
	"home": either(applyRights, registry.Apply), "person": registry.Apply, "room": registry.Apply, "device": registry.Apply, "brand": registry.Apply, "credential": registry.Apply, "enrolment": registry.Apply, "door": applyNothing, "authority": applyNothing,
	"consent": applyConsent, "notice": consent.Apply, "preference": twin.Apply,
	"message": applyMessage, "delivery": either(applyRights, applyDelivery), "withdrawal": applyWithdrawal,
	"item": applyActs, "complaint": applyActs,
}

// either projects a noun whose facts are those of two rooms.
func either(one, other func(*store.Apply, store.Event) (bool, error)) func(*store.Apply, store.Event) (bool, error) {
	return func(tx *store.Apply, e store.Event) (bool, error) {
		if mine, err := one(tx, e); mine || err != nil {
			return mine, err
		}
		return other(tx, e)
	}
}

// Project is the one way from the journal to the tables: it hands each event to its noun.
func Project(tx *store.Apply, e store.Event) error {
	noun, _, _ := strings.Cut(e.Kind, ".")
	apply := nouns[noun]
	if apply == nil {
		return fmt.Errorf("event %d: kind %.40q is unknown: a newer porchlight wrote it", e.Seq, e.Kind)
	}
	mine, err := apply(tx, e)
	if err == nil && !mine {
		err = fmt.Errorf("event %d: kind %.40q is unknown: a newer porchlight wrote it", e.Seq, e.Kind)
	}
	if err != nil {
		return err
	}
	if noun == "preference" || noun == "person" || consent.Binds(e.Kind) {
		return tx.Exec(`UPDATE home SET wishes = ? WHERE id = ?`, e.Pos, e.Home)
	}
	return nil
}

// Clear deletes every row that Project has made of a home's book, so that what is left of that book can
// be projected again.
func Clear(tx *store.Apply, home device.HomeID) error {
	for _, stmt := range []string{
		`DELETE FROM held WHERE home = ?`, `DELETE FROM got WHERE home = ?`, `DELETE FROM complaint WHERE home = ?`, `DELETE FROM withdrawal WHERE home = ?`, `DELETE FROM delivery WHERE home = ?`, `DELETE FROM preference WHERE home = ?`,
		`DELETE FROM consent_ask WHERE home = ?`, `DELETE FROM consent WHERE home = ?`,
	} {
		if err := tx.Exec(stmt, home); err != nil {
			return err
		}
	}
	return registry.Clear(tx, home)
}

func applyMessage(tx *store.Apply, e store.Event) (bool, error) {
	switch e.Kind {
	case messageAccepted:
		return true, store.With(e, func(f acceptedFact) error {
			err := tx.Exec(`INSERT INTO message (seq, id, brand, at, not_after, key, digest) VALUES (?, ?, ?, ?, ?, ?, ?)`,
				e.Pos, f.ID[:], f.Brand, e.At, f.NotAfter, f.Key, f.Digest)
			if err != nil {
				return err
			}
			return applyValue(tx, e, f)
		})
	case messageWithdrawn:
		return true, store.With(e, func(f withdrawnFact) error {
			return tx.Exec(`UPDATE message SET withdrawn = ? WHERE id = ? AND withdrawn = 0`, e.At, f.ID[:])
		})
	}
	return false, nil
}

func applyDelivery(tx *store.Apply, e store.Event) (bool, error) {
	switch e.Kind {
	case deliveryClaimed:
		return true, store.With(e, func(f claimedFact) error {
			who, err := "[]", error(nil)
			if len(f.Who) > 0 {
				var list []byte
				if list, err = json.Marshal(f.Who); err != nil {
					return err
				}
				who = string(list)
			}
			return tx.Exec(`INSERT INTO delivery (home, message, device, brand, purpose, category, dedupe, journey, step, item, who, others, epoch, claimed, pos) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
				ON CONFLICT DO UPDATE SET epoch = excluded.epoch, dedupe = excluded.dedupe, journey = excluded.journey, step = excluded.step, item = excluded.item, who = excluded.who, others = excluded.others,
				claimed = excluded.claimed, presented = 0, pos = excluded.pos, settled = 0, outcome = 0, counts = 1, act = 0, leaving = 0`,
				e.Home, f.Message[:], f.Device, f.Brand, f.Purpose, f.Category, f.Thread.Dedupe, f.Thread.Journey, f.Thread.Step, f.Thread.Item, who, f.Others, f.Decision.Wishes, e.At, e.Pos)
		})
	case deliveryHeld:
		return true, store.With(e, func(f heldFact) error {
			decision, err := json.Marshal(f.Decision)
			if err != nil {
				return err
			}
			return tx.Exec(`INSERT INTO held (home, message, device, brand, purpose, at, decision) VALUES (?, ?, ?, ?, ?, ?, ?)
				ON CONFLICT DO UPDATE SET at = excluded.at, device = excluded.device, decision = excluded.decision`,
				e.Home, f.Message[:], f.Device, f.Brand, f.Purpose, e.At, string(decision))
		})
	case deliveryPresented:
		return true, store.With(e, func(f presentedFact) error {
			return tx.Exec(`UPDATE delivery SET presented = ? WHERE home = ? AND message = ? AND device = ?`, f.At, e.Home, f.Message[:], f.Device)
		})
	case deliverySettled:
		return true, store.With(e, func(f settledFact) error {
			return tx.Exec(`UPDATE delivery SET settled = ?, outcome = ?, counts = ?, act = ? WHERE home = ? AND message = ? AND device = ?`,
				e.At, f.Outcome, f.Counts, f.Act, e.Home, f.Message[:], f.Device)
		})
	case deliveryLeaving:
		return true, store.With(e, func(f leavingFact) error {
			return tx.Exec(`UPDATE delivery SET leaving = 1 WHERE home = ? AND message = ? AND device = ?`, e.Home, f.Message[:], f.Device)
		})
	}
	return false, nil
}
