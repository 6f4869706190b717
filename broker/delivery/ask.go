package delivery

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/twin"
	"porchlight/device/wire"
	"porchlight/policy"
	"porchlight/policy/consent"
	"porchlight/policy/words"
)

// A brand never asks; the gateway does, on one screen of a home at a time. An ask is on disk before
// it leaves, and it ends once: with a yes, with a no or, whatever goes wrong, deferred.

// What doors branch on when somebody is to be asked.
var (
	ErrAsking = errors.New("this home is being asked something already")
	ErrNotNow = errors.New("nobody can be asked just now")
)

// asks is what a home's memory has of the questions that are put to its people. The home's lock
// guards it.
type asks struct {
	read     bool      // the rest agrees with the tables
	open     *ask      // nil: nothing is asked
	byItself bool      // as the home prefers
	look     time.Time // not before is such a message looked for again
	jumps    int64     // clock jumps seen
}

// ask is one question on one screen, from its place in the journal to its end.
type ask struct {
	id      device.MessageID
	offer   offer
	subject device.PersonID // whose choice it is
	device  device.ID
	frame   wire.Ask
	asked   device.Instant // when; a no after that ends it
	moved   bool           // to a phone; it moves once
	handed  bool           // it has left, and may be on the screen
	drawn   bool           // the device has said how it drew it
	until   time.Time      // then it is deferred
}

// on reports whether k is a device's: on its screen, or on the way there.
func (k *ask) on(dev device.ID) bool { return k != nil && k.device == dev }

// AskWhere says on which screen to ask, or whom. The zero AskWhere leaves both to the Desk.
type AskWhere struct {
	Device device.ID // or its name; "": the best
	Person string    // by name: on a screen of theirs, or one that they are known to be in front of; "": whoever is there
}

// AskState is a question and what became of it.
type AskState struct {
	ID      device.MessageID `json:"id"`
	Person  string           `json:"person,omitempty"` // whose choice it is; "": the home's as a whole
	Brand   device.BrandID   `json:"brand"`
	Purpose policy.Purpose   `json:"purpose"`
	Device  device.ID        `json:"device"`
	Name    string           `json:"name"` // of the device, or its ID
	Asked   device.Instant   `json:"asked"`
	Drawn   device.Instant   `json:"drawn,omitempty"` // when it was on the screen; 0: not that we know
	Until   device.Instant   `json:"until"`           // no answer by then is no answer
	State   consent.State    `json:"state"`           // requested while it is open
}

// obstacle is why somebody cannot be asked on a screen now, and what an operator may do about it. The zero obstacle is
// none.
type obstacle struct {
	why, fix string
	judged   bool // it is the judge who says so: why names its rules
}

// The obstacles that are no judgement.
var (
	somebodyElse = obstacle{why: "it belongs to somebody who is not to be asked", fix: "ask on another screen"}
	nobodyThere  = obstacle{why: "nobody who can be asked is there", fix: "ask when a device tells that somebody is"}
	isAway       = obstacle{why: "it is away", fix: "connect it"}
	restricts    = obstacle{why: "it may only restrict", fix: "porchlight device set ID --controller lets it do more"}
	unanswerable = obstacle{why: "there is no way to answer", fix: "ask on another screen"}
	isTaken      = obstacle{why: "a message is on it", fix: "ask when it has gone"}
	isBusy       = obstacle{why: "something is on", fix: "ask when it is over"}
)

// notAskedError says in the operator's words why a question is not put. It wraps what doors branch on.
type notAskedError struct {
	text string
	error
}

func (e *notAskedError) Error() string { return e.text }
func (e *notAskedError) Unwrap() error { return e.error }

