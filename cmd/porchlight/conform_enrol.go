package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/authority"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
)

// errStuck ends a run: the MUST that says why has failed.
var errStuck = over{errors.New("the device does not go on")}

// errNotNow is what a scenario refuses a log-in with that is to come again.
var errNotNow = errors.New("refused on purpose, to see whether it comes again")

// askEvery is how often a device is asked for something until it answers.
const askEvery = 5 * time.Second

// within is about the next that an applicant does on its connection.
func within(a application, acts ...act) func(fact) bool {
	return func(f fact) bool { return f.link == a.link && slices.Contains(acts, f.act) }
}

// tell sends an applicant a frame.
func (a application) tell(frame any) {
	raw, err := wire.Encode(frame)
	if err != nil {
		panic(err) // all of it is ours
	}
	_ = a.link.Send(delivery.Frame{Leaf: wire.DnEnrol, Payload: raw}) // it may be gone
}

// turnAway ends an application.
func (a application) turnAway(why wire.Why, text string) {
	a.tell(wire.TurnedAway{Why: why, Text: text})
	a.link.Close(delivery.Done)
}

// applied waits for the next application.
func (c *conformance) applied(ctx context.Context) (application, error) {
	c.mu.Lock()
	c.ajar = true
	c.mu.Unlock()
	f, ok := c.await(ctx, c.from, c.arrive, func(f fact) bool { return f.act == didApply })
	if !ok {
		return application{}, over{fmt.Errorf("no device applied within %s: %s", c.arrive, c.refusals())}
	}
	c.from = f.n + 1
	return f.applied, nil
}

// challenged challenges a, with a.bind.NonceG if it is there and a new nonce else, and reports
// whether a nonce was revealed.
func (c *conformance) challenged(ctx context.Context, a *application) bool {
	next := within(*a, didReveal, didDepart)
	at := 0 // of a link there is one application only
	f, early := c.await(ctx, at, c.window, next)
	if early && f.act == didReveal {
		c.fail("M42", "it revealed its nonce before the challenge")
	}
	if a.bind.NonceG == nil {
		a.bind.NonceG = make([]byte, wire.NonceSize)
		rand.Read(a.bind.NonceG)
	}
	a.tell(wire.Challenge{Nonce: a.bind.NonceG})
	if !early {
		f, _ = c.await(ctx, at, c.wait, next)
	}
	if f.act != didReveal {
		a.link.Close(delivery.Unable)
		return false
	}
	c.revealed(a, f)
	return true
}

// revealed takes in a nonce, whether or not it was time for it.
func (c *conformance) revealed(a *application, f fact) {
	a.bind.NonceD, a.proof = f.nonce, f.proof
	if bytes.Equal(wire.Commitment(f.nonce, a.bind.Device), a.Commit) {
		c.pass("M42", "each nonce was the one that it was committed to, and came after the challenge")
	} else {
		c.fail("M42", "the nonce that it revealed is not the one of its commitment")
	}
	now := string(a.bind.CA[:]) + string(a.bind.NonceG)
	switch was, again := c.nonces[string(f.nonce)]; {
	case !again:
		c.nonces[string(f.nonce)] = now
	case was != now:
		c.fail("M43", "it revealed the nonce %s.. to two challenges", hex.EncodeToString(f.nonce[:4]))
	}
}

// candidate is the next application that has revealed its nonce.
func (c *conformance) candidate(ctx context.Context) (application, error) {
	for range 5 {
		a, err := c.applied(ctx)
		if err != nil || c.challenged(ctx, &a) {
			return a, err
		}
	}
	return application{}, over{errors.New("five applications ended before a nonce was revealed")}
}

// twoChallenges is about a device that is challenged twice on one connection.
func (c *conformance) twoChallenges(ctx context.Context) error {
	a, err := c.candidate(ctx)
	if err != nil {
		return err
	}
	mark := c.mark()
	a.bind.NonceG = make([]byte, wire.NonceSize)
	rand.Read(a.bind.NonceG)
	a.tell(wire.Challenge{Nonce: a.bind.NonceG})
	f, _ := c.await(ctx, mark, c.wait, within(a, didReveal, didDepart))
	if f.act == didReveal {
		c.revealed(&a, f)
	}
	a.link.Close(delivery.Unable)
	c.pass("M43", "it revealed each nonce to one challenge")
	return nil
}

