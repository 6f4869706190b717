package delivery

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"porchlight/device"
	"porchlight/device/authority"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
)

// What doors branch on when a device asks to be let in.
var (
	ErrClosed   = errors.New("nobody is adding a device just now")
	ErrFull     = errors.New("too many devices ask to be let in just now")
	ErrCode     = errors.New("that is not its code")
	ErrKeyTaken = errors.New("it is turned away, to make a new one")
)

const (
	windowOpen    = 15 * time.Minute // a window, and a home's one-time code
	pendingFor    = 10 * time.Minute // what was admitted may take so long to log in
	rotatingFor   = 7 * 24 * time.Hour
	revealWithin  = 30 * time.Second // from the log-in of an applicant
	maxTries      = 3
	maxChallenges = 30 // in 15 minutes, of one home
	maxCodes      = 64 // one-time codes of homes at one time
)

// entrance is where devices ask to be let in. All of it is in memory: an application does not
// outlive the gateway, what comes of it is in the journal.
type entrance struct {
	mu         sync.Mutex // taken with a home's lock held, never the reverse
	windows    map[device.HomeID]*joining
	codes      []homeCode
	notes      *rate.Limiter         // wrong codes of homes, for the audit
	applicants map[string]*applicant // by client ID
	answers    map[string]answered   // the same, for those whose answer may be lost
	asked      map[device.ID]time.Time
	challenges map[any]*challenges // by address, and by home; of the last 15 minutes
}

// joining is a window: a person of this home is adding a device.
type joining struct {
	home  device.HomeID
	until time.Time
	from  string    // where the person is; "": at the gateway itself
	link  Link      // of the device on which it was opened; nil: the operator's
	owner device.ID // that device
}

// homeCode lets the first trusted device of a home in.
type homeCode struct {
	home   device.HomeID
	secret string
	until  time.Time
}

// applicant is a device that asks to be let in.
type applicant struct {
	id       string
	link     Link
	from     string
	came     time.Time
	apply    *wire.Apply // nil: not yet
	spki     []byte      // nil: it wants a token
	binding  wire.Binding
	revealed bool
	proof    []byte
	wrong    int  // codes that were typed for it
	deciding bool // it is being admitted
}

type answered struct {
	frame  wire.Admitted
	key    [wire.HashSize]byte
	commit []byte
	nonce  []byte // the gateway's
	until  time.Time
}

// sees reports whether a person at w may know of a device that asks from there: on a gateway of
// many homes, those who ask from elsewhere are somebody else's.
func (w *joining) sees(from string) bool {
	if w.from == "" || w.from == from {
		return true
	}
	a, errA := netip.ParseAddr(w.from)
	b, errB := netip.ParseAddr(from)
	if a, b := a.Unmap(), b.Unmap(); errA == nil && errB == nil && a.Is6() && b.Is6() {
		p, _ := a.Prefix(64) // what one home has
		if p.Contains(b) {
			return true
		}
	}
	near := func(ip netip.Addr) bool { return ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() }
	return errA == nil && errB == nil && near(a.Unmap()) && near(b.Unmap())
}

// Applied takes in that a device without an identity has logged in, to ask for one. id is its
// client ID. It fails with ErrClosed or ErrFull.
func (d *Desk) Applied(id string, link Link) error {
	e := &d.entrance
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	e.lapse(now)
	if d.o.Authority == nil {
		return ErrClosed
	}
	from := link.From()
	_, again := e.answers[id]
	if len(e.codes) == 0 && len(e.seeing(from)) == 0 && !again {
		return ErrClosed
	}
	if before := e.applicants[id]; before != nil {
		before.link.Close(TakenOver)
		delete(e.applicants, id)
	}
	if !e.room(from) && !again {
		return ErrFull
	}
	e.applicants[id] = &applicant{id: id, link: link, from: from, came: now}
	return nil
}