// Ask puts the question whether a brand may use a home's screens for a purpose, on a screen where
// somebody can be asked at this moment. It fails with ErrAsking, with ErrNotNow and what is against each
// screen, if there is no such screen, with a consent.TooSoonError, or an error that wraps consent.ErrNotAsked,
// consent.ErrAnswered or registry.ErrUnknown. What it says names people and screens: it is for operators.
func (d *Desk) Ask(ctx context.Context, homeName string, b device.BrandID, p policy.Purpose, where AskWhere) (st AskState, err error) {
	id, err := d.homeID(ctx, homeName)
	if err != nil {
		return st, fmt.Errorf("ask: %w", err)
	}
	var person registry.Person
	err = d.db.View(ctx, func(tx *store.Tx) (err error) {
		if where.Person != "" {
			if person, err = personByName(tx, id, where.Person); err != nil {
				return err
			}
			if err := mayBeAsked(person, homeName); err != nil {
				return err
			}
		}
		return mayAskFor(tx, b, p)
	})
	if err != nil {
		return st, fmt.Errorf("ask about %s: %w", b, err)
	}
	var made consent.Ask
	err = d.in(id, func(h *home) error {
		if err := d.readAsks(h); err != nil {
			return err
		}
		if h.view.Frozen {
			return &notAskedError{fmt.Sprintf("the home is frozen, and nobody there is asked: porchlight home set %q --unfreeze", homeName), consent.ErrNotAsked}
		}
		screens := h.askable()
		if where.Device != "" {
			screens = slices.DeleteFunc(screens, func(s *screen) bool { return s.ID != where.Device && s.Name != string(where.Device) })
			if len(screens) == 0 {
				return &registry.UnknownError{What: "device", Name: string(where.Device), Home: id}
			}
		}
		if k := h.asks.open; k != nil {
			return fmt.Errorf("%w, about %s on %s: ask when that is over (porchlight consent asks --home %q)", ErrAsking, k.offer.brand, h.called(k.device), homeName)
		}
		now, o := d.o.Now(), offer{b, p}
		var all []obstacle
		on := map[obstacle][]string{} // the names of the screens
		var never error               // is no matter of the moment
		for _, s := range screens {
			k := &ask{offer: o, subject: s.Owner}
			who, no := h.answers(s, now)
			if no == (obstacle{}) && person.ID != 0 && !slices.Contains(who, person.ID) {
				no = obstacle{why: person.Name + " is not known to be there", fix: "ask when a device tells that they are"}
			}
			if no == (obstacle{}) {
				no = d.asking(h, s, k, now)
			}
			if no == (obstacle{}) {
				switch made, err = d.put(h, s, o); {
				case err == nil:
					return nil
				case errors.Is(err, consent.ErrNotAsked):
					never = h.inWords(err, s, o, homeName)
					continue
				case !errors.Is(err, ErrNotNow):
					return h.inWords(err, s, o, homeName)
				}
				no = obstacle{why: "its packets are too small for the question", fix: "ask on another screen"}
			}
			if no.judged {
				no = d.judged(h, s, k, now)
			}
			if on[no] == nil {
				all = append(all, no)
			}
			on[no] = append(on[no], s.Name)
		}
		if never != nil && len(all) == 0 {
			return never
		}
		var why []string
		for _, no := range all {
			why = append(why, fmt.Sprintf("%s: %s (%s)", strings.Join(on[no], ", "), no.why, no.fix))
		}
		if len(screens) == 0 {
			why = []string{"there is no screen: porchlight device add, or porchlight enrol open"}
		}
		return fmt.Errorf("%w: %s", ErrNotNow, strings.Join(why, "; "))
	})
	if err != nil {
		return st, fmt.Errorf("ask about %s: %w", b, err)
	}
	all, err := d.Asks(ctx, homeName)
	for _, st = range all {
		if st.ID == made.ID {
			return st, nil
		}
	}
	return AskState{}, cmp.Or(err, fmt.Errorf("ask about %s: %w", b, registry.ErrUnknown)) // its home has just been removed
}

// mayBeAsked is nil for somebody who is asked at all.
func mayBeAsked(p registry.Person, homeName string) error {
	switch {
	case p.Frozen:
		return &notAskedError{fmt.Sprintf("%s is frozen, and not asked: porchlight person set %[1]q --home %[2]q --unfreeze", p.Name, homeName), consent.ErrNotAsked}
	case p.Guest, p.Age != device.Adult:
		return &notAskedError{fmt.Sprintf("%s is not asked, only adults who live in the home are: what a guardian says for them is recorded with porchlight consent give --person %[1]q --guardian PERSON", p.Name), consent.ErrNotAsked}
	}
	return nil
}

// mayAskFor is nil if a brand asks for a purpose at all.
func mayAskFor(tx *store.Tx, b device.BrandID, p policy.Purpose) error {
	brand, err := registry.BrandByID(tx, b)
	if err != nil {
		return err
	}
	n, err := consent.Newest(tx, b)
	switch {
	case err != nil:
		return err
	case brand.Stopped != 0:
		return &notAskedError{fmt.Sprintf("the brand is stopped: porchlight brand start %s", b), consent.ErrNotAsked}
	case !slices.Contains(brand.Purposes, p.String()):
		return &notAskedError{fmt.Sprintf("the brand has declared %s, not %s: porchlight brand set %s --purpose says what it declares", strings.Join(brand.Purposes, ", "), p, b), consent.ErrNotAsked}
	case !slices.Contains(n.Purposes, p):
		return &notAskedError{fmt.Sprintf("the brand's newest notice does not ask for %s: see porchlight notice show %s, and porchlight notice add", p, b), consent.ErrNotAsked}
	}
	return nil
}