// unanswered is about a device that has revealed its nonce and hears nothing more.
func (c *conformance) unanswered(ctx context.Context) error {
	a, err := c.candidate(ctx)
	if err != nil {
		return err
	}
	a.link.Close(delivery.Unable)
	b, err := c.applied(ctx)
	if err != nil {
		return err
	}
	switch {
	case a.spki == nil:
		c.unseen("M48", "it has no key: it asks for a token")
	case b.bind.Device != a.bind.Device:
		c.fail("M48", "the answer to an application was lost, and it applied with another key")
	default:
		c.pass("M48", "the answer was lost, and it applied with the same key")
	}
	// The same commitment, which only a device without a key may have: what it has revealed it may
	// reveal to nobody else.
	if !c.challenged(ctx, &b) {
		if b, err = c.candidate(ctx); err != nil {
			return err
		}
	}
	c.front.lead(c.strange)
	defer c.front.lead(c.door)
	b.link.Close(delivery.Unable)
	d, err := c.applied(ctx)
	if err != nil {
		return err
	}
	if bytes.Equal(d.Commit, b.Commit) {
		d.bind.NonceG = b.bind.NonceG
	}
	c.challenged(ctx, &d)
	c.front.lead(c.door)
	d.link.Close(delivery.Unable)
	c.pass("M43", "it revealed each nonce to one challenge of one authority")
	return nil
}

// digits is about the six digits that a person compares.
func (c *conformance) digits(ctx context.Context) error {
	for n := range 2 {
		a, err := c.candidate(ctx)
		if err != nil {
			return err
		}
		var code string
		if a.Way == wire.ByCode {
			err = c.hands(ctx, chore{args: []string{"code"}, say: "Type the six digits that the device shows.", read: &code})
		} else {
			err = errors.New("it shows no digits: it applies in another way")
		}
		a.turnAway(wire.Tries, "")
		if err != nil {
			return err
		}
		if want := a.bind.Code(); wire.PlainSecret(code) != want {
			c.fail("M45", "application %d: it showed %q, and the digits are %s", n+1, code, want)
			return nil
		}
	}
	c.pass("M45", "two applications, and the digits of each")
	return nil
}

// chains is about a gateway that shows the authority of another gateway behind a certificate that
// it has not signed, or not for a server.
func (c *conformance) chains(ctx context.Context) error {
	f, err := c.forgery()
	if err != nil {
		return err
	}
	key, client, err := c.client()
	if err != nil {
		return err
	}
	beside, err := f.server(f.key, nil, f.above)
	if err != nil {
		return err
	}
	between, err := f.server(f.key, nil, f.ca, f.above)
	if err != nil {
		return err
	}
	under, err := f.server(key, nil, client, f.above)
	if err != nil {
		return err
	}
	neighbour := chain(key, client, f.above)
	trusted, err := c.trusts(ctx, func() {
		c.mu.Lock()
		c.ajar = false // who is on the way to the door comes back
		c.mu.Unlock()
		for _, f := range c.seen() {
			if f.act == didAsk {
				f.link.Close(delivery.Unable)
			}
		}
	}, beside, between, under, neighbour)
	switch {
	case err != nil:
		return err
	case trusted == neighbour:
		c.fail("M44", "it went on with a gateway that showed the certificate of a device")
	case trusted == under:
		c.fail("M44", "it went on with a gateway whose certificate was signed with the key of a device")
	case trusted != nil:
		c.fail("M44", "it went on with a gateway that showed an authority that had not signed its certificate")
	default:
		c.pass("M44", "it ended four connections whose chain did not hold, or began with the certificate of a device")
	}
	return nil
}

// trusts shows a device certificates, one after the other, and returns the first with which it says
// anything; nil: with none. off ends the connection that it has.
func (c *conformance) trusts(ctx context.Context, off func(), shows ...*tls.Certificate) (*tls.Certificate, error) {
	defer c.front.pose(nil)
	mark := c.mark()
	for i, s := range shows {
		if c.front.pose(s); i == 0 {
			off()
		}
		f, ok := c.await(ctx, mark, c.arrive, func(f fact) bool { return f.shown == s || f.act == didConnect })
		switch {
		case !ok && c.known:
			return nil, errAway
		case !ok:
			return nil, over{fmt.Errorf("no device came within %s", c.arrive)}
		case f.act == didConnect:
			return nil, errors.New("it does not come over TLS")
		case f.act == didTrust:
			return s, nil
		}
	}
	return nil, nil
}