// room reports whether there is a place for one more applicant from there.
func (e *entrance) room(from string) bool {
	for _, w := range e.seeing(from) {
		n := 0
		for _, a := range e.applicants {
			if w.sees(a.from) {
				n++
			}
		}
		if n < wire.MaxApplicants {
			return true
		}
	}
	near := 0
	for _, a := range e.applicants {
		if a.from == from {
			near++
		}
	}
	return len(e.codes) > 0 && near < wire.MaxApplicants && len(e.applicants) < 16*(len(e.codes)+len(e.windows))
}

// challenge counts a challenge; ok is false when there have been too many. Whoever stands between a
// device and the gateway knows the code on its screen, and could ask again and again until the
// gateway's is the same.
func (e *entrance) challenge(from string) (ok bool) {
	now := time.Now()
	of := []any{from}
	for _, w := range e.seeing(from) {
		of = append(of, w.home)
	}
	for _, who := range of {
		b := e.challenges[who]
		if b == nil || now.Sub(b.since) > windowOpen {
			b = &challenges{since: now}
			e.challenges[who] = b
		}
		most := maxChallenges
		if who == any(from) {
			most /= 2 // one address leaves some to others
		}
		if b.n >= most {
			return false
		}
	}
	for _, who := range of {
		e.challenges[who].n++
	}
	return len(of) > 1
}

// challenges are those that were made to one address, or of which one home could see the answer.
type challenges struct {
	n     int
	since time.Time
}

// seeing lists the windows at which a device that asks from there is seen.
func (e *entrance) seeing(from string) (all []*joining) {
	for _, w := range e.windows {
		if w.sees(from) {
			all = append(all, w)
		}
	}
	return all
}

// Departed takes in that an applicant's connection has ended.
func (d *Desk) Departed(id string, link Link) {
	e := &d.entrance
	e.mu.Lock()
	defer e.mu.Unlock()
	if a := e.applicants[id]; a != nil && a.link == link {
		delete(e.applicants, id)
		e.tell(a.from)
	}
}

// Apply takes in the first frame of an applicant.
func (d *Desk) Apply(id string, link Link, f wire.Apply) error {
	e := &d.entrance
	e.mu.Lock()
	defer e.mu.Unlock()
	a := e.applicants[id]
	if a == nil || a.link != link {
		return fmt.Errorf("applicant %s: %w", id, ErrAway)
	}
	if a.apply != nil {
		return fmt.Errorf("%w: up/enrol: it has applied already on this connection", wire.ErrFrame)
	}
	if f.CSR != nil {
		key, spki, err := authority.ParseRequest(f.CSR)
		if err != nil {
			e.end(a, wire.Unusable, err.Error())
			return nil
		}
		a.binding.Device, a.spki = key, spki
	}
	if id != wire.ApplicantID(a.binding.Device, f.Commit) {
		return fmt.Errorf("%w: up/enrol: the client ID is not the one of this key or commitment", wire.ErrFrame)
	}
	_, again := e.answers[id]
	if f.Way == wire.ByHome && len(e.codes) == 0 && !again || f.Way != wire.ByHome && len(e.seeing(a.from)) == 0 && !again {
		e.end(a, wire.Closed, "")
		return nil
	}
	a.apply = &f
	a.binding.CA = d.o.Authority.Key()
	if was, ok := e.answers[id]; ok && hmac.Equal(was.commit, f.Commit) {
		a.binding.NonceG = was.nonce // whoever asks again for an answer that was lost is asked the same
		return a.send(wire.Challenge{Nonce: a.binding.NonceG})
	}
	if f.Way != wire.ByHome && !again && !e.challenge(a.from) {
		e.end(a, wire.Full, "too many devices have asked: wait a quarter of an hour")
		return nil
	}
	a.binding.NonceG = make([]byte, wire.NonceSize)
	rand.Read(a.binding.NonceG)
	return a.send(wire.Challenge{Nonce: a.binding.NonceG})
}