// called is what people call a device of h.
func (h *home) called(id device.ID) string {
	if s := h.screens[id]; s != nil {
		return s.Name
	}
	return string(id)
}

// inWords is an error of put as an operator can read it.
func (h *home) inWords(err error, s *screen, o offer, homeName string) error {
	who := "the home"
	if p, ok := h.person(s.Owner); ok {
		who = p.Name
	}
	var soon *consent.TooSoonError
	switch {
	case errors.As(err, &soon):
		return &notAskedError{fmt.Sprintf("%v: ask then", soon), err}
	case errors.Is(err, consent.ErrAnswered):
		return &notAskedError{fmt.Sprintf("%s has said yes to %s from %s already: see porchlight consent list --home %q", who, o.purpose, o.brand, homeName), err}
	case errors.Is(err, consent.ErrNotAsked):
		return &notAskedError{fmt.Sprintf("%s is not to be asked on %s: ask on another screen", who, s.Name), err}
	}
	return err
}

// judged is what the judge has against k on a screen now, in words.
func (d *Desk) judged(h *home, s *screen, k *ask, now device.Instant) obstacle {
	q, decision := h.judgeAsk(s, k, now)
	m := *q.Message
	m.NotAfter = now.Add(30 * 24 * time.Hour) // how soon a question goes is not what is against it
	q.Message = &m
	if longer := policy.Decide(q); longer.Verdict != policy.Show {
		decision = longer
	}
	no := obstacle{why: decision.Reasons.String(), fix: "ask when that is over"}
	if words := tell(policy.Causes(q, decision), "en", d.names(h, s, device.Household)); len(words) > 0 {
		no.why += ": " + strings.Join(words, ", ")
	}
	if decision.Reasons.Has(policy.Consent) {
		no.fix = "whoever said no can say yes, on a device or by porchlight consent give"
	}
	return no
}