// imposed is about a device that is admitted by another authority than the one that it applied to.
func (c *conformance) imposed(ctx context.Context) error {
	forged, err := c.forgery()
	if err != nil {
		return err
	}
	a, err := c.candidate(ctx)
	if err != nil {
		return err
	}
	m, err := c.admission(a)
	if err != nil {
		return err
	}
	m.CAs = [][]byte{forged.ca.Raw, m.CAs[0]} // with the second it could connect
	mark := c.mark()
	a.tell(m)
	a.link.Close(delivery.Done)
	f, ok := c.after(ctx, mark, a, m.ID)
	switch {
	case !ok:
		return over{fmt.Errorf("the device neither logged in nor applied within %s of being admitted", c.arrive)}
	case f.act == didConnect:
		c.fail("M46", "it was admitted by another authority, and logged in")
		c.becomes(a, m.ID)
		return nil
	case f.act == wasRefused:
		c.fail("M46", "it was admitted by another authority, and tried to log in")
	default:
		c.pass("M46", "it was admitted by another authority, and applied anew")
	}
	return c.remove(m.ID)
}

// after waits for what comes after the applicant a was admitted as id: it logs in, it is refused, or
// it applies again.
func (c *conformance) after(ctx context.Context, mark int, a application, id device.ID) (fact, bool) {
	return c.await(ctx, mark, c.arrive, func(f fact) bool {
		return f.act == didAsk && f.link != a.link || f.peer == string(id) && (f.act == didConnect || f.act == wasRefused)
	})
}

// admission makes what an applicant is admitted with, and writes it down.
func (c *conformance) admission(a application) (m wire.Admitted, err error) {
	m = wire.Admitted{ID: device.NewID(), CAs: c.ca.CAs(), Name: authority.ServerName, Clock: uint64(time.Now().UnixMilli())}
	var proof registry.Proof
	if a.spki == nil {
		m.Token = registry.NewToken()
		proof = registry.Token(m.Token)
	} else {
		c.mu.Lock()
		m.Certificate, _, err = c.certify(m.ID, a.bind.Device, a.spki, 0)
		c.mu.Unlock()
		if err != nil {
			return m, err
		}
		proof = registry.Key(a.bind.Device)
	}
	return m, c.db.Update(func(tx *store.Tx) error {
		return registry.Admit(tx, device.Device{ID: m.ID, Home: c.home, Class: a.Class, Name: string(m.ID)}, proof, tx.Now.Add(loginWithin), nil)
	})
}

// becomes takes in that the applicant a is the device id now, and logged in.
func (c *conformance) becomes(a application, id device.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.id, c.ajar = id, false
	c.known, c.keyed = true, a.spki != nil
	if c.class == 0 {
		c.class = a.Class
	}
}

// remove makes a device unknown.
func (c *conformance) remove(id device.ID) error {
	return c.db.Update(func(tx *store.Tx) error { return registry.RemoveDevice(tx, id, registry.ByOperator) })
}

// letIn lets the device in, and waits until it has logged in.
func (c *conformance) letIn(ctx context.Context) error {
	if c.known {
		return nil
	}
	var m wire.Admitted
	var as string // who was admitted
	for tries := 0; tries < 3; tries++ {
		a, err := c.candidate(ctx)
		if err != nil {
			return err
		}
		if a.Way == wire.ByHome && !hmac.Equal(a.proof, a.bind.Proof(c.code)) {
			c.tell("the device applied with another code than %s, or its proof is wrong: it is turned away", c.code)
			a.turnAway(wire.Unproven, "another code, or the proof is wrong")
			continue
		}
		if as != a.id {
			if as != "" && a.spki != nil {
				c.fail("M47", "it was admitted, and applied with another key instead of logging in")
			}
			if m, err = c.admission(a); err != nil {
				return err
			}
			as = a.id
		}
		mark := c.mark()
		a.tell(m) // the same once more, if the answer was lost
		a.link.Close(delivery.Done)
		for n := 0; ; n++ {
			f, ok := c.after(ctx, mark, a, m.ID)
			switch mark = f.n + 1; {
			case !ok:
				return over{fmt.Errorf("the device neither logged in nor applied within %s of being admitted", c.arrive)}
			case f.act == didConnect:
				c.pass("M47", "it was admitted, and logged in with what it was issued")
				c.becomes(a, m.ID)
				return nil
			case f.act == wasRefused && n < 3:
				c.fail("M47", "it was admitted, and did not log in with what it was issued: %s", f.note)
				continue
			case f.act == wasRefused:
				return errStuck
			}
			break
		}
	}
	if as != "" {
		c.fail("M47", "it was admitted three times, and did not log in")
		return errStuck
	}
	return over{errors.New("the device is not let in: its proof was wrong three times")}
}