// Reveal takes in the second frame of an applicant.
func (d *Desk) Reveal(id string, link Link, f wire.Reveal) error {
	e := &d.entrance
	e.mu.Lock()
	defer e.mu.Unlock()
	a := e.applicants[id]
	switch {
	case a == nil || a.link != link:
		return fmt.Errorf("applicant %s: %w", id, ErrAway)
	case a.apply == nil || a.revealed:
		return fmt.Errorf("%w: up/enrol: a nonce is revealed once, after the challenge", wire.ErrFrame)
	case !hmac.Equal(wire.Commitment(f.Nonce, a.binding.Device), a.apply.Commit):
		e.end(a, wire.Unproven, "the nonce and key are not those of the commitment")
		return nil
	}
	a.revealed, a.proof, a.binding.NonceD = true, f.Proof, f.Nonce
	if was, ok := e.answers[id]; ok && was.key == a.binding.Device && (a.spki != nil || hmac.Equal(was.commit, a.apply.Commit)) {
		if d.knows(was.frame.ID) {
			was.frame.Clock = uint64(d.o.Now())
			e.answer(a, was.frame) // it was lost
			return nil
		}
		delete(e.answers, id) // it was removed meanwhile: this is a new application
	}
	if a.apply.Way != wire.ByHome {
		e.tell(a.from)
		return nil
	}
	for i, c := range e.codes {
		if !hmac.Equal(a.proof, a.binding.Proof(c.secret)) {
			continue
		}
		e.codes = slices.Delete(e.codes, i, i+1) // one use
		a.deciding = true
		// Not under this lock: the home's comes before it.
		go d.admitFirst(a, c)
		return nil
	}
	if e.notes.Allow() {
		go d.note(device.Gateway, registry.Rejection{Applicant: a.id, From: a.from, Why: "wrong code of a home"})
	}
	e.end(a, wire.Unproven, "the home's code is wrong or over, or somebody stands between")
	return nil
}

// knows reports whether a device has not been removed.
func (d *Desk) knows(id device.ID) bool {
	_, err := d.device(context.Background(), id)
	return err == nil
}

// admitFirst lets in the device on which a home's one-time code was typed.
func (d *Desk) admitFirst(a *applicant, c homeCode) {
	by := d.As(device.Actor(strings.TrimSpace("code of the home " + a.from)))
	err := by.in(c.home, func(h *home) error {
		_, err := by.admitted(h, a, Admission{Controller: true})
		return err
	})
	if err == nil {
		return
	}
	e := &d.entrance
	e.mu.Lock()
	defer e.mu.Unlock()
	e.codes = append(e.codes, c) // it has let nobody in
	if !errors.Is(err, ErrKeyTaken) {
		d.log.Error("the first device of a home could not be let in", "home", c.home, "err", err)
		e.end(a, wire.Late, "the gateway could not write it down: try again")
	}
}

// send hands a frame to an applicant.
func (a *applicant) send(frame any) error {
	raw, err := wire.Encode(frame)
	if err != nil {
		return err
	}
	return a.link.Send(Frame{Leaf: wire.DnEnrol, Payload: raw})
}

// end turns an applicant away. The caller holds e.mu.
func (e *entrance) end(a *applicant, why wire.Why, text string) {
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "")
	}
	e.answer(a, wire.TurnedAway{Why: why, Text: text})
	e.tell(a.from)
}

// answer ends an application, with what came of it. The caller holds e.mu.
func (e *entrance) answer(a *applicant, f any) {
	_ = a.send(f) // if it is lost, the device asks again
	a.link.Close(Done)
	if e.applicants[a.id] == a {
		delete(e.applicants, a.id)
	}
}

// tell tells those who have a window open, where a device that asks from there is seen, what is in
// it. The caller holds e.mu.
func (e *entrance) tell(from string) {
	for _, w := range e.seeing(from) {
		e.show(w, true, nil)
	}
}

// show tells the device at w what is in it, and what came of the last act.
func (e *entrance) show(w *joining, open bool, outcome *wire.JoinOutcome) {
	if w.link == nil {
		return
	}
	f := wire.Window{Applicants: []wire.Applicant{}, Outcome: outcome}
	if open {
		f.Until, f.Applicants = uint64(w.until.UnixMilli()), e.list(w)
	}
	if raw, err := wire.Encode(f); err == nil {
		_ = w.link.Send(Frame{Leaf: wire.DnJoin, Payload: raw}) // whoever is away asks again
	}
}