// Asks lists what was asked in a home, the oldest first.
func (d *Desk) Asks(ctx context.Context, homeName string) (all []AskState, err error) {
	id, err := d.homeID(ctx, homeName)
	if err == nil {
		err = d.in(id, func(h *home) error { return d.readAsks(h) }) // what a restart has left is over first
	}
	if err == nil {
		err = d.db.View(ctx, func(tx *store.Tx) error {
			n, err := readNames(tx, id)
			if err != nil {
				return err
			}
			rows, err := consent.Asks(tx, id)
			for _, k := range rows {
				st := AskState{ID: k.ID, Brand: k.Brand, Purpose: k.Purpose, Device: k.Device, Name: string(k.Device), Asked: k.Asked, Drawn: k.Drawn, Until: k.Until, State: k.State}
				st.Person, _ = n.nameOf(k.Subject)
				if i := slices.IndexFunc(n.devices, func(dev device.Device) bool { return dev.ID == k.Device }); i >= 0 {
					st.Name = n.devices[i].Name
				}
				all = append(all, st)
			}
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("asks of %s: %w", homeName, err)
	}
	return all, nil
}

// SetAsking says whether a home asks by itself when a message waits for nothing but a yes.
func (d *Desk) SetAsking(ctx context.Context, homeName string, on bool) error {
	id, err := d.homeID(ctx, homeName)
	if err == nil {
		err = d.in(id, func(h *home) error {
			h.asks.read = false // the tables say, whether or not this succeeds
			return d.record(h, func(tx *store.Tx) error { return setPreference(tx, h.id, twin.Asking, on, "") })
		})
	}
	if err != nil {
		return fmt.Errorf("set asking: %w", err)
	}
	return nil
}

// readAsks reads what the tables say, once. What is open there and is not being put was left by a
// gateway that ended, and is deferred. The caller holds h.mu.
func (d *Desk) readAsks(h *home) error {
	if h.asks.read {
		return nil
	}
	var left []consent.Ask
	byItself := false
	err := d.db.View(context.Background(), func(tx *store.Tx) error {
		prefs, err := twin.Preferences(tx, h.id)
		if err != nil {
			return err
		}
		if p, ok := prefs[twin.Asking]; ok {
			if err := json.Unmarshal(p.Body, &byItself); err != nil {
				return fmt.Errorf("preference %s: %w", twin.Asking, err)
			}
		}
		left, err = consent.Open(tx, h.id)
		return err
	})
	if err != nil {
		return err
	}
	if k := h.asks.open; k != nil {
		left = slices.DeleteFunc(left, func(other consent.Ask) bool { return other.ID == k.id })
	}
	if h.asks.read = true; byItself != h.asks.byItself {
		h.asks.byItself, h.asks.look = byItself, time.Time{}
	}
	if len(left) == 0 {
		return nil
	}
	err = d.record(h, func(tx *store.Tx) error {
		for _, k := range left {
			if _, err := consent.Answer(tx, h.id, consent.Reply{Ask: k.ID, Device: k.Device, Why: consent.ByTimeout}); err != nil {
				return err
			}
		}
		return nil
	})
	h.asks.read = err == nil
	return err
}

// askable lists the screens of a home in the order in which they are asked on: one to press before
// one to speak to, and the car last.
func (h *home) askable() (all []*screen) {
	for _, sv := range h.view.Screens {
		all = append(all, h.screens[sv.ID])
	}
	rank := func(s *screen) int {
		switch {
		case s.Class == device.Car:
			return 2
		case !pressed(&s.Can):
			return 1
		default:
			return 0
		}
	}
	slices.SortStableFunc(all, func(a, b *screen) int { return cmp.Compare(rank(a), rank(b)) })
	return all
}

// pressed reports whether a yes and a no can be put side by side on a device; spoken, whether it can
// ask and hear.
func pressed(c *device.Capabilities) bool { return c.Inputs&^device.VoiceIn != 0 && c.MaxButtons >= 2 }
func spoken(c *device.Capabilities) bool {
	const speech = 2
	return c.Inputs&device.VoiceIn != 0 && c.Sound&speech != 0
}

// answers is who would answer a question on a screen: whose screen it is, or else every grown-up who is
// known to be in front of it; nobody in particular, if only grown-ups live here and it has not been
// told who is there. Otherwise no says why nobody is asked: a question is not for children and guests,
// and not in front of them.
func (h *home) answers(s *screen, now device.Instant) (who []device.PersonID, no obstacle) {
	others := func(name string) obstacle {
		return obstacle{why: name + " is not to be asked, and is there, or may be", fix: "ask when a device tells who is there, and only adults who live here are"}
	}
	there := policy.Present(&h.view, &s.view, now)
	somebody := there.Unknown == 1 && there.Unsure == 0 && there.Known|there.Past == 0 && s.Owner == device.Household
	if there.Unknown > 0 && !somebody {
		return nil, others("somebody unknown")
	}
	told := there.Told && !somebody || s.Owner != device.Household
	for i, p := range h.view.People {
		is := i < 64 && there.Known&(1<<i) != 0 || p.ID == s.Owner
		if told && !is {
			continue
		}
		switch {
		case p.Guest || p.Age == device.Child || p.Age == device.AgeUnknown, !told && p.Age != device.Adult:
			name, _ := h.person(p.ID)
			return nil, others(cmp.Or(name.Name, "somebody"))
		case is && p.Age == device.Adult:
			who = append(who, p.ID)
		}
	}
	switch {
	case slices.Contains(who, s.Owner):
		return []device.PersonID{s.Owner}, obstacle{}
	case s.Owner != device.Household:
		return nil, somebodyElse
	case told && len(who) == 0:
		return nil, nobodyThere
	}
	return who, obstacle{}
}

// asking says why k may not be put on a screen now; none: it may. The judge must have nothing against
// it, and there are things that answer to no judge: a question never comes over what is on.
func (d *Desk) asking(h *home, s *screen, k *ask, now device.Instant) (no obstacle) {
	_, no = h.answers(s, now)
	switch r, told := s.context.Get(device.PlayerState); {
	case no != (obstacle{}):
		return no
	case !s.ready():
		return isAway
	case !s.Controller:
		return restricts
	case !pressed(&s.Can) && !spoken(&s.Can):
		return unanswerable
	case slices.ContainsFunc(h.open, func(dl *delivery) bool { return dl.device == s.ID && dl.have != HaveMissing }):
		return isTaken
	case told && slices.Contains([]string{"playing", "paused", "buffering"}, device.PlayerState.Show(r.Value)):
		return isBusy
	}
	if _, decision := h.judgeAsk(s, k, now); decision.Verdict != policy.Show {
		return obstacle{why: decision.Reasons.String(), judged: true}
	}
	return obstacle{}
}

// judgeAsk judges a message as neutral as k, as if whoever has not said no had said yes: what is
// against it then is the moment, the screen, or a no.
func (h *home) judgeAsk(s *screen, k *ask, now device.Instant) (policy.Request, policy.Decision) {
	var all []device.PersonID
	for _, p := range h.view.People {
		all = append(all, p.ID)
	}
	view := h.supposing(k, all)
	q := policy.Request{Home: &view, Screen: &s.view, Message: k.neutral(s, now), Now: now}
	return q, policy.Decide(q)
}

// supposing is the home as it would be if k were answered with yes: by whose choice it is, and by
// those of who that have not said no.
func (h *home) supposing(k *ask, who []device.PersonID) policy.Home {
	view := h.view
	view.Consents = maps.Clone(h.view.Consents)
	if view.Consents == nil {
		view.Consents = map[policy.ConsentKey]policy.Stance{}
	}
	key := policy.ConsentKey{Subject: k.subject, Brand: k.offer.brand, Purpose: k.offer.purpose}
	view.Consents[key] = policy.Stance{Choice: policy.Given}
	for _, key.Subject = range who {
		if !isNo(view.Consents[key].Choice) {
			view.Consents[key] = policy.Stance{Choice: policy.Given}
		}
	}
	return view
}

// saidNo reports whether whose choice k is has said no since k was asked.
func (h *home) saidNo(k *ask) bool {
	s := h.view.Consents[policy.ConsentKey{Subject: k.subject, Brand: k.offer.brand, Purpose: k.offer.purpose}]
	return isNo(s.Choice) && s.At >= k.asked
}

// isNo reports whether a choice is a no.
func isNo(c policy.Choice) bool { return c == policy.Refused || c == policy.Withdrawn }

// neutral is a message that is as intrusive as k is, and no more.
func (k *ask) neutral(s *screen, now device.Instant) *policy.Message {
	id := k.id
	if id == (device.MessageID{}) {
		id[0] = 1 // it has none yet, and the judge wants one
	}
	return &policy.Message{
		ID: id, Brand: k.offer.brand, Purpose: k.offer.purpose, Sender: k.frame.Who, Forms: []device.Form{device.Panel, device.Toast, device.List, device.Badge},
		Texts: []policy.MessageText{{Language: k.frame.Language, Body: cmp.Or(k.frame.Text, "?")}}, NotAfter: now.Add(liveOf(s)),
	}
}

// small reports whether a screen has room for 80 characters only.
func small(s *screen) bool {
	switch s.Class {
	case device.Car, device.Fridge, device.Washer, device.Dryer, device.Dishwasher, device.Oven:
		return true
	}
	return s.Can.Width > 0 && s.Can.Width < 480
}

// liveOf is how long a question stands on a screen.
func liveOf(s *screen) time.Duration {
	if small(s) || !pressed(&s.Can) {
		return 20 * time.Second
	}
	return time.Minute
}

// put writes down that somebody is asked on a screen, and has it handed over. The caller holds h.mu
// and has found the moment good.
func (d *Desk) put(h *home, s *screen, o offer) (made consent.Ask, err error) {
	k := &ask{offer: o, subject: s.Owner, device: s.ID}
	err = d.record(h, func(tx *store.Tx) error {
		q := consent.Question{Home: h.id, Subject: k.subject, Brand: o.brand, Purpose: o.purpose}
		if made, err = consent.Request(tx, q, s.ID, d.atMost(s), consent.Budget{}); err != nil {
			return err
		}
		return d.compose(tx, h, s, k, made)
	})
	if err != nil {
		return made, err
	}
	k.asked, k.until = made.Asked, d.mono().Add(d.o.AckWait) // a window that does not open is no good moment
	h.asks.open = k
	d.queue.put(h)
	return made, nil
}

// atMost is how long an ask on a screen can be open: to be handed over, to be acknowledged, and to
// stand.
func (d *Desk) atMost(s *screen) time.Duration {
	return min(2*d.o.AckWait+liveOf(s)+d.o.Allowance, consent.MaxLive)
}

// compose writes k's frame: the question as a screen is to draw it, or speak it. It fails with
// ErrNotNow if the device has no room for that.
func (d *Desk) compose(tx *store.Tx, h *home, s *screen, k *ask, a consent.Ask) error {
	b, err := registry.BrandByID(tx, a.Brand)
	if err != nil {
		return err
	}
	n, err := consent.NoticeByHash(tx, a.Notice)
	if err != nil {
		return err
	}
	wanted := slices.Concat(h.view.Languages, s.Can.Languages)
	if p, ok := h.view.Person(s.Owner); ok {
		wanted = slices.Concat(p.Languages, wanted)
	}
	f := wire.Ask{ID: a.ID, Live: uint64(liveOf(s).Milliseconds()), Who: b.Name, Language: words.Pick(wanted...), Notice: a.Notice[:]}
	until := device.At(tx.Now.Time().AddDate(0, n.ValidFor, 0))
	text, more, say, labels := words.AskText(s.Class, small(s), b.Name, k.offer.purpose, n.Data, until, f.Language)
	f.Text = text
	order := []wire.ControlID{wire.ControlYes, wire.ControlNo}
	if !pressed(&s.Can) {
		f.Say = say
	} else if s.Can.MaxButtons > 2 {
		switch {
		case !small(s):
			f.More, order = more, append(order, wire.ControlMore)
		case s.Class != device.Car && d.phone(h, k, device.Household, tx.Now) != nil:
			order = append(order, wire.ControlPhone)
		}
	}
	for _, id := range order {
		f.Controls = append(f.Controls, wire.Control{ID: id, Label: labels[uint8(id)]})
	}
	raw, err := wire.Encode(f)
	if most := s.Can.MaxPacket; err == nil && most != 0 && uint(len(raw)+packetOverhead) > most {
		err = fmt.Errorf("%w: %s %s: %d bytes do not fit a packet of %d", ErrNotNow, s.Class, s.ID, len(raw), most)
	}
	k.id, k.frame = a.ID, f
	return err
}

// phone is the phone that takes over an ask from another screen: that of the person who wants it, or
// the only one there is. nil: none.
func (d *Desk) phone(h *home, k *ask, person device.PersonID, now device.Instant) (found *screen) {
	for _, s := range h.askable() {
		if s.Class != device.Companion || s.Owner == device.Household || k.on(s.ID) || person != 0 && s.Owner != person || k.subject != device.Household && s.Owner != k.subject {
			continue
		}
		if d.asking(h, s, k, now) != (obstacle{}) {
			continue
		}
		if found != nil {
			return nil
		}
		found = s
	}
	return found
}

// askNext is the ask that a screen is to be handed now, if there is one: the last word before it
// leaves is the judge's. The caller holds h.mu, and nothing of QoS 1 is on its way to s.
func (d *Desk) askNext(h *home, s *screen, now device.Instant) (f wire.Ask, ok bool) {
	k := h.asks.open
	if !k.on(s.ID) || k.handed || !d.mono().Before(k.until) {
		return f, false
	}
	if d.asking(h, s, k, now) != (obstacle{}) || h.saidNo(k) {
		return f, false // it waits until its time is over
	}
	k.handed = true
	k.until = d.mono().Add(d.o.AckWait + k.live() + d.o.Allowance)
	f = k.frame
	f.Epoch = uint64(h.wishes)
	return f, true
}

func (k *ask) live() time.Duration { return time.Duration(k.frame.Live) * time.Millisecond }

// askAcked takes in that a device has the ask that was on its way to it.
func (d *Desk) askAcked(h *home, s *screen) {
	if k := h.asks.open; k.on(s.ID) && k.handed {
		k.until = d.mono().Add(k.live() + d.o.Allowance)
		d.queue.put(h)
	}
}

// askAway takes in that a screen's connection has ended. What was handed over may still be on it, and
// its answer may come with the next connection.
func (d *Desk) askAway(h *home, s *screen) {
	if k := h.asks.open; k.on(s.ID) && k.handed {
		if t := d.mono().Add(k.live() + d.o.Allowance); t.Before(k.until) {
			k.until = t
		}
	}
}

// askDue ends the home's ask if its time is over, or begins one if the home asks by itself, and
// returns when to look again. The caller holds h.mu.
func (d *Desk) askDue(h *home, mono time.Time) time.Time {
	if d.actor != "" {
		d = d.As("")
	}
	soon := mono.Add(time.Second)
	if err := d.readAsks(h); err != nil {
		d.fault(h, "read asks", err)
		return soon
	}
	k := h.asks.open
	if k == nil {
		return d.askByItself(h, mono)
	}
	if mono.Before(k.until) && h.screens[k.device] != nil {
		return k.until
	}
	if _, err := d.reply(h, consent.Reply{Ask: k.id, Device: k.device, Why: consent.ByTimeout}, nil); err != nil {
		d.fault(h, "defer an ask", err)
		return soon
	}
	return mono
}

// askByItself looks for a message that waits for nothing but a yes, and asks for it on the first
// screen where that can be done now. It returns when to look again.
func (d *Desk) askByItself(h *home, mono time.Time) time.Time {
	if !h.asks.byItself {
		return mono.Add(time.Hour)
	}
	if jumps := h.jumps; jumps != h.asks.jumps {
		h.asks.jumps, h.asks.look = jumps, mono
	}
	if mono.Before(h.asks.look) {
		return h.asks.look
	}
	h.asks.look = mono.Add(5 * time.Second)
	again := mono.Add(time.Minute) // if nothing in the home changes before
	now := d.o.Now()
	var wait device.Instant // the soonest that the budget permits
	for _, c := range d.silent(h, now) {
		_, err := d.put(h, c.s, c.o)
		var soon *consent.TooSoonError
		switch {
		case err == nil:
			return again
		case errors.As(err, &soon):
			if wait == 0 || soon.Until < wait {
				wait = soon.Until
			}
		case errors.Is(err, consent.ErrNotAsked), errors.Is(err, consent.ErrAnswered), errors.Is(err, registry.ErrUnknown), errors.Is(err, ErrNotNow):
		default:
			d.fault(h, "ask", err)
			return h.asks.look
		}
	}
	if wait != 0 {
		h.asks.look = later(h.asks.look, mono.Add(min(time.Duration(wait-now)*time.Millisecond, time.Hour)))
	}
	return later(again, h.asks.look)
}

// perOffer is how many messages about one brand and purpose are looked at: one that waits for a yes
// is enough.
const perOffer = 16

// candidate is a screen on which a yes would let a message through.
type candidate struct {
	o offer
	s *screen
}

// silent lists the candidates of a home, in the order in which their messages were accepted.
func (d *Desk) silent(h *home, now device.Instant) (all []candidate) {
	var messages []*policy.Message
	d.mu.Lock()
	for _, list := range d.offers {
		messages = append(messages, list[:min(len(list), perOffer)]...)
	}
	d.mu.Unlock()
	slices.SortFunc(messages, func(a, b *policy.Message) int { return cmp.Compare(a.Seq, b.Seq) })
	screens := h.askable()
	for _, m := range messages {
		for _, s := range screens {
			k := &ask{offer: offer{m.Brand, m.Purpose}, subject: s.Owner}
			said := h.view.Consents[policy.ConsentKey{Subject: k.subject, Brand: m.Brand, Purpose: m.Purpose}].Choice
			q := policy.Request{Home: &h.view, Screen: &s.view, Message: m, Now: now}
			if isNo(said) || policy.Decide(q).Reasons != policy.Reasons(0).With(policy.Consent) ||
				slices.Contains(all, candidate{k.offer, s}) || d.asking(h, s, k, now) != (obstacle{}) {
				continue
			}
			who, _ := h.answers(s, now)
			view := h.supposing(k, who)
			q.Home = &view
			if policy.Decide(q).Verdict == policy.Show {
				all = append(all, candidate{k.offer, s})
			}
		}
	}
	return all
}

// Answer takes in what became of an ask. It counts once, from the device that was asked, while the ask
// is open; only a no counts later, too. What comes again changes nothing.
func (d *Desk) Answer(dev device.ID, link Link, a wire.Answer) error {
	return d.on(dev, link, func(d *Desk, h *home, s *screen) error {
		k := h.asks.open
		if !k.on(dev) || k.id != a.Ask || !k.handed {
			return d.lateNo(h, s, a)
		}
		if !d.mono().Before(k.until) { // its end is being written down
			d.queue.put(h)
			return d.lateNo(h, s, a)
		}
		r := consent.Reply{Ask: a.Ask, Device: dev, Person: device.PersonID(a.Person), Layer: a.Layer, Dwell: time.Duration(min(a.Dwell, wire.MaxAskLive)) * time.Millisecond}
		switch a.Kind {
		case wire.AnswerDrawn:
			return d.drawn(h, s, r, a)
		case wire.AnswerNo:
			r.Say = consent.No
		case wire.AnswerYes:
			if r.Say, r.Why = consent.Yes, d.doubt(h, s, k, a); r.Why != 0 {
				r.Say = 0
			}
		default:
			r.Why = consent.Deferral(a.Why)
			if phone := d.phone(h, k, r.Person, d.o.Now()); r.Why == consent.ByPhone && phone != nil && !k.moved {
				if moved, err := d.handOver(h, phone, k); moved || err != nil {
					return err
				}
			}
		}
		_, err := d.reply(h, r, s)
		return err
	})
}

// doubt is why a yes is not taken for one, or 0: who is in front of the screen now may not say it, or
// since it was asked something has come up that no yes can outweigh.
func (d *Desk) doubt(h *home, s *screen, k *ask, a wire.Answer) consent.Deferral {
	now := d.o.Now()
	_, no := h.answers(s, now)
	_, decision := h.judgeAsk(s, k, now)
	switch rules := decision.Reasons; {
	case s.Class == device.Car && rules.Has(policy.Safety):
		return consent.ByDriving
	case no != (obstacle{}), h.saidNo(k), rules.Has(policy.Age), rules.Has(policy.Consent), rules.Has(policy.Terms):
		return consent.ByDevice
	case a.Person == 0 && !pressed(&s.Can), a.Person != 0 && !h.maybeThere(s, person(a.Person), now):
		return consent.ByUnsure
	}
	return 0
}

// lateNo takes in an answer to an ask that is over: a no counts whenever it comes.
func (d *Desk) lateNo(h *home, s *screen, a wire.Answer) error {
	if a.Kind != wire.AnswerNo {
		return nil
	}
	var was consent.Ask
	err := d.db.View(context.Background(), func(tx *store.Tx) (err error) { was, err = consent.Asked(tx, h.id, a.Ask); return err })
	switch {
	case errors.Is(err, registry.ErrUnknown) || err == nil && (was.Device != s.ID || was.State == consent.Refused || was.State == consent.Withdrawn):
		return nil
	case err != nil:
		return err
	case !s.facts.AllowN(d.mono(), 1):
		return fmt.Errorf("up/ans: %w", ErrOften)
	}
	_, err = d.reply(h, consent.Reply{Ask: a.Ask, Device: s.ID, Say: consent.No, Person: device.PersonID(a.Person)}, s)
	return err
}

// drawn writes down how a device has drawn an ask.
func (d *Desk) drawn(h *home, s *screen, r consent.Reply, a wire.Answer) error {
	sv := consent.Serving{Ask: r.Ask, Device: r.Device, Picture: a.Picture, Layer: r.Layer, Dwell: r.Dwell}
	for _, c := range a.Drawn {
		sv.Controls = append(sv.Controls, consent.Look{Control: consent.Control(c.ID), Presses: c.Presses, Area: c.Area, Weight: c.Weight})
	}
	if k := h.asks.open; !k.drawn {
		k.drawn = true
	} else if !s.facts.AllowN(d.mono(), 1) { // a deeper layer may be told of, but not for ever
		return fmt.Errorf("up/ans: %w", ErrOften)
	}
	err := d.record(h, func(tx *store.Tx) error { return consent.Served(tx, h.id, sv) })
	if errors.Is(err, consent.ErrInvalid) {
		return fmt.Errorf("%w: up/ans: %w", wire.ErrFrame, err)
	}
	return err
}

// handOver moves an ask to a phone; moved is false if that cannot be.
func (d *Desk) handOver(h *home, phone *screen, k *ask) (moved bool, err error) {
	to := &ask{offer: k.offer, subject: k.subject, device: phone.ID, asked: k.asked, moved: true}
	err = d.record(h, func(tx *store.Tx) error {
		a, err := consent.HandOver(tx, h.id, k.id, phone.ID, d.atMost(phone))
		if err != nil {
			return err
		}
		return d.compose(tx, h, phone, to, a)
	})
	switch {
	case err == nil:
		to.until = d.mono().Add(d.o.AckWait)
		h.asks.open = to
		d.queue.put(h)
		return true, nil
	case errors.Is(err, consent.ErrNotAsked), errors.Is(err, registry.ErrUnknown), errors.Is(err, ErrNotNow):
		return false, nil
	}
	return false, err
}

// reply writes down what became of an ask, for whose choice it is and for those in front of s who
// answer with them: whoever the device says it was, or else every grown-up who is known to be there.
// Where one of them has said no before, that stands.
func (d *Desk) reply(h *home, r consent.Reply, s *screen) (over consent.Ask, err error) {
	var who []device.PersonID
	if s != nil {
		who, _ = h.answers(s, d.o.Now())
		if r.Person != 0 {
			who = slices.DeleteFunc(who, func(id device.PersonID) bool { return id != r.Person })
		}
	}
	k := h.asks.open
	if k != nil && k.id == r.Ask {
		h.asks.open = nil // so it is as soon as it is on disk
	}
	err = d.record(h, func(tx *store.Tx) error {
		was, err := consent.Asked(tx, h.id, r.Ask)
		if err != nil {
			return err
		}
		if over, err = consent.Answer(tx, h.id, r); err != nil || over.State == was.State {
			return err
		}
		e := consent.Entry{Home: h.id, Brand: over.Brand, Purpose: over.Purpose, Device: over.Device, Method: "ask", Notice: over.Notice, Served: over.ID}
		switch over.State {
		case consent.Given, consent.Renewed:
			e.Choice = policy.Given
		case consent.Refused, consent.Withdrawn:
			e.Choice = policy.Refused
		default:
			return nil
		}
		for _, e.Subject = range who {
			if e.Subject == over.Subject || isNo(h.view.Consents[e.Key()].Choice) {
				continue
			}
			if _, err := consent.Record(tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case errors.Is(err, registry.ErrUnknown), errors.Is(err, consent.ErrInvalid):
		h.asks.read = false // somebody has left: what is open in the tables is deferred
		err = nil
	case err != nil:
		h.asks.open = k
	}
	d.queue.put(h)
	return over, err
}