// strangers is about a gateway that is not the one that the device belongs to.
func (c *conformance) strangers(ctx context.Context) error {
	f, err := c.forgery()
	if err != nil {
		return err
	}
	foreign, err := f.server(f.key, nil, f.ca)
	if err != nil {
		return err
	}
	elsewhere, err := f.server(f.own, []string{"elsewhere.invalid"}, f.above)
	if err != nil {
		return err
	}
	trusted, err := c.trusts(ctx, func() { c.hangUp(ctx) }, foreign, elsewhere)
	switch trusted {
	case foreign:
		c.fail("M37", "it went on with a gateway whose certificate no authority of its had signed")
	case elsewhere:
		c.fail("M37", "it went on with a gateway whose certificate was for another name")
	}
	if err == nil {
		err = c.present(ctx)
	}
	if err == nil {
		c.pass("M37", "it sent nothing to a gateway with a certificate of another authority, nor with one for another name")
	}
	return err
}

// refused is about a device whose log-in is refused for a while, in other ways and more often than
// a device may forget itself for.
func (c *conformance) refused(ctx context.Context) error {
	next := []error{errNotNow, delivery.ErrAway, delivery.ErrAway, delivery.ErrAway}
	n := len(next)
	mark := c.refusing(func() (err error) {
		if len(next) > 0 {
			err, next = next[0], next[1:]
		} else if c.patient {
			err = delivery.ErrAway
		}
		return err
	})
	defer c.refusing(nil)
	c.hangUp(ctx)
	var since time.Time // when it was told first that it is not known
	took := func(f fact) time.Duration {
		if since.IsZero() {
			return 0
		}
		return f.at.Sub(since)
	}
	again := func() error {
		if c.known = false; c.enrol {
			return nil // it will be let in
		}
		return errStuck
	}
	for i := 0; i < n || c.patient; i++ {
		f, ok := c.await(ctx, mark, c.arrive, func(f fact) bool { return f.act == wasDenied || f.act == didAsk })
		mark = f.n + 1
		switch {
		case !ok:
			return errAway
		case f.act == didAsk && took(f) >= c.forget-c.forget/100: // its clock may be fast
			c.pass("M56", "it was refused %d times in %s, and then applied", i, took(f).Round(time.Second))
			return again()
		case f.act == didAsk:
			c.fail("M56", "it was refused %d times in %s, and then applied", i, took(f).Round(time.Second))
			return again()
		case i == 1:
			since = f.at
		case i > n && took(f) > c.forget+c.arrive:
			return fmt.Errorf("it was refused %d times in %s, and goes on with its identity", i, took(f).Round(time.Second))
		}
	}
	if err := c.present(ctx); err != nil {
		return err
	}
	c.pass("M56", "it was refused %d times within seconds, three times as one that is not known, and went on with its identity", n)
	return nil
}

// refusing sets what log-ins are refused with.
func (c *conformance) refusing(f func() error) (mark int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse = f
	return len(c.facts)
}

// asked asks the device for a new key, which is answered with how; ok is false if it does not care.
// It may miss the first time, if it wanted a key by itself just then.
func (c *conformance) asked(ctx context.Context, how issue) (f fact, ok bool) {
	c.mu.Lock()
	mark := len(c.facts)
	c.issues = []issue{how}
	c.mu.Unlock()
	for left := 2 * c.wait; left > 0 && !ok && ctx.Err() == nil; left -= askEvery {
		c.mu.Lock()
		c.raw(wire.DnKey, 0, wire.KeyAsk{}) // if it is away it is asked again
		c.mu.Unlock()
		f, ok = c.await(ctx, mark, min(left, askEvery), func(f fact) bool { return f.act == didAskKey && !f.refused })
	}
	c.mu.Lock()
	c.issues = nil
	c.mu.Unlock()
	return f, ok
}