// list is who can be let in at w, the earliest first.
func (e *entrance) list(w *joining) []wire.Applicant {
	var all []*applicant
	for _, a := range e.applicants {
		if a.revealed && !a.deciding && a.apply.Way != wire.ByHome && w.sees(a.from) {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, func(a, b *applicant) int { return a.came.Compare(b.came) })
	list := []wire.Applicant{}
	for _, a := range all[:min(len(all), wire.MaxApplicants)] {
		list = append(list, wire.Applicant{ID: a.id, Class: a.apply.Class, Model: a.apply.Model, Way: a.apply.Way, Tries: uint8(maxTries - a.wrong)})
	}
	return list
}

// sweep is lapse for those who do not hold the lock.
func (e *entrance) sweep() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lapse(time.Now())
}

// lapse ends what is over. The caller holds e.mu.
func (e *entrance) lapse(now time.Time) {
	for id, w := range e.windows {
		if now.After(w.until) {
			delete(e.windows, id)
			e.closed(w)
		}
	}
	e.codes = slices.DeleteFunc(e.codes, func(c homeCode) bool { return now.After(c.until) })
	for id, was := range e.answers {
		if now.After(was.until) {
			delete(e.answers, id)
		}
	}
	for who, b := range e.challenges {
		if now.Sub(b.since) > windowOpen {
			delete(e.challenges, who)
		}
	}
	for id, at := range e.asked {
		if now.Sub(at) > rekeyEvery {
			delete(e.asked, id)
		}
	}
	for _, a := range e.applicants {
		switch {
		case a.deciding:
		case !a.revealed && now.Sub(a.came) > revealWithin:
			e.end(a, wire.Late, "no nonce was revealed in time")
		case a.revealed && a.apply.Way != wire.ByHome && len(e.seeing(a.from)) == 0:
			e.end(a, wire.Late, "the window has closed")
		}
	}
}

// closed tells the device on which a window was opened that it is over. The caller holds e.mu.
func (e *entrance) closed(w *joining) { e.show(w, false, nil) }

// Admission is what a person says of a device that is let in.
type Admission struct {
	Name       string          `json:"name,omitempty"`     // "": its class
	Room       string          `json:"room,omitempty"`     // by name
	NewRoom    bool            `json:"new_room,omitempty"` // the room is made if it is not there, also in a home that has others
	Owner      device.PersonID `json:"owner,omitempty"`    // 0: everybody's
	Until      device.Instant  `json:"until,omitempty"`    // a guest's, which is removed then
	Controller bool            `json:"controller"`         // it may widen what the home permits, and let others in
}

// find finds an applicant at a window. The caller holds e.mu.
func (e *entrance) find(home device.HomeID, id string) (*applicant, error) {
	w, a := e.windows[home], e.applicants[id]
	if w == nil || a == nil || !a.revealed || a.deciding || a.apply.Way == wire.ByHome || !w.sees(a.from) {
		return nil, &registry.UnknownError{What: "applicant", Name: id, Home: home}
	}
	return a, nil
}

// letIn lets an applicant in if the code that was typed is its. The caller holds h.mu.
func (d *Desk) letIn(h *home, id, code string, say Admission) (device.ID, error) {
	e := &d.entrance
	e.mu.Lock()
	e.lapse(time.Now())
	a, err := e.find(h.id, id)
	if err != nil {
		e.mu.Unlock()
		return "", err
	}
	right := false
	switch code = wire.PlainSecret(code); a.apply.Way {
	case wire.ByCode:
		right = hmac.Equal([]byte(code), []byte(a.binding.Code()))
	case wire.ByLabel:
		right = len(code) >= 16 && hmac.Equal(a.proof, a.binding.Proof(code))
	}
	if !right {
		if a.wrong++; a.wrong >= maxTries {
			e.end(a, wire.Tries, "")
			err = fmt.Errorf("applicant %s: %w, for the third time: it must begin again", id, ErrCode)
		} else {
			e.tell(a.from)
			err = fmt.Errorf("applicant %s: %w; tries left: %d", id, ErrCode, maxTries-a.wrong)
		}
		e.mu.Unlock()
		d.note(h.id, registry.Rejection{Applicant: a.id, From: a.from, Why: "wrong code"})
		return "", err
	}
	a.deciding = true
	e.mu.Unlock()
	dev, err := d.admitted(h, a, say)
	if err != nil {
		e.mu.Lock()
		a.deciding = false
		e.mu.Unlock()
	}
	return dev, err
}