var (
	errNoRequest = errors.New("it was asked for a new key, and sent no up/key")
	errNotUsed   = errors.New("it was given a new key, and did not connect with it")
)

// dud is about a device whose new key does not work.
func (c *conformance) dud(ctx context.Context) error {
	conn, id := c.current(), string(c.id)
	f, ok := c.asked(ctx, issue{dud: true})
	if !ok {
		return errNoRequest
	}
	for n, mark := 0, f.n; ; n++ {
		f, ok := c.await(ctx, mark, c.arrive, func(f fact) bool {
			return f.act == didAsk || f.peer == id && (f.act == didConnect || f.act == wasRefused && strings.HasPrefix(f.note, refusedConnection))
		})
		switch mark = f.n + 1; {
		case !ok && c.current() == conn && !c.away():
			return errNotUsed
		case !ok && n == 0:
			return errAway
		case !ok, n > 4:
			c.fail("M50", "its new key was refused %d times, and it did not go on with the one before", n)
			return errStuck
		case f.act == didAsk:
			c.fail("M50", "its new key was refused, and it applied")
			c.known = false
			return nil
		case f.act == didConnect && n == 0:
			return errors.New("it was given a new key, and did not try it")
		case f.act == didConnect:
			c.pass("M50", "its new key was refused, and it went on with the one before")
			return c.present(ctx)
		}
	}
}

// rekeyed is about a device that gets a new key.
func (c *conformance) rekeyed(ctx context.Context) error {
	if !c.keyed {
		return errors.New("it has a token")
	}
	f, ok := c.asked(ctx, issue{})
	if !ok {
		return errNoRequest
	}
	if _, ok := c.await(ctx, f.n+1, c.arrive, func(f fact) bool { return f.act == didUse || f.act == didConnect }); !ok {
		return errNotUsed
	}
	return c.present(ctx)
}

// ended is about a device whose certificate has ended.
func (c *conformance) ended(ctx context.Context) error {
	if !c.keyed {
		return errors.New("it has a token")
	}
	clock := c.born().Clock > 0
	for life := 5 * time.Second; ; life *= 2 { // a slow machine needs longer to use it
		f, ok := c.asked(ctx, issue{life: life})
		if !ok {
			return errNoRequest
		}
		end := time.Now().Add(life + time.Second) // by then it is over
		f, used := c.await(ctx, f.n+1, time.Until(end), func(f fact) bool { return f.act == didUse || f.act == didAskKey && f.ended })
		if !used && life < time.Minute {
			if err := c.present(ctx); err != nil {
				return err
			}
			continue
		}
		if !used {
			return errNotUsed
		}
		mark := f.n
		if f.act == didUse {
			if err := c.present(ctx); err != nil {
				return err
			}
			select {
			case <-time.After(time.Until(end)):
			case <-ctx.Done():
				return ctx.Err()
			}
			mark = c.mark()
			c.hangUp(ctx)
		}
		return c.overdue(ctx, mark, clock)
	}
}

// overdue waits for the device to ask for a new key, on a connection that is for nothing else.
func (c *conformance) overdue(ctx context.Context, mark int, clock bool) error {
	for {
		f, ok := c.await(ctx, mark, c.arrive, func(f fact) bool {
			return f.act == didAsk || f.act == didConnect || f.act == didAskKey && f.ended || f.act == wasRefused && f.ended
		})
		switch mark = f.n + 1; {
		case !ok:
			c.fail("M51", "its certificate has ended, and it did not ask for a new one within %s", c.arrive)
			return errStuck
		case f.act == didAsk:
			c.fail("M51", "its certificate has ended, and it applied")
			c.known = false
			return nil
		case f.act == didConnect:
			return errors.New("it came back with another certificate than the one that has ended")
		case f.act == didAskKey:
			c.pass("M51", "its certificate had ended, and it connected with it and asked for a new one")
			return c.present(ctx)
		case clock: // else it cannot know
			c.fail("M51", "its certificate has ended, and this it knows: its birth tells the time. But: %s", f.note)
		}
	}
}