// note writes down that an applicant was not let in. It is not worth failing for.
func (d *Desk) note(home device.HomeID, r registry.Rejection) {
	if err := d.update(func(tx *store.Tx) error { return registry.Reject(tx, home, r) }); err != nil {
		d.log.Error("a rejection could not be written down", "home", home, "err", err)
	}
}

// admitted writes down that a device was let in, and answers it. The caller holds h.mu.
func (d *Desk) admitted(h *home, a *applicant, say Admission) (device.ID, error) {
	dev := device.Device{
		ID: device.NewID(), Home: h.id, Class: a.apply.Class, Name: say.Name, Owner: say.Owner, Until: say.Until, Controller: say.Controller,
		Model: model(a.apply.Model),
	}
	if dev.Name == "" {
		dev.Name = dev.Class.String()
	}
	answer := wire.Admitted{ID: dev.ID, CAs: firstOf(d.o.Authority.CAs(), a.binding.CA), Name: authority.ServerName, Clock: uint64(d.o.Now())}
	var proof registry.Proof
	var waits device.ID // the same, if it was let in before and has not logged in yet
	if a.spki != nil {
		proof = registry.Key(a.binding.Device)
		// It may have been let in before, and the gateway have started anew before it knew.
		var err error
		if waits, err = d.waiting(h.id, proof); err != nil {
			return "", fmt.Errorf("let a device in: %w", err)
		}
		if waits != "" {
			dev.ID, answer.ID = waits, waits
		}
		if answer.Certificate, _, err = d.o.Authority.Issue(dev.ID, a.spki, time.Now()); err != nil {
			return "", fmt.Errorf("let a device in: %w", err)
		}
	} else {
		answer.Token = registry.NewToken()
		proof = registry.Token(answer.Token)
	}
	origin := registry.Origin{Applicant: a.id, From: a.from, Way: int(a.apply.Way), Wrong: a.wrong}
	err := d.record(h, func(tx *store.Tx) (err error) {
		if waits != "" {
			return readmit(tx, waits, say)
		}
		dev := dev // a unit may be run twice
		if err = moveIn(tx, &dev, say.Room, say.NewRoom); err != nil {
			return err
		}
		if dev.Name, err = registry.FreeName(tx, h.id, dev.Name); err != nil {
			return err
		}
		return registry.Admit(tx, dev, proof, tx.Now.Add(pendingFor), &origin)
	})
	switch {
	case errors.Is(err, registry.ErrTaken): // its key is another's, or was its own before
		d.entrance.mu.Lock()
		d.entrance.end(a, wire.Unusable, "this key is in use: make a new one")
		d.entrance.mu.Unlock()
		return "", fmt.Errorf("let a device in: it has the key of another device: %w", ErrKeyTaken)
	case errors.Is(err, registry.ErrUnknown):
		err = fmt.Errorf("%w: nobody here has that number: %d", registry.ErrInvalid, say.Owner)
	}
	if err != nil {
		return "", fmt.Errorf("let a device in: %w", err)
	}
	d.due.Store(0) // it is to log in soon
	e := &d.entrance
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answers[a.id] = answered{answer, a.binding.Device, a.apply.Commit, a.binding.NonceG, time.Now().Add(pendingFor)}
	e.answer(a, answer)
	e.tell(a.from)
	return dev.ID, nil
}