// wiped is about a device that is told to forget everything.
func (c *conformance) wiped(ctx context.Context) error {
	c.version += 10
	if err := c.send(ctx, wire.DnTwin, c.document(c.version)); err != nil {
		return err
	}
	p := c.long()
	if _, err := c.show(ctx, &p); err != nil {
		c.tell("nothing is on the screen: %v", err)
	}
	mark, conn := c.mark(), c.current()
	for range 6 {
		c.mu.Lock()
		err := c.raw(wire.DnCmd, 0, wire.Command{Op: wire.Wipe})
		c.mu.Unlock()
		if _, over := c.await(ctx, mark, askEvery, func(f fact) bool { return f.conn == conn && (f.act == didBye || f.act == didLeave) }); over || err != nil {
			break
		}
	}
	return c.forgets(ctx, mark, "M52", "wiped")
}

// reset is about a device that a person resets.
func (c *conformance) reset(ctx context.Context) error {
	mark := c.mark()
	if err := c.hands(ctx, chore{args: []string{"reset"}, say: "Reset the device, so that it forgets everything."}); err != nil {
		return err
	}
	return c.forgets(ctx, mark, "M54", "reset")
}

// forgets is about a device that says after mark that it has forgotten everything, and is let in anew.
func (c *conformance) forgets(ctx context.Context, mark int, id, reason string) error {
	conn, old := c.current(), c.id
	bye, ok := c.await(ctx, mark, c.wait, func(f fact) bool { return f.conn == conn && (f.act == didBye || f.act == didLeave) })
	switch {
	case !ok:
		c.fail(id, "no up/bye came")
		return nil
	case bye.act == didLeave:
		c.fail(id, "it ended the connection without up/bye")
	case bye.bye.Reason != reason:
		c.fail(id, "up/bye came with the reason %q, and not %q", bye.bye.Reason, reason)
	default:
		c.pass(id, "up/bye, reason %s", reason)
	}
	if err := c.remove(old); err != nil {
		return err
	}
	c.known = false
	patience := min(c.wait, 10*time.Second) // it may have no way to apply
	if c.enrol {
		patience = c.arrive
		c.tell("now let it apply again")
		c.mu.Lock()
		c.ajar = true
		c.mu.Unlock()
	}
	f, ok := c.await(ctx, bye.n+1, patience, func(f fact) bool {
		return f.act == didAsk || f.peer == string(old) && (f.act == didConnect || f.act == wasRefused && strings.HasPrefix(f.note, refusedConnection))
	})
	if id == "M52" {
		id = "M53"
	}
	switch {
	case !ok && c.enrol:
		return over{fmt.Errorf("no device applied within %s", patience)}
	case !ok:
		c.pass(id, "within %s it did not connect with its old ID", patience)
	case f.act != didAsk:
		c.fail(id, "it connected with its old ID")
		return errStuck
	default:
		c.pass(id, "it applied")
	}
	if !c.enrol {
		c.unseen("M55", "is seen with --enrol")
		c.gone = true
		return nil
	}
	return c.anew(ctx, bye.n+1)
}

// anew lets a device in that was somebody else before mark.
func (c *conformance) anew(ctx context.Context, mark int) error {
	c.mu.Lock()
	keys := maps.Clone(c.keys)
	c.mu.Unlock()
	if err := c.letIn(ctx); err != nil {
		return err
	}
	if err := c.present(ctx); err != nil {
		return err
	}
	if err := c.settle(ctx); err != nil { // what it owes comes before the answer to that
		return err
	}
	all := c.seen()
	for _, f := range all[mark:] {
		switch {
		case f.act == didApply && f.applied.spki != nil && keys[f.applied.bind.Device]:
			c.fail("M55", "it applied with a key that it had before")
		case f.act == didBirth && f.birth.Twin != 0:
			c.fail("M55", "the birth of the new identity named version %d of a document", f.birth.Twin)
		case f.act == didBirth && len(f.birth.Held) > 0:
			c.fail("M55", "the birth of the new identity listed %d messages", len(f.birth.Held))
		case f.act == didEvent && slices.ContainsFunc(all[:mark], about(f.event.Message)):
			c.fail("M55", "with the new identity came an event of before: %s", spell(f.event))
		}
	}
	c.pass("M55", "it applied with another key if it has one, and its birth and what came after it knew nothing of before")
	return nil
}