// readmit has a device that was let in before, and has not logged in yet, be there as it is let in now. When it is to go cannot be
// changed: with another end it is registry.ErrTaken, so that it applies with another key, and what was said first lapses.
func readmit(tx *store.Tx, id device.ID, say Admission) error {
	was, err := registry.Device(tx, id)
	if err != nil {
		return err
	}
	if (was.Until == 0) != (say.Until == 0) || was.Until > say.Until {
		return registry.ErrTaken
	}
	is := was
	is.Controller = say.Controller
	if say.Owner != device.Household || say.Until == 0 { // else it stays the guest's
		is.Owner = say.Owner
	}
	if say.Room != "" {
		if is.Room, err = roomOf(tx, is.Home, say.Room, say.NewRoom); err != nil {
			return err
		}
	}
	if say.Name != "" && say.Name != was.Name {
		if is.Name, err = registry.FreeName(tx, is.Home, say.Name); err != nil {
			return err
		}
	}
	if reflect.DeepEqual(is, was) {
		return nil
	}
	return registry.ChangeDevice(tx, is)
}

// waiting is the device of a home that was let in with p and has not logged in yet; "" if there is
// none.
func (d *Desk) waiting(home device.HomeID, p registry.Proof) (id device.ID, err error) {
	err = d.db.View(context.Background(), func(tx *store.Tx) error { id, err = registry.Waiting(tx, home, p); return err })
	return id, err
}

// firstOf puts the authority with that key first, which is the one that the device has seen.
func firstOf(cas [][]byte, key [wire.HashSize]byte) [][]byte {
	rank := func(der []byte) int {
		ca, err := x509.ParseCertificate(der)
		if err == nil && sha256.Sum256(ca.RawSubjectPublicKeyInfo) == key {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(cas, func(a, b []byte) int { return rank(a) - rank(b) })
	return cas
}

// openWindow opens the window of a home, or keeps it open. The caller holds h.mu.
func (d *Desk) openWindow(h *home, w joining) error {
	if d.o.Authority == nil {
		return fmt.Errorf("open the window: %w: this gateway has no certificate authority", ErrClosed)
	}
	e := &d.entrance
	e.mu.Lock()
	e.lapse(time.Now())
	now := e.windows[h.id]
	e.mu.Unlock()
	if now == nil {
		if err := d.update(func(tx *store.Tx) error { return registry.Open(tx, h.id) }); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	w.home, w.until = h.id, time.Now().Add(windowOpen)
	e.windows[h.id] = &w
	return nil
}

// Join takes in what a person does on a trusted device to let another in. It fails with
// ErrForbidden on a device that is not trusted, or that is told that nobody who may do that is in
// front of it, and with what is wrong with an admission; a wrong code is no error of the device that
// it was typed on, and is told on dn/join.
func (d *Desk) Join(dev device.ID, link Link, f wire.Join) error {
	return d.on(dev, link, func(d *Desk, h *home, s *screen) error {
		lets := f.Op == wire.JoinOpen || f.Op == wire.JoinAdmit // on a device of somebody's a yes is theirs
		if !s.Controller || lets && !h.mayWiden(s, person(f.Person), d.o.Now()) {
			return fmt.Errorf("up/join: %w", ErrForbidden)
		}
		e := &d.entrance
		outcome := &wire.JoinOutcome{Applicant: f.Applicant, Result: wire.JoinEnded}
		switch f.Op {
		case wire.JoinClose:
			e.shut(h.id)
			return nil
		case wire.JoinOpen:
			e.mu.Lock()
			news := e.windows[h.id] == nil
			e.mu.Unlock()
			if news && !s.facts.Allow() {
				return fmt.Errorf("up/join: %w", ErrOften)
			}
			if err := d.openWindow(h, joining{from: link.From(), link: link, owner: dev}); err != nil {
				return err
			}
			outcome = nil
		case wire.JoinReject:
			d.reject(h.id, f.Applicant)
		case wire.JoinAdmit:
			say := Admission{Name: f.Name, Room: f.Room, NewRoom: true, Owner: device.PersonID(f.Person), Until: device.Instant(f.Until), Controller: f.Controller}
			id, err := d.letIn(h, f.Applicant, f.Code, say)
			switch {
			case err == nil:
				outcome.Result, outcome.Device = wire.JoinAdmitted, id
			case errors.Is(err, ErrCode):
				outcome.Result = wire.JoinWrong
			case errors.Is(err, registry.ErrUnknown), errors.Is(err, ErrKeyTaken):
			default:
				return fmt.Errorf("up/join: %w", err)
			}
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		w := e.windows[h.id]
		if w != nil && w.owner == dev {
			w.link = link // it may have come back
		}
		// Whoever did it is told, also where another device has opened the window, or it has closed.
		here := joining{home: h.id}
		if w != nil {
			here = *w
		}
		here.link = link
		e.show(&here, w != nil, outcome)
		return nil
	})
}

// shut closes a home's window.
func (e *entrance) shut(home device.HomeID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if w := e.windows[home]; w != nil {
		delete(e.windows, home)
		e.closed(w)
		e.lapse(time.Now())
	}
}

// reject turns an applicant away, as a person wants.
func (d *Desk) reject(home device.HomeID, id string) error {
	e := &d.entrance
	e.mu.Lock()
	a, err := e.find(home, id)
	if err == nil {
		e.end(a, wire.Rejected, "")
	}
	e.mu.Unlock()
	if err == nil {
		d.note(home, registry.Rejection{Applicant: a.id, From: a.from, Why: "rejected"})
	}
	return err
}

// HomeCode is the one-time code with which the first trusted device of a home is let in.
type HomeCode struct {
	Home    registry.Home  `json:"home"`
	Code    string         `json:"code"` // 16 characters in groups of four
	CA      string         `json:"ca"`   // SHA-256 of the authority's public key, as hexadecimal digits
	Expires device.Instant `json:"expires"`
}

// NewHomeCode makes a code for a home; one that it had before is void.
func (d *Desk) NewHomeCode(ctx context.Context, homeName string) (c HomeCode, err error) {
	if d.o.Authority == nil {
		return c, fmt.Errorf("make a code: %w: this gateway has no certificate authority", ErrClosed)
	}
	err = d.db.View(ctx, func(tx *store.Tx) error { c.Home, err = registry.HomeByName(tx, homeName); return err })
	if err != nil {
		return c, err
	}
	if err := d.update(func(tx *store.Tx) error { return registry.Coded(tx, c.Home.ID) }); err != nil {
		return c, err
	}
	var b [10]byte
	rand.Read(b[:])
	secret := strings.ToLower(base32.StdEncoding.EncodeToString(b[:])) // 80 bits, 16 characters
	e := &d.entrance
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lapse(time.Now())
	e.codes = slices.DeleteFunc(e.codes, func(old homeCode) bool { return old.home == c.Home.ID })
	if len(e.codes) >= maxCodes {
		return c, fmt.Errorf("make a code: %w: %d homes have one", ErrFull, maxCodes)
	}
	e.codes = append(e.codes, homeCode{c.Home.ID, secret, time.Now().Add(windowOpen)})
	key := d.o.Authority.Key()
	c.Code = secret[:4] + "-" + secret[4:8] + "-" + secret[8:12] + "-" + secret[12:]
	c.CA, c.Expires = fmt.Sprintf("%x", key), d.o.Now().Add(windowOpen)
	return c, nil
}

// WindowState is a window as an operator sees it.
type WindowState struct {
	Open       bool             `json:"open"`
	Expires    device.Instant   `json:"expires,omitempty"`
	Applicants []ApplicantState `json:"applicants"`
}

// ApplicantState is a device that asks to be let in, as an operator sees it.
type ApplicantState struct {
	ID    string       `json:"id"`
	Class device.Class `json:"class"`
	Maker string       `json:"maker,omitempty"`
	Model string       `json:"model,omitempty"`
	From  string       `json:"from,omitempty"`
	Label bool         `json:"label"` // the secret of its label is to be typed, not six digits
	Tries int          `json:"tries"` // that are left
}

// OpenWindow opens a home's window for the operator, or keeps it open.
func (d *Desk) OpenWindow(ctx context.Context, homeName string) error {
	id, err := d.homeID(ctx, homeName)
	if err != nil {
		return err
	}
	return d.in(id, func(h *home) error { return d.openWindow(h, joining{}) })
}

// CloseWindow closes it.
func (d *Desk) CloseWindow(ctx context.Context, homeName string) error {
	id, err := d.homeID(ctx, homeName)
	if err == nil {
		d.entrance.shut(id)
	}
	return err
}

// Window tells who asks to be let in.
func (d *Desk) Window(ctx context.Context, homeName string) (s WindowState, err error) {
	id, err := d.homeID(ctx, homeName)
	if err != nil {
		return s, err
	}
	e := &d.entrance
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lapse(time.Now())
	s.Applicants = []ApplicantState{}
	w := e.windows[id]
	if w == nil {
		return s, nil
	}
	s.Open, s.Expires = true, d.o.Now().Add(time.Until(w.until))
	for _, a := range e.list(w) {
		s.Applicants = append(s.Applicants, ApplicantState{a.ID, a.Class, a.Model.Maker, a.Model.Name, e.applicants[a.ID].from, a.Way == wire.ByLabel, int(a.Tries)})
	}
	return s, nil
}

// LetIn lets a device in whose code the operator was told. It fails with ErrCode, or with
// registry.ErrUnknown if it does not ask at this home.
func (d *Desk) LetIn(ctx context.Context, homeName, applicant, code, owner string, say Admission) (dev device.ID, err error) {
	id, err := d.homeID(ctx, homeName)
	if err != nil {
		return "", err
	}
	err = d.in(id, func(h *home) error {
		if owner != "" {
			err := d.db.View(ctx, func(tx *store.Tx) error {
				p, err := personByName(tx, h.id, owner)
				say.Owner = p.ID
				return err
			})
			if err != nil {
				return err
			}
		}
		dev, err = d.letIn(h, applicant, code, say)
		return err
	})
	return dev, err
}

// TurnAway turns a device away that asks to be let in.
func (d *Desk) TurnAway(ctx context.Context, homeName, applicant string) error {
	id, err := d.homeID(ctx, homeName)
	if err != nil {
		return err
	}
	return d.reject(id, applicant)
}

const rekeyEvery = 10 * time.Second // a device may ask for a new credential

// ErrOften means that something is asked too often.
var ErrOften = errors.New("that is too often")

// Rekey gives a device a new credential beside the one that it has logged in with. The one before
// retires when the new one is used. p is what it has logged in with, which must still be good; from is
// where the device is.
func (d *Desk) Rekey(dev device.ID, p registry.Proof, from string, f wire.KeyRequest) (wire.KeyIssued, error) {
	d = d.As(deviceAt(dev, from))
	if d.o.Authority == nil {
		return wire.KeyIssued{}, fmt.Errorf("up/key: %w", ErrForbidden)
	}
	e := &d.entrance
	e.mu.Lock()
	e.lapse(time.Now())
	_, often := e.asked[dev]
	if !often {
		e.asked[dev] = time.Now()
	}
	e.mu.Unlock()
	if often {
		return wire.KeyIssued{}, fmt.Errorf("up/key: %w: wait %s", ErrOften, rekeyEvery)
	}
	k := wire.KeyIssued{CAs: d.o.Authority.CAs()}
	var proof registry.Proof
	if f.CSR != nil {
		key, spki, err := authority.ParseRequest(f.CSR)
		if err != nil {
			return k, fmt.Errorf("%w: up/key: %w", wire.ErrFrame, err)
		}
		var until time.Time
		if k.Certificate, until, err = d.o.Authority.Issue(dev, spki, time.Now()); err != nil {
			return k, fmt.Errorf("issue a certificate for %s: %w", dev, err)
		}
		k.Until, proof = uint64(until.UnixMilli()), registry.Key(key)
	} else {
		k.Token = registry.NewToken()
		proof = registry.Token(k.Token)
	}
	err := d.update(func(tx *store.Tx) error {
		if _, err := registry.Authenticate(tx, dev, p); err != nil {
			return err // replaced, or removed, since it logged in
		}
		return registry.Issue(tx, dev, proof, tx.Now.Add(rotatingFor))
	})
	if errors.Is(err, registry.ErrTaken) {
		err = fmt.Errorf("%w: up/key: that key has been used already: make a new one", wire.ErrFrame)
	}
	return k, err
}
